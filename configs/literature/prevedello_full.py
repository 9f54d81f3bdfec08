"""Prevedello et al. (2017): two GoogLeNets on two windows and their highest slices, in its published size.

    python launch.py crossval --config=configs/literature/prevedello_full.py --workdir=runs/prevedello_full

Two GoogLeNets of the source's 5.6 million parameters each, on slices of 224 x 224.
For a GPU, and a data set at --config.data.root=DIR. Without it, 75 synthetic scans of 512 x 512 (preset
'calibrated', layout 'own') are made once and used.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py in full resolution, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "prevedello",
        width=64,
        fine=False,
        dropout=0.4,
        grid={"side": 224},
        augment=together["CLASSIFIER_AUGMENT"],
        train={"epochs": 60, "batch_size": 32, "learning_rate": 0.0001},
    )
