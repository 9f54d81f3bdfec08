"""A method of the kind of Yuh et al. (2008): a threshold, then rules on shape and place; sub-types.

    python launch.py crossval --config=configs/literature/yuh.py --workdir=runs/yuh

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("yuh")
