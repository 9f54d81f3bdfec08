"""Prakash et al. (2012): a level set that shrinks and grows, on synthetic scans.

    python launch.py crossval --config=configs/literature/prakash.py --workdir=runs/prakash

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds.
Without the filling of gaps between slices:
--config.options.prakash.fill_gaps=False
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("prakash", fill_gaps=True)
