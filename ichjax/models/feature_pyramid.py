"""A feature pyramid whose way up sees several slices in 3-D and whose way down is in the plane of the middle one.

The way up convolves in 3-D and pools in plane alone, so that all slices are kept; each level is then projected to 2-D
by a weighted sum over slices and channels, as in the hybrid network of Chang et al. (2018). The way down adds each
level to the coarser ones (Lin et al., 2017).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.blocks import ConvBlock
from ichjax.models.volume_blocks import VolumeConv, pool_volume


class Pyramid(NamedTuple):
    """Maps in the plane of the middle slice: float [B, H / 4, W / 4, F] and [B, H / 8, W / 8, F]."""

    fourth: jax.Array
    eighth: jax.Array


class HybridPyramid(nn.Module):
    """Maps of a slice from it and its neighbors.

    Attributes:
      widths: channels of the 3-D levels at a half, a fourth, an eighth and a sixteenth of the sides.
      features: F, channels of the 2-D levels.
      convolutions: 3-D convolutions of each level.
      dtype: of the computation.
    """

    widths: tuple[int, int, int, int]
    features: int
    convolutions: int = 1
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, slices: jax.Array) -> Pyramid:
        """Maps of images [B, Z, H, W, C], whose sides are multiples of 16."""
        x, flat = slices, []
        for level, width in enumerate(self.widths):
            x = pool_volume(x, slices=False) if level else x
            for number in range(self.convolutions):
                stride = 2 if level == number == 0 else 1
                x = VolumeConv(width, stride=stride, dtype=self.dtype, name=f"up{level + 1}_{number + 1}")(x)
            if level:
                flat.append(self._flat(x, f"projection{level + 1}"))
        fourth, eighth, sixteenth = flat
        eighth = eighth + _doubled(sixteenth)
        fourth = fourth + _doubled(eighth)
        smooth = [
            ConvBlock(self.features, dtype=self.dtype, name=name)(x)
            for name, x in (("down2", fourth), ("down3", eighth))
        ]
        return Pyramid(*smooth)

    def _flat(self, x: jax.Array, name: str) -> jax.Array:
        """[B, Z, h, w, C] as [B, h, w, F]."""
        channels = jnp.moveaxis(x, 1, 3).reshape(len(x), *x.shape[2:4], -1)
        return ConvBlock(self.features, (1, 1), norm=False, relu=False, dtype=self.dtype, name=name)(channels)


def _doubled(x: jax.Array) -> jax.Array:
    """Each pixel of [B, h, w, F] as 2 x 2 pixels."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
