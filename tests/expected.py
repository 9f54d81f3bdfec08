"""Contract values, repeated here so that tests notice when the package changes them."""

SLICE_RULE_MM2 = 43.6  # default: a slice is predicted positive above this area, 400 pixels at 0.33 mm
PREDICTION_FILES = {"mask.nii.gz", "overlay.png", "prediction.json"}  # in the output folder of every predicted scan
