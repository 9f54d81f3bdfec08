"""A DenseNet with auxiliary masks and a bidirectional LSTM over the scan, of the kind of Grewal et al. (2017).

Published on 252 scans for training and 77 for testing (RADnet, arXiv:1710.04934); reported: sensitivity 0.88, precision
0.81, accuracy 0.81 by scan. A DenseNet-40 learns masks after each of its blocks besides the labels of slices; a scan is
positive if at least three consecutive slices are. Ours differs: network and LSTM are trained together, on stacks of
slices, not one after the other; sub-types are told, too; the score of a scan is the highest that three consecutive
slices reach; the mean of the three masks, times the score of the slice, marks the hemorrhage, which the publication
does not measure; group normalization stands in place of batch normalization; features are pooled by a log-mean-exp
(`slice_classifier`); and the small form has fewer layers, and a first convolution of stride 2.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.methods.base import Prediction
from ichjax.methods.classifier_method import AttentionMethod
from ichjax.methods.own_settings import configured
from ichjax.methods.patch_network import PatchNetworkParams
from ichjax.methods.scan_scores import lowest_of_consecutive, slice_score_table
from ichjax.methods.sequence_method import SequenceMethod
from ichjax.methods.small_classifier import AUGMENT, TRAIN
from ichjax.models.densenet import DenseNet
from ichjax.models.sequence_classifier import MaskedRecurrentClassifier, MaskedSequenceNetwork
from ichjax.models.unet import network_fields
from ichjax.scan.volume import Volume


class GrewalMethod(AttentionMethod, SequenceMethod):
    """Options: `growth` and `layers` of each block of the DenseNet (12 and 12 in the source), the `stride` of its first
    convolution, `hidden` states of each direction, `dropout`, `consecutive` slices that make a scan positive, and
    `stack`, the slices of an example."""

    title = "Grewal 2017"
    card = "A DenseNet with auxiliary masks, a bidirectional LSTM over the scan, of the kind of Grewal et al. 2017"
    name, reference = "grewal", "grewal_2017"
    defaults: ClassVar[dict[str, Any]] = {
        "growth": 4,
        "layers": 3,
        "stride": 2,
        "hidden": 32,
        "dropout": 0.0,
        "consecutive": 3,
        "stack": 12,
        "windows": ((40.0, 80.0),),
        "grid": {"side": 96},
        "augment": AUGMENT,
        "train": TRAIN | {"batch_size": 2, "epochs": 12, "positive_weight": 4.0},
    }

    def __init__(self, config: Config):
        changed, self.options = configured(config, self.name, self.defaults)
        backbone = DenseNet(
            self.options["growth"], self.options["layers"], self.options["stride"], dtype=jnp.dtype(changed.model.dtype)
        )
        module = MaskedRecurrentClassifier(backbone, self.options["hidden"], "lstm", self.options["dropout"])
        fields = network_fields(changed) | {"slice_head_weight": 1.0, "side_multiple": backbone.side_multiple}
        own = {"gated": True, "segments": False, "stack": self.options["stack"]}
        super().__init__(changed, MaskedSequenceNetwork(module, **fields, **own))

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """As `AttentionMethod.predict`, with the scores of the scan."""
        prediction = super().predict(params, volume, prior=prior)
        scores = lowest_of_consecutive(slice_score_table(prediction), self.options["consecutive"])
        return prediction._replace(scan_scores=scores)


make = GrewalMethod
