"""Muschelli et al. (2017): features of each voxel and a random forest, on synthetic scans.

    python launch.py crossval --config=configs/literature/muschelli.py --workdir=runs/muschelli

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
The logistic regression in place of the forest:
--config.options.muschelli.learner=logistic
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("muschelli", learner="forest")
