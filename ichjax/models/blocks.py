"""Building blocks of the networks of the literature: convolution with stride or dilation, normalization, ReLU.

A convolution with a stride is one of stride 1 on blocks of pixels, and a dilated one is several of adjacent pixels, so
that CPUs, whose gradients of other convolutions take many times as long, and GPUs run the same few programs. Group
normalization stands in place of batch normalization, so that an example's result depends on no other example, nor on
the number of devices; its parameters are as many.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ichjax.models.convolution import convolve_with_bias, relu_of
from ichjax.models.unet import GroupNorm

MAX_NORM_GROUPS = 8  # of channels, in group normalization, where their number is a multiple of it
CLASSIFIER_GROUP = 8  # channels of a group, at least, in classifiers
SOURCE_WIDTH = 64  # of networks whose channels scale with a width


class ConvBlock(nn.Module):
    """A 'same' convolution, group normalization and a ReLU.

    Attributes:
      features: output channels.
      kernel_size: (rows, columns), odd.
      stride: 1, or 2, for an output pixel at every second row and column.
      dilation: distance of the kernel's pixels, with stride 1.
      norm: whether to normalize.
      bias: whether the convolution has a bias where it is not normalized.
      group_channels: channels of each group in normalization, at least (see `groups_of`).
      relu: whether to apply a ReLU.
      dtype: of the computation.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    stride: int = 1
    dilation: int = 1
    norm: bool = True
    bias: bool = True
    group_channels: int = 1
    relu: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), features]."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(self.dtype)
        bias = jnp.zeros(self.features, self.dtype)
        if self.bias and not self.norm:
            bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        relu = self.relu and not self.norm
        x = x.astype(self.dtype)
        if self.stride == 2:
            x = _strided(x, kernel, bias, relu=relu)
        elif self.dilation > 1:
            x = _dilated(x, kernel, bias, self.dilation, relu=relu)
        else:
            x = convolve_with_bias([x], kernel, bias, relu=relu)
        if self.norm:
            x = GroupNorm(max_groups=groups_of(self.features, self.group_channels), name="norm")(x)
            x = relu_of(x) if self.relu else x
        return x


class ClassifierBlock(ConvBlock):
    """A `ConvBlock` of a network whose features are averaged over all pixels."""

    group_channels: int = CLASSIFIER_GROUP


class JointGroupNorm(GroupNorm):
    """Group normalization of several layers whose channels are side by side, in one pass.

    Attributes:
      layers: channels of each; none has a group in common with another.
    """

    layers: tuple[int, ...] = ()

    def over_groups(self, channels: jax.Array) -> jax.Array:
        """As of `GroupNorm`."""
        counts = [math.gcd(groups_of(layer, CLASSIFIER_GROUP), layer) for layer in self.layers]
        sizes = np.concatenate([np.full(n, layer // n) for n, layer in zip(counts, self.layers, strict=True)])
        member = np.repeat(np.eye(len(sizes), dtype=np.float32), sizes, axis=0)  # [C, groups]
        mean = jnp.matmul(channels, member / sizes, precision=jax.lax.Precision.HIGHEST)
        return jnp.matmul(mean, member.T, precision=jax.lax.Precision.HIGHEST)


def _strided(x: jax.Array, kernel: jax.Array, bias: jax.Array, *, relu: bool) -> jax.Array:
    """A convolution of stride 2, padded by half of the kernel's side, as one of stride 1 on blocks of 2 x 2 pixels."""
    size, blocks = kernel.shape[:2], [-(-side // 2) for side in kernel.shape[:2]]
    out = [-(-side // 2) for side in x.shape[1:3]]
    # A convolution of m blocks begins (m - 1) // 2 blocks before its own.
    before = [side // 2 - 2 * ((m - 1) // 2) for side, m in zip(size, blocks, strict=True)]
    padding = [(0, 0), *((b, (length + b) % 2) for b, length in zip(before, x.shape[1:3], strict=True)), (0, 0)]
    x = jnp.pad(x, padding)
    count, height, width, channels = x.shape
    x = x.reshape(count, height // 2, 2, width // 2, 2, channels).swapaxes(2, 3)
    x = x.reshape(count, height // 2, width // 2, 4 * channels)
    taps = jnp.pad(kernel, [*((0, 2 * m - side) for m, side in zip(blocks, size, strict=True)), (0, 0), (0, 0)])
    taps = taps.reshape(blocks[0], 2, blocks[1], 2, *kernel.shape[2:]).swapaxes(1, 2)
    taps = taps.reshape(*blocks, 4 * channels, kernel.shape[-1])
    return convolve_with_bias([x], taps, bias, relu=relu)[:, : out[0], : out[1]]


def _dilated(x: jax.Array, kernel: jax.Array, bias: jax.Array, dilation: int, *, relu: bool) -> jax.Array:
    """A dilated convolution as one on each of the `dilation`^2 sets of pixels at that distance."""
    count, height, width, _ = x.shape
    x = jnp.pad(x, [(0, 0), (0, -height % dilation), (0, -width % dilation), (0, 0)])
    rows, columns = x.shape[1] // dilation, x.shape[2] // dilation
    apart = x.reshape(count, rows, dilation, columns, dilation, -1).transpose(2, 4, 0, 1, 3, 5)
    y = convolve_with_bias([apart.reshape(-1, rows, columns, x.shape[-1])], kernel, bias, relu=relu)
    y = y.reshape(dilation, dilation, count, rows, columns, -1).transpose(2, 3, 0, 4, 1, 5)
    return y.reshape(count, rows * dilation, columns * dilation, -1)[:, :height, :width]


def groups_of(channels: int, group_channels: int) -> int:
    """The groups of a layer in group normalization, of at least so many channels each.

    What is averaged over all pixels afterwards needs groups of several channels: those of one channel have the same
    mean in every image.
    """
    return max(1, min(MAX_NORM_GROUPS, channels // group_channels))


def scaled(channels: int, width: int) -> int:
    """The channels of a layer where its network's first stage has `width`, and 64 in the source; a multiple of 4."""
    return max(4, 4 * round(channels * width / (4 * SOURCE_WIDTH)))
