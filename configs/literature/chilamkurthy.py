"""Chilamkurthy et al. (2018): ResNet-18 on slices and random forests over scans, small, on synthetic scans.

    python launch.py crossval --config=configs/literature/chilamkurthy.py --workdir=runs/chilamkurthy

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds. Small enough for
two CPU cores; chilamkurthy_full.py has the published size.
The width of the network: --config.options.chilamkurthy.width=32
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("chilamkurthy", width=8)
