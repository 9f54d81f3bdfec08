"""Values that the package must use, repeated here independently of its source."""

SLICE_RULE_MM2 = 43.6  # the default: a slice is predicted positive above this area, 400 pixels at 0.33 mm
PREDICTION_FILES = {"mask.nii.gz", "overlay.png", "prediction.json"}  # in the folder of every predicted scan
