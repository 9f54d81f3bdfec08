"""Arbabshirani et al. (2018) at the published size, 24 x 256 x 256 voxels, for a GPU.

    python launch.py crossval --config=configs/literature/arbabshirani_full.py --workdir=runs/arbabshirani_full

75 synthetic head CTs of preset 'calibrated' (made once), 4 folds; --config.data.root=DIR for one's own scans. Not yet
run: no time and no score are known.
"""

import pathlib
import runpy


def get_config():
    """Four wide networks on 24 slices of 256 x 256 pixels."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "arbabshirani",
        widths=(32, 64, 128, 256, 256),
        hidden=256,
        stack=64,
        grid={"side": 256},
        model={"dtype": "bfloat16"},
        train={"epochs": 60, "batch_size": 4, "learning_rate": 1e-3},
    )
