"""Jnawali et al. (2018): three 3-D networks on whole scans, on synthetic scans.

    python launch.py crossval --config=configs/literature/jnawali.py --workdir=runs/jnawali

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
Longer training: --config.options.jnawali.train.epochs=48
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("jnawali", train={"epochs": 20})
