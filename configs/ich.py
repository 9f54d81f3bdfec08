"""Our recipe at full size, for a GPU: whole resolution, bfloat16, 120 minutes a fold.

    python launch.py crossval --config=configs/ich.py --workdir=runs/ich --config.data.root=DIR

The recipe of configs/ich_small.py with deep supervision and a wider and deeper residual U-Net (105.9 million
parameters) on patches of 256 x 256 pixels of the scans' own matrix. Its training step takes an H100 up to three minutes
to compile, once, and an H200 37 ms to run, with 9 GB of its memory. No whole run has been made, so no score is known.
"""

from ichjax.config import default


def get_config():
    """The recipe for a GPU."""
    config = default()
    config.phantom.preset = "calibrated"
    config.phantom.subjects = 60
    config.data.splits = "stratified"
    config.data.folds = 4
    config.windows = ((50.0, 70.0), (92.5, 215.0), (600.0, 1400.0))  # 15 to 85, -15 to 200, -100 to 1300 HU
    config.patch.side = 256  # of the scans' own 512 x 512
    config.patch.stride = 128
    config.model.encoder = "residual"
    config.model.norm = "instance"
    config.model.head = "plain"
    config.model.base_width = 32
    config.model.depth = 6
    config.model.blocks = (1, 3, 4, 6, 6, 6, 6)
    config.model.max_width = 512
    config.model.dropout = 0.0
    config.model.dtype = "bfloat16"
    config.model.deep_supervision = True
    config.augment.rotation_degrees = 0.0  # `transforms` rotate and zoom instead
    config.augment.shift = 0.0
    config.augment.shear_degrees = 0.0
    config.augment.zoom = 0.0
    config.transforms.affine_probability = 0.5
    config.transforms.mirror_probability = 0.5
    config.transforms.calibration_probability = 0.3
    config.transforms.noise_probability = 0.2
    config.transforms.blur_probability = 0.2
    config.train.minutes = 120.0
    config.train.examples_per_epoch = 12000
    config.train.batch_size = 32
    config.train.optimizer = "adamw"
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 1e-3
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.999
    config.train.schedule = "cosine"
    config.train.warmup_steps = 200
    config.train.dice_weight = 1.0
    config.train.sampling = "lesions"
    config.train.validation_negatives = "matched"
    config.predict.inside_skull = True
    config.predict.stitch = "gaussian"
    config.predict.mirror = True
    config.predict.closing_px = 0
    config.predict.opening_px = 5
    config.predict.tune = "all"
    config.predict.tune_by = "volume_dice"
    config.predict.tune_thresholds = (0.3, 0.5, 0.7)
    config.predict.tune_closing_px = (0,)
    config.predict.tune_opening_px = (5,)
    config.predict.tune_find_thresholds = (0.7, 0.9, 0.97)
    config.predict.tune_min_lesion_ml = (0.1, 0.3)
    return config
