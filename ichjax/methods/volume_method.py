"""Base class of methods whose 3-D networks classify whole scans and mark a hemorrhage by where they look."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.methods.base import Prediction
from ichjax.methods.classifier_method import AttentionMethod
from ichjax.methods.patch_network import PatchNetworkParams
from ichjax.methods.sequence_method import whole_slices
from ichjax.methods.sequence_predictor import SequencePredictor
from ichjax.models.unet import network_fields
from ichjax.models.volume_classifier import VolumeEnsemble, VolumeNetwork
from ichjax.scan.volume import Volume

TRAIN_SCANS: dict[str, Any] = {
    "epochs": 20,
    "batch_size": 1,
    "examples_per_epoch": 0,
    "negatives": "matched",
    "sampling": "patches",
    "learning_rate": 2e-3,
}


class VolumeMethod(AttentionMethod):
    """Trains a `VolumeNetwork` on the labels of whole scans: any hemorrhage, and each sub-type.

    Attributes:
      name: of the method, and of its options.
      defaults: its options, see `own_settings.configured`; 'stack' and 'depth' among them.
    """

    predictor = SequencePredictor
    name: ClassVar[str]
    defaults: ClassVar[dict[str, Any]]

    def __init__(self, config: Config, ensemble: VolumeEnsemble, *, stack: int):
        """Makes a method.

        Args:
          config: the method's own configuration (`own_settings.configured`).
          ensemble: the networks.
          stack: slices of a training example; scans with more are learned in parts.
        """
        changed = whole_slices(config)
        fields = network_fields(changed) | {"slice_head_weight": 1.0, "side_multiple": 1}
        super().__init__(changed, VolumeNetwork(ensemble, **fields, stack=stack))
        self.mode = "whole scans, a score and an attention map each"

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """As `AttentionMethod.predict`, with the scores of the scan, which are the highest of its slices."""
        prediction = super().predict(params, volume, prior=prior)
        subtypes, slices = jnp.asarray(prediction.subtype_scores), jnp.asarray(prediction.slice_scores)
        return prediction._replace(scan_scores=jnp.append(subtypes.max(axis=0), slices.max()))


def dtype_of(config: Config) -> Any:
    """The dtype of a method's computation."""
    return jnp.dtype(config.model.dtype)
