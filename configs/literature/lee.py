"""Lee et al. (2019): an ensemble on slices mixed with their neighbors, small, on synthetic scans.

    python launch.py crossval --config=configs/literature/lee.py --workdir=runs/lee

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds. Small enough for
two CPU cores; lee_full.py has the published size.
The width of the networks: --config.options.lee.width=32
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("lee", width=8)
