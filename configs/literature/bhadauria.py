"""Bhadauria and Dewal (2014): spatial fuzzy clusters and an active contour, on synthetic scans.

    python launch.py crossval --config=configs/literature/bhadauria.py --workdir=runs/bhadauria

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
Steps of the contour, 60 by default:
--config.options.bhadauria.iterations=120
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("bhadauria", iterations=60)
