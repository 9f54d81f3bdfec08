"""GoogLeNet (Szegedy et al., 2015) as a feature extractor, with group normalization and without auxiliary classifiers.

Like torchvision's, with normalization after each convolution and 3 x 3 convolutions in place of 5 x 5 ones.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.blocks import ClassifierBlock, JointGroupNorm, scaled
from ichjax.models.convolution import relu_of
from ichjax.models.pooling import max_pool_3x3

# Channels of each module: 1 x 1; reduction, 3 x 3; reduction, second 3 x 3; after pooling.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLED_BEFORE = ("3a", "4a", "5a")


class GoogLeNet(nn.Module):
    """Features of images.

    Attributes:
      width: channels of the first convolution, with which all others scale; 64 in the source.
      pooled_before: modules that max-pooling of stride 2 precedes.
      dtype: of the computation.
    """

    width: int = 64
    pooled_before: tuple[str, ...] = POOLED_BEFORE
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, h, w, 16 width]; h = H / 32 in the source."""
        x = self._conv(images, 64, "stem1", (7, 7), stride=2)
        x = max_pool_3x3(x, 2)
        x = self._conv(x, 64, "stem2", (1, 1))
        x = self._conv(x, 192, "stem3")
        for name in MODULES:
            x = max_pool_3x3(x, 2) if name in self.pooled_before else x
            x = self._module(x, name)
        return x

    def _module(self, x: jax.Array, name: str) -> jax.Array:
        """An inception module; layers side by side are normalized in one pass, and those of one input are one layer."""
        one, reduce3, three, reduce5, five, pooled = (scaled(channels, self.width) for channels in MODULES[name])
        convolve = functools.partial(ClassifierBlock, norm=False, bias=False, relu=False, dtype=self.dtype)
        of_input = convolve(one + reduce3 + reduce5, (1, 1), name=f"{name}_of_input")(x)
        reduced = relu_of(JointGroupNorm(layers=(reduce3, reduce5), name=f"{name}_reduced_norm")(of_input[..., one:]))
        branches = [
            of_input[..., :one],
            convolve(three, name=f"{name}_three")(reduced[..., :reduce3]),
            convolve(five, name=f"{name}_five")(reduced[..., reduce3:]),
            convolve(pooled, (1, 1), name=f"{name}_pooled")(max_pool_3x3(x)),
        ]
        norm = JointGroupNorm(layers=(one, three, five, pooled), name=f"{name}_norm")
        return relu_of(norm(jnp.concatenate(branches, axis=-1)))

    def _conv(
        self, x: jax.Array, channels: int, name: str, size: tuple[int, int] = (3, 3), *, stride: int = 1
    ) -> jax.Array:
        return ClassifierBlock(scaled(channels, self.width), size, stride=stride, dtype=self.dtype, name=name)(x)
