"""Kuo et al. (2018): dilated residual networks on patches of three slices, in its published size.

    python launch.py crossval --config=configs/literature/kuo_full.py --workdir=runs/kuo_full

Four networks of 38 layers, with the parameters of their source, on patches of 240 x 240 of slices of 480 x 480.
For a GPU, and a data set at --config.data.root=DIR. Without it, 75 synthetic scans of 512 x 512 (preset
'calibrated', layout 'own') are made once and used.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py in full resolution, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "kuo",
        members=4,
        blocks=(1, 1, 3, 4, 6, 3, 1, 1),
        stride=8,
        windows=((40.0, 120.0),),
        grid={"side": 480},
        patch={"side": 240, "stride": 120},
        model={"base_width": 16, "neighbors": 1},
        train={"epochs": 60, "examples_per_epoch": 0, "batch_size": 16, "learning_rate": 1e-3},
    )
