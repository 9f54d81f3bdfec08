"""The heads of a network of regions: what the maps tell of anchors, and of boxes, their class, place and mask."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.blocks import ConvBlock
from ichjax.models.up_convolution import UpConv
from ichjax.ops import roi_align

ALIGNED_PX = 14  # sides of the maps of a region; its mask has twice as many pixels
CLASS_STRIDE = 4  # of the maps of a level in pixels of the image: that which regions are cut from
ANCHOR_STRIDE = 8  # of the level of anchors
RARE_LOGIT = -3.0  # at which anchors start, few of which are hemorrhage
SMALL_INIT = nn.initializers.normal(0.01)  # of layers whose outputs must start near 0


class AnchorOutput(NamedTuple):
    """Logits of hemorrhage float32 [B, N], and deltas float32 [B, N, 4] (`ops.boxes`), of N anchors."""

    logits: jax.Array
    deltas: jax.Array


class RegionOutput(NamedTuple):
    """Logits of classes float32 [B, R, K + 1], of none first, and deltas float32 [B, R, 4], of R boxes."""

    logits: jax.Array
    deltas: jax.Array


class AnchorHead(nn.Module):
    """Tells of each anchor whether it is around a hemorrhage.

    Attributes:
      anchors: of each cell of the map.
      dtype: of the computation.
    """

    anchors: int
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: jax.Array) -> AnchorOutput:
        """The output for maps [B, h, w, F], by cells in rows, then by anchors."""
        x = ConvBlock(maps.shape[-1], dtype=self.dtype, name="conv")(maps).astype(jnp.float32)
        bias = nn.initializers.constant(RARE_LOGIT)
        logits = nn.Dense(self.anchors, kernel_init=SMALL_INIT, bias_init=bias, name="logits")(x)
        deltas = nn.Dense(4 * self.anchors, kernel_init=SMALL_INIT, name="deltas")(x)
        return AnchorOutput(logits.reshape(len(x), -1), deltas.reshape(len(x), -1, 4))


class ClassHead(nn.Module):
    """Tells the class of each box and corrects it.

    Attributes:
      classes: K.
      hidden: features of its two dense layers.
    """

    classes: int
    hidden: int

    @nn.compact
    def __call__(self, regions: jax.Array) -> RegionOutput:
        """The output for the maps of boxes [B, R, S, S, F]."""
        batch, count, side, _, channels = regions.shape
        halves = regions.reshape(batch, count, side // 2, 2, side // 2, 2, channels).mean(axis=(3, 5))
        x = halves.astype(jnp.float32).reshape(batch, count, -1)
        for number in (1, 2):
            x = nn.relu(nn.Dense(self.hidden, kernel_init=nn.initializers.he_normal(), name=f"hidden{number}")(x))
        logits = nn.Dense(self.classes + 1, kernel_init=SMALL_INIT, name="logits")(x)
        return RegionOutput(logits, nn.Dense(4, kernel_init=SMALL_INIT, name="deltas")(x))


class MaskHead(nn.Module):
    """The mask of each box, of the hemorrhage in it.

    Attributes:
      convolutions: before the mask's size is doubled.
      dtype: of the computation.
    """

    convolutions: int
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, regions: jax.Array) -> jax.Array:
        """Logits float32 [B, R, 2 S, 2 S] from the maps of boxes [B, R, S, S, F]."""
        x = regions.reshape(-1, *regions.shape[2:])
        features = x.shape[-1]
        for number in range(self.convolutions):
            # Not normalized: a region of one tissue would be made to look like one of several.
            x = ConvBlock(features, norm=False, dtype=self.dtype, name=f"conv{number + 1}")(x)
        x = UpConv(features, self.dtype, relu=True, name="up")(x).astype(jnp.float32)
        logits = nn.Dense(1, kernel_init=SMALL_INIT, name="logits")(x)[..., 0]
        return logits.reshape(*regions.shape[:2], *logits.shape[1:])


def regions_of(maps: jax.Array, boxes: jax.Array) -> jax.Array:
    """Maps [B, R, S, S, F] of boxes [B, R, 4] in pixels of the image, from the level at a fourth of its sides."""
    return roi_align.align(maps, boxes / CLASS_STRIDE, size=ALIGNED_PX)
