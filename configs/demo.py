"""A whole cross-validated run on synthetic scans, on two CPU cores.

    python launch.py crossval --config=configs/demo.py --workdir=runs/demo

15 synthetic head CTs of 256 x 256 (made once), 3 folds, a small U-Net on 64 x 64 patches at stride 32: 49 patches a
slice as in the paper, each about as many millimetres wide.
"""

from ichjax.config import default


def get_config():
    """The paper's pipeline, made small."""
    config = default()
    config.phantom.preset = "demo"
    config.phantom.subjects = 15
    config.data.splits = "stratified"
    config.data.folds = 3
    config.data.leave_out = ()
    config.patch.side = 64
    config.patch.stride = 32
    config.model.base_width = 12
    config.model.depth = 4
    config.model.dropout = 0.1
    config.model.norm = "group"
    config.train.epochs = 8
    config.train.batch_size = 16
    config.train.learning_rate = 2e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 10
    config.train.validation_negatives = "matched"
    config.predict.closing_px = 4  # pixels are twice as wide
    config.predict.opening_px = 2
    return config
