"""What the package must say, written out again, so that tests hold it to that."""

SLICE_RULE_MM2 = 43.6  # the default rule: a slice is called positive above this area, 400 pixels at 0.33 mm
PREDICTION_FILES = {"mask.nii.gz", "overlay.png", "prediction.json"}  # in the folder of every predicted scan
