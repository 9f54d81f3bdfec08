"""The encoder of a U-Net with heads for slice labels, to be trained where there are labels and no masks.

The encoder's parameters have the U-Net's names, so that a U-Net starts from them (`config.init_from`). One head sees
each slice on its own, and one, behind a bidirectional GRU, all slices; both are trained, in one step and not in two
stages as by the winners of the RSNA 2019 challenge.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.recurrence import SliceRecurrence
from ichjax.models.sequence_network import Decoded
from ichjax.models.slice_classifier import attention
from ichjax.models.slice_head import LABEL_WEIGHTS

Rest = tuple[jax.Array, tuple[int, ...]]  # the map of any hemorrhage [N, h, w], and the sides of the images


class EncoderClassifier(nn.Module):
    """A U-Net module of which the encoder is used, and two heads; see `SequenceNetwork` for its methods.

    Attributes:
      unet: `UNet` or `ResidualUNet`.
      hidden: channels of the GRU's state in each direction.
    """

    unet: nn.Module
    hidden: int

    def setup(self) -> None:
        """The encoder's parameters have their own names, without a prefix."""
        nn.share_scope(self, self.unet)
        self.own_head = Head()
        self.scan_recurrence = SliceRecurrence(self.hidden, "gru", kernel=1)
        self.scan_head = Head()

    def __call__(self, images: jax.Array, real: jax.Array, *, dropout_keys: jax.Array | None = None) -> Decoded:
        """The output for stacks: images [B L, H, W, C], `real` bool [B, L]."""
        features, rest = self.encode(images, dropout_keys=dropout_keys)
        mixed = self.mix(features.reshape(*real.shape, *features.shape[1:]), real)
        return self.decode(mixed.reshape(-1, *mixed.shape[2:]), rest)

    def encode(self, images: jax.Array, **options: Any) -> tuple[jax.Array, Rest]:
        """(the mean and the highest features of the bottleneck, float32 [N, 2 K]; its map)."""
        pixels = self._unet(images, between=lambda _: None, **options).astype(jnp.float32)
        features = jnp.concatenate([pixels.mean(axis=(1, 2)), _highest(pixels)], axis=-1)
        _, kernel = self.own_head(features)
        of_mean, of_highest = jnp.split(kernel[:, -1], 2)
        return features, (pixels @ (of_mean + of_highest), images.shape[1:3])

    def mix(self, features: jax.Array, real: jax.Array) -> jax.Array:
        """The logits of both heads [B, L, 12]: of a slice on its own, and with what the other slices add."""
        own, _ = self.own_head(features)
        states = self.scan_recurrence(features[:, :, None, None], real)[:, :, 0, 0]
        return jnp.concatenate([own, own + self.scan_head(states)[0]], axis=-1)

    def decode(self, mixed: jax.Array, rest: Rest) -> Decoded:
        """The logits with what the other slices add, and the map."""
        own, of_scan = jnp.split(mixed, 2, axis=-1)
        return Decoded(None, of_scan, attention(*rest), further_slices=(own,))

    def _unet(self, images: jax.Array, **options: Any) -> jax.Array:
        return self.unet(images, **options)


class Head(nn.Module):
    """A linear layer whose logits start at 0: returns them [..., 6], and its kernel [F, 6]."""

    @nn.compact
    def __call__(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """From features [..., F]."""
        kernel = self.param("kernel", nn.initializers.zeros, (features.shape[-1], len(LABEL_WEIGHTS)))
        bias = self.param("bias", nn.initializers.zeros, (len(LABEL_WEIGHTS),))
        logits = features.reshape(-1, features.shape[-1]) @ kernel + bias[None]
        return logits.reshape(*features.shape[:-1], -1), kernel


def _highest(pixels: jax.Array) -> jax.Array:
    """The maximum of [N, h, w, K] over pixels, whose gradient goes to one of them (see `slice_head.slice_logits`)."""
    flat = pixels.reshape(len(pixels), -1, pixels.shape[-1])
    chosen = jnp.arange(flat.shape[1])[None, :, None] == flat.argmax(axis=1)[:, None]
    return jnp.where(chosen, flat, 0.0).sum(axis=1)
