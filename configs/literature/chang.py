"""Chang et al. (2018): a hybrid 3-D and 2-D network of regions with masks, on synthetic scans.

    python launch.py crossval --config=configs/literature/chang.py --workdir=runs/chang

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.

Measured on the first fold: 130 s of training; Dice 0.07, AUC 0.71 of slices and 0.59 of scans (15 test scans, 9 with a
hemorrhage). The network has hardly begun to learn after 432 updates. Longer training:
--config.options.chang.train.epochs=48
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("chang", train={"epochs": 12})
