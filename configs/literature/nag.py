"""Nag et al. (2019): an autoencoder and Chan-Vese contours, on synthetic scans.

    python launch.py crossval --config=configs/literature/nag.py --workdir=runs/nag

60 synthetic head CTs of the preset 'demo', 4 folds. Training steps of the autoencoder:
--config.options.nag.steps=2000
"""

import pathlib
import runpy


def get_config():
    """The demo's scans and folds with this method."""
    demo = pathlib.Path(__file__).parents[1] / "demo.py"
    config = runpy.run_path(str(demo))["get_config"]()
    config.method = "nag"
    config.compare_with = ()
    config.options.nag = {"steps": 400}
    return config
