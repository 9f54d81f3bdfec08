"""Residual networks (He et al., 2016) as feature extractors: ResNet-18 and ResNet-50, with group normalization.

As in torchvision, the stride of a bottleneck block is in its 3 x 3 convolution.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.blocks import ClassifierBlock
from ichjax.models.convolution import relu_of
from ichjax.models.pooling import max_pool_3x3

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}  # of each stage, by the number of layers
EXPANSION = 4  # output channels of a bottleneck block over those inside it


class ResNet(nn.Module):
    """Features of images.

    Attributes:
      layers: 18, of blocks of two 3 x 3 convolutions; or 50, of bottleneck blocks.
      width: channels of the first stage, doubled at each later one; 64 in the source.
      pooled_stem: whether max-pooling follows the first convolution, which has stride 2.
      last_stride: of the last stage; 1 for features of twice the resolution.
      dtype: of the computation.
    """

    layers: int = 18
    width: int = 64
    pooled_stem: bool = True
    last_stride: int = 2
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, h, w, 8 width], or 32 width of 50 layers; h = H / 32 in the source."""
        if self.layers not in BLOCKS:
            raise ValueError(f"layers {self.layers}; expected one of {', '.join(map(str, BLOCKS))}")
        block = self._plain_block if self.layers == 18 else self._bottleneck_block
        x = ClassifierBlock(self.width, (7, 7), stride=2, dtype=self.dtype, name="stem")(images)
        x = max_pool_3x3(x, 2) if self.pooled_stem else x
        for stage, count in enumerate(BLOCKS[self.layers]):
            first_stride = (1, 2, 2, self.last_stride)[stage]
            for number in range(count):
                stride = first_stride if number == 0 else 1
                x = block(x, self.width * 2**stage, stride, f"stage{stage + 1}_block{number + 1}")
        return x

    def _plain_block(self, x: jax.Array, width: int, stride: int, name: str) -> jax.Array:
        y = ClassifierBlock(width, stride=stride, dtype=self.dtype, name=f"{name}_conv1")(x)
        y = ClassifierBlock(width, relu=False, dtype=self.dtype, name=f"{name}_conv2")(y)
        return relu_of(y + self._shortcut(x, width, stride, name))

    def _bottleneck_block(self, x: jax.Array, width: int, stride: int, name: str) -> jax.Array:
        y = ClassifierBlock(width, (1, 1), dtype=self.dtype, name=f"{name}_conv1")(x)
        y = ClassifierBlock(width, stride=stride, dtype=self.dtype, name=f"{name}_conv2")(y)
        y = ClassifierBlock(EXPANSION * width, (1, 1), relu=False, dtype=self.dtype, name=f"{name}_conv3")(y)
        return relu_of(y + self._shortcut(x, EXPANSION * width, stride, name))

    def _shortcut(self, x: jax.Array, width: int, stride: int, name: str) -> jax.Array:
        """x, or a 1 x 1 convolution of it where its shape differs from the block's output."""
        if stride == 1 and x.shape[-1] == width:
            return x.astype(self.dtype)
        return ClassifierBlock(width, (1, 1), stride=stride, relu=False, dtype=self.dtype, name=f"{name}_shortcut")(x)
