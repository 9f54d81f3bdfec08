"""Base class of methods that classify slices and mark a hemorrhage by where their network looks."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax

from ichjax.config import Config
from ichjax.data.scan_cache import CachedScan
from ichjax.methods.attention_cut import at_half, fit_cut
from ichjax.methods.base import PostProcess, Prediction
from ichjax.methods.patch_network import PatchNetworkMethod, PatchNetworkParams
from ichjax.methods.sequence_method import whole_slices
from ichjax.models.slice_classifier import Ensemble, SliceClassifier
from ichjax.models.unet import network_fields
from ichjax.scan.volume import Volume

CUT = "cut"


class AttentionMethod(PatchNetworkMethod):
    """A network whose probability is a slice's score times a map, cut at the level with the best Dice in training."""

    exportable = False

    def __init__(self, config: Config, network: Any):
        super().__init__(config, network)
        # The cut is fitted to the map as it is; gates and kernels are made for the probability of pixels.
        thresholds, chosen_on = self.post.thresholds, "training subjects of each fold (cut of the map)"
        self.post = PostProcess(0.5, thresholds, closing_px=0, opening_px=0, chosen_on=chosen_on)

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """As `PatchNetworkMethod.predict`, with a probability that is 1/2 at the fitted cut."""
        prediction = super().predict(params, volume, prior=prior)
        return at_half(prediction, params.chosen[CUT]) if CUT in params.chosen else prediction

    def choose(
        self, params: PatchNetworkParams, train: Sequence[CachedScan], valid: Sequence[CachedScan]
    ) -> dict[str, Any]:
        """The cut, fitted on the training scans."""
        return {CUT: fit_cut(lambda scan: self.predict(params, scan.volume), train)}


class ClassifierMethod(AttentionMethod):
    """Trains an `Ensemble` on the labels of whole slices.

    Attributes:
      name: of the method, and of its options.
      defaults: its options, see `own_settings.configured`.
    """

    name: ClassVar[str]
    defaults: ClassVar[dict[str, Any]]

    def __init__(self, config: Config, ensemble: Ensemble, network: type[SliceClassifier] = SliceClassifier):
        """Arguments: the method's own configuration (`own_settings.configured`), the ensemble, the network's class."""
        neighbors = config.model.neighbors
        changed = whole_slices(config)
        changed.model.neighbors = neighbors
        fields = network_fields(changed) | {"slice_head_weight": 1.0, "side_multiple": 1}
        super().__init__(changed, network(ensemble, **fields))
        self.mode = "whole slices, a score and an attention map each"
