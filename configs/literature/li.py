"""A method of the kind of Li et al. (2012): the subarachnoid space by distances and Bayes, hemorrhage by an SVM.

    python launch.py crossval --config=configs/literature/li.py --workdir=runs/li

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("li")
