"""Gautam and Raman (2018): fuzzy clusters and wavelets, on synthetic scans.

    python launch.py crossval --config=configs/literature/gautam.py --workdir=runs/gautam

60 synthetic head CTs of the preset 'demo', 4 folds. Number of clusters, 6 by default:
--config.options.gautam.clusters=4
"""

import pathlib
import runpy


def get_config():
    """The demo's scans and folds with this method."""
    demo = pathlib.Path(__file__).parents[1] / "demo.py"
    config = runpy.run_path(str(demo))["get_config"]()
    config.method = "gautam"
    config.compare_with = ()
    config.options.gautam = {"clusters": 6}
    return config
