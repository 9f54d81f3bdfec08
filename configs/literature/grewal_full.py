"""Grewal et al. (2017): a DenseNet with masks and an LSTM over the scan, in its published size.

    python launch.py crossval --config=configs/literature/grewal_full.py --workdir=runs/grewal_full

DenseNet-40 with the source's 12 layers of 12 channels in each block, on stacks of 32 slices of 256 x 256.
For a GPU, and a data set at --config.data.root=DIR. Without it, 75 synthetic scans of 512 x 512 (preset
'calibrated', layout 'own') are made once and used.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py in full resolution, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "grewal",
        growth=12,
        layers=12,
        stride=1,
        hidden=128,
        stack=32,
        grid={"side": 256},
        augment=together["CLASSIFIER_AUGMENT"],
        train={"epochs": 60, "batch_size": 1, "learning_rate": 0.001},
    )
