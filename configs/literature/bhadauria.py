"""Bhadauria and Dewal (2014): spatial fuzzy clusters and an active contour, on synthetic scans.

    python launch.py crossval --config=configs/literature/bhadauria.py --workdir=runs/bhadauria

60 synthetic head CTs of the preset 'demo', 4 folds. Steps of the contour, 60 by default:
--config.options.bhadauria.iterations=120
"""

import pathlib
import runpy


def get_config():
    """The demo's scans and folds with this method."""
    demo = pathlib.Path(__file__).parents[1] / "demo.py"
    config = runpy.run_path(str(demo))["get_config"]()
    config.method = "bhadauria"
    config.compare_with = ()
    config.options.bhadauria = {"iterations": 60}
    return config
