"""Shahangian and Pourghassem (2016): DRLSE regions and two SVMs, on synthetic scans.

    python launch.py crossval --config=configs/literature/shahangian.py --workdir=runs/shahangian

60 synthetic head CTs of the preset 'demo' in the layout 'own', whose masks have sub-types, 4 folds.
"""

import pathlib
import runpy


def get_config():
    """The demo's scans and folds with this method."""
    demo = pathlib.Path(__file__).parents[1] / "demo.py"
    config = runpy.run_path(str(demo))["get_config"]()
    config.method = "shahangian"
    config.phantom.layout = "own"
    config.compare_with = ()
    return config
