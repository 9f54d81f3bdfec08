"""A method of the kind of Yuh et al. (2008): a threshold, then rules on shape and place; sub-types.

    python launch.py crossval --config=configs/literature/yuh.py --workdir=runs/yuh

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
"""

import pathlib
import runpy


def get_config():
    """The demo's scans and folds, this method alone."""
    demo = pathlib.Path(__file__).parents[1] / "demo.py"
    config = runpy.run_path(str(demo))["get_config"]()
    config.phantom.layout = "own"
    config.method = "yuh"
    config.compare_with = ()
    return config
