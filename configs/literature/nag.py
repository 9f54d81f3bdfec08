"""Nag et al. (2019): an autoencoder and Chan-Vese contours, on synthetic scans.

    python launch.py crossval --config=configs/literature/nag.py --workdir=runs/nag

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
Training steps of the autoencoder:
--config.options.nag.steps=2000
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("nag", steps=400)
