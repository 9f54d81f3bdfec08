"""Ye et al. (2019): VGG-16 on slices and a bidirectional GRU over the scan, in its published size.

    python launch.py crossval --config=configs/literature/ye_full.py --workdir=runs/ye_full

VGG-16 with the source's parameters and a GRU of 256 states in each direction, on scans of up to 60 slices.
For a GPU, and a data set at --config.data.root=DIR. Without it, 75 synthetic scans of 512 x 512 (preset
'calibrated', layout 'own') are made once and used.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py in full resolution, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "ye",
        width=64,
        fine=False,
        hidden=256,
        dropout=0.5,
        stack=60,
        grid={"side": 256},
        augment=together["CLASSIFIER_AUGMENT"],
        train={"epochs": 60, "batch_size": 1, "learning_rate": 0.0001},
    )
