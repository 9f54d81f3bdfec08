"""Cho et al. (2019): a cascade of classifiers, then two fully convolutional networks, in its published size.

    python launch.py crossval --config=configs/literature/cho_full.py --workdir=runs/cho_full

GoogLeNet and VGG-16 with the parameters of their sources, on slices of 512 x 512.
For a GPU, and a data set at --config.data.root=DIR. Without it, 75 synthetic scans of 512 x 512 (preset
'calibrated', layout 'own') are made once and used.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py in full resolution, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "cho",
        classifier_width=64,
        pools=4,
        head=4096,
        grid={"side": 512},
        model={"base_width": 64, "dropout": 0.5},
        train={"epochs": 60, "examples_per_epoch": 0, "batch_size": 8, "learning_rate": 1e-4},
    )
