"""Kuang et al. (2019): a U-Net with left-right differences, then contour evolution, on synthetic scans.

    python launch.py crossval --config=configs/literature/kuang.py --workdir=runs/kuang

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds. Small enough for
two CPU cores; kuang_full.py has the published size.
The U-Net alone:
--config.options.kuang.evolution=False
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("kuang")
