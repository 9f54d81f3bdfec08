"""A second network family for tests of the method interface: three neighboring slices, two classes, focal loss."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from ichjax.methods.patch_network import PatchNetworkMethod
from ichjax.models.network import Network


class TwoClasses(nn.Module):
    """Two convolutions; the logits of background and hemorrhage, [B, H, W, 2]."""

    width: int

    @nn.compact
    def __call__(self, images, *, dropout_keys=None):
        return nn.Conv(2, (3, 3))(nn.relu(nn.Conv(self.width, (3, 3))(images)))


@dataclasses.dataclass(frozen=True)
class FocalNetwork(Network):
    """Softmax with the focal loss (Lin et al., 2017) instead of the cross-entropy of one logit."""

    gamma: float = 2.0

    def loss(self, params, images, masks, *, dropout_keys):
        return self._focal(self.probability(params, images), masks)

    def validate(self, params, images, masks):
        probability = self.probability(params, images)
        return self._focal(probability, masks), probability

    def probability(self, params, images):
        return nn.softmax(self.logits(params, images), axis=-1)[..., 1]

    def _focal(self, probability, masks):
        correct = jnp.clip(jnp.where(masks > 0, probability, 1.0 - probability), 1e-6, 1.0)
        return ((1.0 - correct) ** self.gamma * -jnp.log(correct)).mean(axis=(1, 2))


class NeighborMethod(PatchNetworkMethod):
    title = "Three slices"
    card = "Two convolutions on three neighboring slices"

    def __init__(self, config):
        super().__init__(config, FocalNetwork(TwoClasses(config.options.width), config.windows, neighbors=1))


make = NeighborMethod
