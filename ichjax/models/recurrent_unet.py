"""A U-Net with a recurrent layer over adjacent slices at its bottleneck: the paper's plan for future work.

The paper proposes 'enhancing U-Net with a recurrent neural network such as LSTM networks to consider the relationship
between the adjacent slices'. The layer's states of both directions are mapped to the bottleneck's channels and added to
it; the map starts at 0, so that the network starts as the U-Net, whose parameters keep their names: it can start from a
trained one (`config.init_from`).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.recurrence import SliceRecurrence
from ichjax.models.sequence_network import Decoded


class RecurrentUNet(nn.Module):
    """A U-Net module and the recurrent layer; see `SequenceNetwork` for its methods.

    Attributes:
      unet: `UNet` or `ResidualUNet`, with one logit for each pixel.
      kind: 'gru' or 'lstm'; or 'none', for the U-Net alone on the same examples.
      hidden: channels of the state of each direction.
      kernel: side of the recurrent layer's convolutions.
    """

    unet: nn.Module
    kind: str
    hidden: int
    kernel: int = 3

    def setup(self) -> None:
        """Parameters of the U-Net have their own names, without a prefix."""
        nn.share_scope(self, self.unet)
        if self.kind != "none":
            self.recurrence = SliceRecurrence(self.hidden, self.kind, self.kernel)
            self.recurrence_out = _ToChannels()

    def __call__(self, images: jax.Array, real: jax.Array, *, dropout_keys: jax.Array | None = None) -> Decoded:
        """The output for stacks: images [B L, H, W, C], `real` bool [B, L]."""

        def between(x: jax.Array) -> jax.Array:
            stacked = x.reshape(*real.shape, *x.shape[1:])
            return self.mix(stacked, real).reshape(x.shape)

        return Decoded(self._unet(images, dropout_keys=dropout_keys, between=between))

    def encode(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(the bottleneck [N, h, w, K], the images)."""
        return self._unet(images, between=lambda _: None), images

    def mix(self, features: jax.Array, real: jax.Array) -> jax.Array:
        """The bottleneck [B, L, h, w, K] with what the recurrent layer adds."""
        if self.kind == "none":
            return features
        added = self.recurrence_out(self.recurrence(features, real), features.shape[-1])
        return features + added.astype(features.dtype)

    def decode(self, mixed: jax.Array, images: jax.Array) -> Decoded:
        """Logits from the mixed bottleneck, and skip connections from the images."""
        return Decoded(self._unet(images, between=lambda _: mixed))

    def _unet(self, images: jax.Array, **options: Any) -> jax.Array:
        return self.unet(images, **options)


class _ToChannels(nn.Module):
    """A linear map of the last axis that starts at 0."""

    @nn.compact
    def __call__(self, x: jax.Array, channels: int) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.zeros, (x.shape[-1], channels))
        return jnp.einsum("...c,cf->...f", x, kernel)
