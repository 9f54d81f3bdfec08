"""Ye et al. (2019): VGG-16 on slices and a bidirectional GRU over the scan, small, on synthetic scans.

    python launch.py crossval --config=configs/literature/ye.py --workdir=runs/ye

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds. Small enough for
two CPU cores; ye_full.py has the published size.
The width of the convolutions: --config.options.ye.width=32
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("ye", width=8)
