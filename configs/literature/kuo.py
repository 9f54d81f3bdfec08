"""Kuo et al. (2018): dilated residual networks on patches of three slices, on synthetic scans.

    python launch.py crossval --config=configs/literature/kuo.py --workdir=runs/kuo

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds. Small enough for
two CPU cores; kuo_full.py has the published size.
Four networks in place of two:
--config.options.kuo.members=4
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("kuo", members=2)
