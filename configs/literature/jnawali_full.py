"""Jnawali et al. (2018) at the published size, 32 x 128 x 128 voxels, for a GPU.

    python launch.py crossval --config=configs/literature/jnawali_full.py --workdir=runs/jnawali_full

75 synthetic head CTs of preset 'calibrated' (made once), 4 folds; --config.data.root=DIR for one's own scans. Not yet
run: no time and no score are known.
"""

import pathlib
import runpy


def get_config():
    """Three wide networks on 32 slices of 128 x 128 pixels."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "jnawali",
        depth=32,
        alex_widths=(48, 128, 192, 192, 128),
        alex_stride=2,
        inception_stem=64,
        inception_levels=((128, 256), (256, 256, 256), (512, 512)),
        shallow_widths=(32, 64, 128),
        hidden=512,
        stack=64,
        grid={"side": 128},
        model={"dtype": "bfloat16"},
        train={"epochs": 60, "batch_size": 4, "learning_rate": 1e-3},
    )
