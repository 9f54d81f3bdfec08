"""DenseNet-40 (Huang et al., 2017) with auxiliary masks after each block, as Grewal et al. (2018) use it.

Without bottlenecks and compression: three blocks of 12 layers, each of which adds `growth` channels to those before it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.blocks import GROUPS, ConvBlock
from ichjax.models.convolution import convolve_with_bias, relu_of
from ichjax.models.pooling import mean_pool_2x2
from ichjax.models.unet import PRIOR_LOGIT, GroupNorm

FIRST_CHANNELS = 16  # of the first convolution
BLOCKS_IN_ALL = 3


class DenseNet(nn.Module):
    """Features of images, and masks.

    Attributes:
      growth: channels that each layer adds; 12 in the source.
      layers: of each block; 12 in the source, of 40 layers in all.
      stride: of the first convolution, 1 in the source or 2.
      masks: whether there is an auxiliary mask after each block: a 3 x 3 convolution and a transposed one.
      dtype: of the computation.
    """

    growth: int = 12
    layers: int = 12
    stride: int = 1
    masks: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32

    @property
    def side_multiple(self) -> int:
        """Sides of images must be multiples of it."""
        return self.stride * 2 ** (BLOCKS_IN_ALL - 1)

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Maps images [B, H, W, C] to (features [B, h, w, 16 + 36 growth] in the source, logits of masks).

        The latter are float32 [B, H, W, 3], or None without masks; h = H / (4 `stride`).
        """
        plain = {"norm": False, "bias": False, "relu": False}
        x = ConvBlock(FIRST_CHANNELS, stride=self.stride, **plain, dtype=self.dtype, name="stem")(images)
        logits = []
        for block in range(1, BLOCKS_IN_ALL + 1):
            if block > 1:
                x = NormConv(x.shape[-1], (1, 1), dtype=self.dtype, name=f"transition{block - 1}")(x)
                x = mean_pool_2x2(x)
            for layer in range(1, self.layers + 1):
                new = NormConv(self.growth, dtype=self.dtype, name=f"block{block}_layer{layer}")(x)
                x = jnp.concatenate([x, new], axis=-1)
            if self.masks:
                factor = self.stride * 2 ** (block - 1)
                logits.append(MaskHead(self.growth, factor, dtype=self.dtype, name=f"mask{block}")(x))
        x = relu_of(GroupNorm(max_groups=GROUPS, name="norm")(x))
        return x, jnp.stack(logits, axis=-1) if logits else None


class NormConv(nn.Module):
    """Group normalization, ReLU and a 'same' convolution without a bias.

    Attributes:
      features: output channels.
      kernel_size: (rows, columns), odd.
      dtype: of the computation.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        x = relu_of(GroupNorm(max_groups=GROUPS, name="norm")(x.astype(self.dtype)))
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(self.dtype)
        return convolve_with_bias([x], kernel, jnp.zeros(self.features, self.dtype))


class MaskHead(nn.Module):
    """A mask of the image's size: a convolution, then a transposed one whose kernel and stride are `factor`.

    Attributes:
      features: channels of the convolution.
      factor: the image's side over that of the features.
      dtype: of the computation.
    """

    features: int
    factor: int
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, h, w, C] to logits, float32 [B, h factor, w factor]."""
        x = NormConv(self.features, dtype=self.dtype, name="conv")(x)
        x = relu_of(GroupNorm(max_groups=GROUPS, name="norm")(x)).astype(jnp.float32)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.features, self.factor**2))
        bias = self.param("bias", nn.initializers.constant(PRIOR_LOGIT), ())
        count, height, width, _ = x.shape
        blocks = (x @ kernel).reshape(count, height, width, self.factor, self.factor).swapaxes(2, 3)
        return blocks.reshape(count, height * self.factor, width * self.factor) + bias
