"""An ensemble of dilated residual networks on patches of three slices, of the kind of PatchFCN (Kuo et al., 2018).

Published on 1,247 scans, of which 313 and 120 were tested: 92.8 % average precision of the detection, 77.9 % of
pixels, as the paper's review quotes it (arXiv 1806.03265). A fully convolutional network sees random crops of three
adjacent slices, half of them with a hemorrhage; overlapping crops are averaged. A later ensemble of four tells by how
much its members disagree, from which scans were chosen to be annotated next (doi 10.1007/978-3-030-00931-1_82).
Ours differs: it is not trained on photographs first; group normalization stands in place of batch normalization; crops
are drawn from a grid of half their side, mirrored at random but not scaled; the small form has two members of a
quarter of the width, with fewer blocks, on coarser slices, and a logit at every fourth pixel.

Options (`config.options.kuo`): `members` of the ensemble, `blocks` of each of the eight levels, `stride` of the
features in pixels, and any group of the configuration (`model.base_width` is the width of a member's first level).
"""

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np

from ichjax.config import Config
from ichjax.data import regrid
from ichjax.methods.base import Prediction
from ichjax.methods.own_settings import configured
from ichjax.methods.patch_network import PatchNetworkMethod, PatchNetworkParams
from ichjax.models import dilated
from ichjax.scan.volume import Volume


class KuoMethod(PatchNetworkMethod):
    """Dilated residual networks on patches of three adjacent slices, with their disagreement."""

    title = "Kuo 2018"
    card = "Dilated residual networks on patches of three slices, of the kind of Kuo et al. 2018"
    name, reference = "kuo", "kuo_2018"
    defaults: ClassVar[dict[str, Any]] = {
        "members": 2,
        "blocks": (1, 1, 1, 1, 1, 1, 1, 1),
        "stride": 4,
        "grid": {"side": 120},
        "patch": {"side": 48, "stride": 24},
        "predict": {"mirror": False},
        "model": {"base_width": 4, "neighbors": 1},
        "train": {"epochs": 8, "batch_size": 4, "learning_rate": 2e-3, "negatives": "matched"},
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        network = dilated.network_from_config(
            changed, members=options["members"], blocks=tuple(options["blocks"]), stride=options["stride"]
        )
        super().__init__(changed, network)
        fields = {field.name: getattr(network, field.name) for field in dataclasses.fields(network)}
        self._disagreement = self._predictor_of(dilated.DisagreementNetwork(**fields))

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """As `PatchNetworkMethod.predict`; a slice scores as its highest pixel."""
        prediction = super().predict(params, volume, prior=prior)
        return prediction._replace(slice_scores=prediction.probability.max(axis=(1, 2)))

    def uncertainty(self, params: PatchNetworkParams, volume: Volume) -> jax.Array:
        """By how much the members disagree: the Jensen-Shannon divergence H(mean p) - mean H(p) of each pixel.

        Returns:
          float32 [D, H, W], on the device, from 0 to ln 2 nats, on the scan's own grid; a mean over overlapping
          patches, and 0 where the probability is restricted to 0. It is 0 everywhere for one member.
        """
        own = regrid.own_grid(volume)
        predicted = self._disagreement.predict_inside(
            params.weights, np.asarray(volume.hu), own, params.grid, slice_mm=volume.spacing_mm[0]
        )
        return predicted.probability


make = KuoMethod
