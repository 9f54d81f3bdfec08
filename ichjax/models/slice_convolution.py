"""Layers for S neighboring slices whose maps are folded into the batch, [B * S, H, W, C], so that they share weights.

A 2.5-D encoder: each of its first levels sees every slice on its own, then mixes neighbors, and the last of these
levels merges the slices into the middle one, so that all that follows costs as much as for one slice.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.convolution import convolve_with_bias

TAPS = 3  # of the convolution along slices: the slice and its two neighbors


class SliceConvolution(nn.Module):
    """A convolution along slices with `TAPS` taps and a bias, zeros beyond the ends of the stack.

    As a convolution of [B, S, H * W, C] along its second axis, a third of the time of one over stacked channels.

    Attributes:
      slices: S.
      dtype: of the computation; parameters stay float32.
    """

    slices: int
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B * S, H, W, C] to the same shape."""
        _, height, width, channels = x.shape
        kernel = self.param("kernel", nn.initializers.he_normal(), (TAPS, 1, channels, channels)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,)).astype(self.dtype)
        stacks = x.astype(self.dtype).reshape(-1, self.slices, height * width, channels)
        return convolve_with_bias([stacks], kernel, bias).reshape(x.shape)


class SliceMerge(nn.Module):
    """A weighted sum of the slices for each channel; initially the middle slice.

    Attributes:
      slices: S.
    """

    slices: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B * S, H, W, C] to [B, H, W, C]."""
        weights = self.param("kernel", _middle_alone, (self.slices, x.shape[-1])).astype(x.dtype)
        stacks = x.reshape(-1, self.slices, *x.shape[1:])
        return (stacks * weights[None, :, None, None]).sum(axis=1)


def fold_slices(images: jax.Array, slices: int, extra: int) -> jax.Array:
    """[B, H, W, S * C + E] as [B * S, H, W, C + E]: each slice with its C channels and all E that are of no slice."""
    batch, height, width, channels = images.shape
    own, others = jnp.split(images, [channels - extra], axis=-1)
    stacks = jnp.moveaxis(own.reshape(batch, height, width, slices, -1), 3, 1)
    repeated = jnp.broadcast_to(others[:, None], (batch, slices, height, width, extra))
    return jnp.concatenate([stacks, repeated], axis=-1).reshape(batch * slices, height, width, -1)


def middle_slice(x: jax.Array, slices: int) -> jax.Array:
    """[B * S, H, W, C] to [B, H, W, C]."""
    return x.reshape(-1, slices, *x.shape[1:])[:, slices // 2]  # a strided slice of a sharded axis would be gathered


def _middle_alone(key: jax.Array, shape: tuple[int, int], dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    """An initializer: 1 for the middle slice, else 0."""
    return jnp.zeros(shape, dtype).at[shape[0] // 2].set(1.0)
