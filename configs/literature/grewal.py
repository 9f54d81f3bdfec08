"""Grewal et al. (2017): a DenseNet with masks and an LSTM over the scan, small, on synthetic scans.

    python launch.py crossval --config=configs/literature/grewal.py --workdir=runs/grewal

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds. Small enough for
two CPU cores; grewal_full.py has the published size.
The channels that each layer adds: --config.options.grewal.growth=12
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("grewal", growth=4)
