"""Cho et al. (2019): a cascade of classifiers, then two fully convolutional networks, on synthetic scans.

    python launch.py crossval --config=configs/literature/cho.py --workdir=runs/cho

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds. Small enough for
two CPU cores; cho_full.py has the published size.
Without the cascade:
--config.options.cho.gates="(0.0,)"
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("cho")
