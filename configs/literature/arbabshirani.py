"""Arbabshirani et al. (2018): four 3-D networks on whole scans, on synthetic scans.

    python launch.py crossval --config=configs/literature/arbabshirani.py --workdir=runs/arbabshirani

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.

On the first fold, labels of 30 training scans were too few: after 600 updates, the training loss, 0.486, was no lower
than that of the labels' prevalence, 0.479. Longer training:
--config.options.arbabshirani.train.epochs=48
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("arbabshirani", train={"epochs": 20})
