"""Shahangian and Pourghassem (2016): DRLSE regions and two SVMs, on synthetic scans.

    python launch.py crossval --config=configs/literature/shahangian.py --workdir=runs/shahangian

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("shahangian")
