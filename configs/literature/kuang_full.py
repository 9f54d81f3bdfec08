"""Kuang et al. (2019): a U-Net with left-right differences, then contour evolution, in its published size.

    python launch.py crossval --config=configs/literature/kuang_full.py --workdir=runs/kuang_full

A U-Net of 64 channels and four poolings on patches of 256 x 256 of slices of 512 x 512; ten evolutions of 200 steps.
For a GPU, and a data set at --config.data.root=DIR. Without it, 75 synthetic scans of 512 x 512 (preset
'calibrated', layout 'own') are made once and used.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py in full resolution, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "kuang",
        outer=10,
        inner=200,
        block=1,
        grid={"side": 512},
        patch={"side": 256, "stride": 128},
        model={"encoder": "plain", "base_width": 64, "depth": 4},
        train={"epochs": 60, "examples_per_epoch": 0, "batch_size": 16, "learning_rate": 1e-4},
    )
