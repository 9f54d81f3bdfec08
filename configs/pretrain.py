"""The encoder of the demo's U-Net, trained on slice labels: what a U-Net can start from (config.init_from).

    python launch.py pretrain --config=configs/pretrain.py --workdir=runs/pretrained
    python launch.py crossval --config=configs/demo.py --workdir=runs/from_pretrained --config.init_from=runs/pretrained

200 synthetic head CTs (preset 'demo') in the layout of RSNA 2019, with labels of slices and no masks, made once; the
real set: --config.data.root=DIR. Scans are streamed from the disk. Of 4 folds one is held out to select on, and one to
score.
"""

import pathlib
import runpy


def get_config():
    """The demo's network on whole slices of whole scans."""
    config = runpy.run_path(str(pathlib.Path(__file__).with_name("demo.py")))["get_config"]()
    config.phantom.layout = "rsna"
    config.phantom.subjects = 200
    config.phantom.seed = 11
    config.grid.side = 96
    config.model.dropout = 0.2
    config.predict.mirror = False
    config.transforms.affine_probability = 0.5
    config.augment.rotation_degrees = 0.0  # `transforms` rotate and zoom instead
    config.augment.shift = 0.0
    config.augment.shear_degrees = 0.0
    config.augment.zoom = 0.0
    config.train.examples_per_epoch = 0
    config.train.batch_size = 2
    config.train.epochs = 8
    config.train.learning_rate = 2e-3
    config.options.pretraining = {"stack": 16, "hidden": 32}
    return config
