"""A U-Net that also sees how the halves of the head differ, with a loss that counts more near a lesion's boundary."""

import dataclasses

import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.models import residual_unet, unet
from ichjax.models.network import Network
from ichjax.models.residual_unet import SupervisedNetwork
from ichjax.models.unet import network_fields
from ichjax.ops import gaussian, losses
from ichjax.ops import hu as hu_ops

ASYMMETRY_LEVEL_HU, ASYMMETRY_WIDTH_HU = 40.0, 80.0  # the window of the halves that are compared: 0 to 80
SMOOTHED_PX = 2.0  # sigma of the Gaussian
RATIO_OFFSET = 0.1  # of both sides' windowed intensity, so that their ratio is finite


@dataclasses.dataclass(frozen=True)
class AsymmetryNetwork(Network):
    """A network whose input also has two channels of the difference between a slice and its mirror image.

    Attributes:
      boundary_weight: further weight of a pixel on the boundary of the truth in the cross-entropy.
      boundary_px: distance from the boundary, in pixels, at which it has fallen to 1 / e.
    """

    mirrored_channel: bool = True
    boundary_weight: float = 0.0
    boundary_px: float = 5.0

    def images(self, hu: jax.Array) -> jax.Array:
        """As `Network.images`, from HU [B, H, W, S] whose last plane is the mirrored slice.

        That plane is not seen itself; the last two channels are how much brighter than it the (middle) slice is, as a
        difference and as the log of a ratio, after a Gaussian. Both are 0 where both are air.
        """
        planes = hu.shape[-1] - 1
        own, mirrored = (self._smoothed(hu[..., plane]) for plane in (planes // 2, planes))
        ratio = jnp.log(own + RATIO_OFFSET) - jnp.log(mirrored + RATIO_OFFSET)
        return jnp.concatenate([super().images(hu[..., :-1]), jnp.stack([own - mirrored, ratio], axis=-1)], axis=-1)

    def _smoothed(self, plane: jax.Array) -> jax.Array:
        windowed = hu_ops.window(plane, level=ASYMMETRY_LEVEL_HU, width=ASYMMETRY_WIDTH_HU)
        return gaussian.smooth(windowed, sigma_px=SMOOTHED_PX, radii=2.0)

    def loss_of_logits(self, logits: jax.Array, truth: jax.Array) -> jax.Array:
        """As `Network.loss_of_logits`, with the cross-entropy weighted by `losses.boundary_weights`."""
        weights = losses.boundary_weights(truth >= 0.5, weight=self.boundary_weight, decay_px=self.boundary_px)
        loss = losses.weighted_cross_entropy(logits, truth, weights, self.positive_weight)
        if self.dice_weight:
            loss += self.dice_weight * losses.soft_dice_loss(jax.nn.sigmoid(logits), truth)
        return loss


@dataclasses.dataclass(frozen=True)
class SupervisedAsymmetryNetwork(AsymmetryNetwork, SupervisedNetwork):
    """The same from a module with logits at several levels."""


def network_from_config(config: Config, *, boundary_weight: float, boundary_px: float) -> AsymmetryNetwork:
    """The U-Net of `config.model`, without a second head and without the focal loss."""
    fields = network_fields(config) | {"slice_head_weight": 0.0, "focal_gamma": 0.0, "mirrored_channel": True}
    fields |= {"boundary_weight": boundary_weight, "boundary_px": boundary_px}
    if config.model.encoder == "residual":
        module = residual_unet.network_from_config(config).module.clone(slice_head=False, slice_levels=0)
        return SupervisedAsymmetryNetwork(module, **fields)
    return AsymmetryNetwork(unet.from_config(config).clone(slice_head=False), **fields)
