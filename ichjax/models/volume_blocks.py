"""Building blocks of networks on volumes: 3-D convolution as one of slices, normalization, pooling.

A convolution of k x m x m voxels is one of m x m pixels on each slice with its neighbors as further channels: the same
sums, by the programs that CPUs and GPUs run fast. XLA's gradients of 3-D convolutions are very slow on a CPU.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.blocks import MAX_NORM_GROUPS, ConvBlock
from ichjax.models.convolution import relu_of
from ichjax.models.unet import GroupNorm, max_pool_2x2


class VolumeConv(nn.Module):
    """A 'same' 3-D convolution, group normalization over the volume and a ReLU.

    Attributes:
      features: output channels.
      kernel_size: (slices, rows, columns), odd.
      stride: in plane, 1 or 2; slices keep their number.
      norm: whether to normalize.
      dtype: of the computation.
    """

    features: int
    kernel_size: tuple[int, int, int] = (3, 3, 3)
    stride: int = 1
    norm: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, Z, H, W, C] to [B, Z, ceil(H / stride), ceil(W / stride), features]."""
        batch, depth = x.shape[:2]
        slices = with_neighbors(x, self.kernel_size[0]).reshape(batch * depth, *x.shape[2:4], -1)
        size, plain = self.kernel_size[1:], not self.norm
        block = ConvBlock(self.features, size, self.stride, norm=False, relu=plain, dtype=self.dtype, name="conv")
        y = block(slices)
        if self.norm:
            y = relu_of(_normalized(y, batch))
        return y.reshape(batch, depth, *y.shape[1:])


def _normalized(slices: jax.Array, batch: int) -> jax.Array:
    """Group normalization of [B Z, H, W, C] over all slices of each volume; called in a compact method."""
    volumes = slices.reshape(batch, -1, *slices.shape[2:])
    return GroupNorm(max_groups=MAX_NORM_GROUPS, name="norm")(volumes).reshape(slices.shape)


def with_neighbors(x: jax.Array, taps: int) -> jax.Array:
    """[B, Z, H, W, C] as [B, Z, H, W, taps C]: each slice with its neighbors from below to above, zeros outside."""
    if taps == 1:
        return x
    reach = taps // 2
    padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0), (0, 0), (0, 0)))
    return jnp.concatenate([padded[:, k : k + x.shape[1]] for k in range(taps)], axis=-1)


def pool_volume(x: jax.Array, *, slices: bool = True) -> jax.Array:
    """2 x 2 x 2 max-pooling of [B, Z, H, W, C], or 1 x 2 x 2; the last slice, row or column of an odd number stays.

    As selections, as in `unet.max_pool_2x2`.
    """
    lowest = jnp.finfo(x.dtype).min
    padding = [(0, 0), (0, x.shape[1] % 2 if slices else 0), *((0, size % 2) for size in x.shape[2:4]), (0, 0)]
    x = jnp.pad(x, padding, constant_values=lowest)
    if slices:
        x = _larger(x[:, ::2], x[:, 1::2])
    pooled = max_pool_2x2(x.reshape(-1, *x.shape[2:]))
    return pooled.reshape(*x.shape[:2], *pooled.shape[1:])


def max_around(x: jax.Array) -> jax.Array:
    """3 x 3 x 3 max-pooling of stride 1 of [B, Z, H, W, C], to the same shape."""
    for axis in (1, 2, 3):
        padding = [(1, 1) if k == axis else (0, 0) for k in range(x.ndim)]
        padded = jnp.pad(x, padding, constant_values=jnp.finfo(x.dtype).min)
        below, own, above = (jax.lax.slice_in_dim(padded, k, k + x.shape[axis], axis=axis) for k in range(3))
        x = _larger(_larger(below, own), above)
    return x


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(a >= b, a, b)
