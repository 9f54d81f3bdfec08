"""Our recipe at a size for two CPU cores: 15 minutes a fold.

    python launch.py crossval --config=configs/ich_small.py --workdir=runs/ich_small

60 synthetic head CTs of preset 'calibrated' (made once), 4 folds; set --config.data.root=DIR for one's own scans. A
residual U-Net sees patches of 64 x 64 pixels of slices resampled to 160 x 160 in three windows, and the prediction is
restricted to the inside of the skull. Measured so far on one fold, with 12 epochs, which take about 2 of the 15
minutes: Dice 0.36 and volume Dice 0.40 on 25 scans with a hemorrhage, 1.2 mL of false positives on those without
(docs/recipe.md). Augmentation and instance normalization matter most; 17 of 24 changes have been tried so far.
"""

from ichjax.config import default


def get_config():
    """The recipe for two CPU cores."""
    config = default()
    config.phantom.preset = "calibrated"
    config.phantom.subjects = 60
    config.data.splits = "stratified"
    config.data.folds = 4
    config.windows = ((50.0, 70.0), (92.5, 215.0), (600.0, 1400.0))  # 15 to 85, -15 to 200, -100 to 1300 HU
    config.grid.side = 160  # at 256, two cores make too few updates in the time
    config.patch.side = 64
    config.patch.stride = 32
    config.model.encoder = "residual"
    config.model.norm = "instance"
    config.model.head = "plain"
    config.model.base_width = 10
    config.model.depth = 3
    config.model.blocks = (1, 1, 2, 2)
    config.model.dropout = 0.0
    config.augment.rotation_degrees = 0.0  # `transforms` rotate and zoom instead
    config.augment.shift = 0.0
    config.augment.shear_degrees = 0.0
    config.augment.zoom = 0.0
    config.transforms.affine_probability = 0.5
    config.transforms.mirror_probability = 0.5
    config.transforms.calibration_probability = 0.3
    config.transforms.noise_probability = 0.2
    config.transforms.blur_probability = 0.2
    config.train.minutes = 15.0
    config.train.examples_per_epoch = 1440
    config.train.batch_size = 8
    config.train.optimizer = "adamw"
    config.train.learning_rate = 6e-3
    config.train.weight_decay = 1e-3
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.99
    config.train.schedule = "cosine"
    config.train.warmup_steps = 50
    config.train.positive_weight = 4.0
    config.train.dice_weight = 1.0
    config.train.sampling = "lesions"
    config.train.validation_negatives = "matched"
    config.predict.inside_skull = True
    config.predict.stitch = "gaussian"
    config.predict.mirror = True
    config.predict.closing_px = 0  # the resampled probability is smooth: nothing to close
    config.predict.opening_px = 3
    config.predict.tune = "all"
    config.predict.tune_by = "volume_dice"
    config.predict.tune_thresholds = (0.3, 0.5, 0.7)
    config.predict.tune_closing_px = (0,)
    config.predict.tune_opening_px = (3,)
    config.predict.tune_find_thresholds = (0.7, 0.9, 0.97)
    config.predict.tune_min_lesion_ml = (0.1, 0.3)
    return config
