"""Lee et al. (2019): an ensemble on slices mixed with their neighbors, in its published size.

    python launch.py crossval --config=configs/literature/lee_full.py --workdir=runs/lee_full

VGG-16, ResNet-50, Inception-v3 and Inception-ResNet-v2 with their sources' parameters, on slices of 512 x 512.
For a GPU, and a data set at --config.data.root=DIR. Without it, 75 synthetic scans of 512 x 512 (preset
'calibrated', layout 'own') are made once and used.
"""

import pathlib
import runpy


def get_config():
    """The scans and folds of configs/literature/all.py in full resolution, this method alone."""
    together = runpy.run_path(str(pathlib.Path(__file__).with_name("all.py")))
    return together["full"](
        "lee",
        members=("vgg16", "resnet50", "inception_v3", "inception_resnet_v2"),
        width=64,
        fine=False,
        grid={"side": 512},
        augment=together["CLASSIFIER_AUGMENT"],
        train={"epochs": 60, "batch_size": 16, "learning_rate": 0.0001},
    )
