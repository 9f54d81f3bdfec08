"""Chang et al. (2018) at the published size, five slices of 512 x 512 pixels, for a GPU.

    python launch.py crossval --config=configs/literature/chang_full.py --workdir=runs/chang_full

75 synthetic head CTs of preset 'calibrated' (made once), 4 folds; --config.data.root=DIR for one's own scans. Not yet
run: no time and no score are known.
"""

import pathlib
import runpy


def get_config():
    """A wide network with 64 boxes a slice."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "chang",
        widths=(32, 64, 128, 256),
        features=128,
        convolutions=2,
        hidden=512,
        mask_convolutions=4,
        anchor_sides_px=(24.0, 64.0, 160.0),
        candidates=512,
        proposals=64,
        accepted=32,
        true_boxes=16,
        grid={"side": 512},
        model={"dtype": "bfloat16"},
        train={"epochs": 60, "batch_size": 8, "examples_per_epoch": 0, "learning_rate": 1e-3},
    )
