"""The U-Net with a recurrent layer over adjacent slices, the paper's future work, in the paper's width.

    python launch.py crossval --config=configs/literature/recurrent_unet_full.py --workdir=runs/recurrent_unet_full

The paper's U-Net of 64 channels on whole slices of 256 x 256, 40 at a time, and a GRU of 256 channels each way. For a
GPU, and a data set at --config.data.root=DIR. Without it, 75 synthetic scans of 512 x 512 (preset 'calibrated',
layout 'own') are made once and used.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py in full resolution, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "recurrent_unet",
        hidden=256,
        stack=40,
        windows=((40.0, 120.0),),
        grid={"side": 256},
        model={"encoder": "plain", "norm": "none", "base_width": 64, "depth": 4, "dtype": "bfloat16"},
        train={"epochs": 60, "batch_size": 1, "learning_rate": 1e-4},
    )
