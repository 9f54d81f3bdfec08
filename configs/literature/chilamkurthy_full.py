"""Chilamkurthy et al. (2018): ResNet-18 on slices and random forests, in its published size.

    python launch.py crossval --config=configs/literature/chilamkurthy_full.py --workdir=runs/chilamkurthy_full

ResNet-18 with the source's 11.2 million parameters, on slices of 224 x 224.
For a GPU, and a data set at --config.data.root=DIR. Without it, 75 synthetic scans of 512 x 512 (preset
'calibrated', layout 'own') are made once and used.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py in full resolution, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "chilamkurthy",
        width=64,
        fine=False,
        grid={"side": 224},
        augment=together["CLASSIFIER_AUGMENT"],
        train={"epochs": 60, "batch_size": 64, "learning_rate": 0.0001},
    )
