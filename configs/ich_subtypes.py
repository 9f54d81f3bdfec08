"""Sub-types of hemorrhage, on the recipe of configs/ich.py: two networks, the second tells sub-types, for a GPU.

    python launch.py crossval --config=configs/ich_subtypes.py --workdir=runs/ich_subtypes --config.data.root=DIR

The data need masks of sub-types (`label_names.csv`, docs/data.md) or slices that are labelled with one sub-type each. A
fold trains four networks: the first stage on all training scans and on each half of them, for priors out of fold, and
the second stage. `train.minutes` is of each of them: 4 hours a fold at most. It has not been run on a GPU: neither the
time of a step nor a score is known.
"""

from ichjax.config import default


def get_config():
    """The recipe for a GPU, with two stages."""
    config = default()
    config.method = "subtypes"
    config.options.inner_folds = 2  # parts of the training scans, each with a prior of a network trained on the others
    config.options.prior_blank = 0.1  # of the second stage's examples, so that it does not rely on the prior blindly
    config.phantom.preset = "calibrated"
    config.phantom.subjects = 60
    config.phantom.layout = "own"  # its masks have sub-types
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
    config.train.minutes = 60.0  # of each training
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
    config.predict.tune_find_thresholds = (0.0, 0.7, 0.9)
    config.predict.tune_min_lesion_ml = (0.0, 0.1)
    return config
