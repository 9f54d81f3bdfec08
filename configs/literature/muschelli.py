"""Muschelli et al. (2017): features of each voxel and a random forest, on synthetic scans.

    python launch.py crossval --config=configs/literature/muschelli.py --workdir=runs/muschelli

60 synthetic head CTs of the preset 'demo', 4 folds. The logistic regression in place of the forest:
--config.options.muschelli.learner=logistic
"""

import pathlib
import runpy


def get_config():
    """The demo's scans and folds with this method."""
    demo = pathlib.Path(__file__).parents[1] / "demo.py"
    config = runpy.run_path(str(demo))["get_config"]()
    config.method = "muschelli"
    config.compare_with = ()
    config.options.muschelli = {"learner": "forest"}
    return config
