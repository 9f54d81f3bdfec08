"""Gautam and Raman (2018): fuzzy clusters and wavelets, on synthetic scans.

    python launch.py crossval --config=configs/literature/gautam.py --workdir=runs/gautam

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
Number of clusters, 6 by default:
--config.options.gautam.clusters=4
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("gautam", clusters=6)
