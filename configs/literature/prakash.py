"""Prakash et al. (2012): a level set that shrinks and grows, on synthetic scans.

    python launch.py crossval --config=configs/literature/prakash.py --workdir=runs/prakash

60 synthetic head CTs of the preset 'demo', 4 folds. Without the filling of gaps between slices:
--config.options.prakash.fill_gaps=False
"""

import pathlib
import runpy


def get_config():
    """The demo's scans and folds with this method."""
    demo = pathlib.Path(__file__).parents[1] / "demo.py"
    config = runpy.run_path(str(demo))["get_config"]()
    config.method = "prakash"
    config.compare_with = ()
    config.options.prakash = {"fill_gaps": True}
    return config
