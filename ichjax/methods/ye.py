"""VGG-16 on slices and a bidirectional GRU over the scan, with Grad-CAM, of the kind of Ye et al. (2019).

Published on 2537 scans for training and 299 for testing (European Radiology, 2019); reported for detection: sensitivity
0.98, specificity 0.99, AUC 1; by sub-type 0.80, 0.932 and 0.93. Labels of slices counted more than those of scans.
Ours differs: one network tells any hemorrhage and the sub-types, where the publication has two tasks in sequence; all
slices are labelled; the loss is that of the slices plus half of the scan's, whose logit is the highest of its slices;
convolutions are normalized, as nothing is pre-trained; features are pooled by a log-mean-exp (`slice_classifier`); and
Grad-CAM is of the slice's logit of any hemorrhage.
"""

from typing import Any, ClassVar

import jax.numpy as jnp

from ichjax.config import Config
from ichjax.methods.classifier_method import AttentionMethod
from ichjax.methods.own_settings import configured
from ichjax.methods.sequence_method import SequenceMethod
from ichjax.methods.small_classifier import AUGMENT, TRAIN
from ichjax.models import backbones
from ichjax.models.sequence_classifier import RecurrentClassifier
from ichjax.models.sequence_network import SequenceNetwork
from ichjax.models.unet import network_fields


class YeMethod(AttentionMethod, SequenceMethod):
    """Options: `width` of the convolutions (64 in the source), `fine` features (`backbones.make`), `hidden` states of
    each direction, `dropout`, `scan_weight` of the scan's loss, and `stack`, the slices of an example."""

    title = "Ye 2019"
    card = "VGG-16 on slices, a bidirectional GRU over the scan and Grad-CAM, of the kind of Ye et al. 2019"
    name, reference = "ye", "ye_2019"
    defaults: ClassVar[dict[str, Any]] = {
        "width": 8,
        "fine": True,
        "hidden": 32,
        "dropout": 0.2,
        "scan_weight": 0.5,
        "stack": 12,
        "windows": ((40.0, 80.0), (175.0, 50.0), (500.0, 3000.0)),
        "grid": {"side": 96},
        "augment": AUGMENT,
        "train": TRAIN | {"batch_size": 2, "epochs": 12},
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        dtype = jnp.dtype(changed.model.dtype)
        backbone = backbones.make("vgg16", width=options["width"], fine=options["fine"], dtype=dtype)
        module = RecurrentClassifier(backbone, options["hidden"], "gru", options["dropout"])
        fields = network_fields(changed) | {"slice_head_weight": 1.0, "side_multiple": 1}
        own = {"scan_weight": options["scan_weight"], "segments": False, "stack": options["stack"]}
        super().__init__(changed, SequenceNetwork(module, **fields, **own))


make = YeMethod
