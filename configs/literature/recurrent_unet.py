"""The U-Net with a recurrent layer over adjacent slices, the paper's future work, on synthetic scans.

    python launch.py crossval --config=configs/literature/recurrent_unet.py --workdir=runs/recurrent_unet

60 synthetic head CTs (preset 'demo', layout 'own', whose masks have sub-types; made once), 4 folds. The U-Net of the
demo on whole slices of 96 x 96 pixels in order. Other layers, and none, to compare with; or from a trained U-Net:
--config.options.recurrent_unet.kind=lstm
--config.options.recurrent_unet.kind=none
--config.init_from=runs/demo
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["alone"]("recurrent_unet", kind="gru")
