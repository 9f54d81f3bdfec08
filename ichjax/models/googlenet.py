"""GoogLeNet (Szegedy et al., 2015) as a feature extractor, with group normalization and without auxiliary classifiers.

Like torchvision's, with normalization after each convolution and 3 x 3 convolutions in place of 5 x 5 ones.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.blocks import ConvBlock, max_pool, scaled
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
        x = max_pool(x)
        x = self._conv(x, 64, "stem2", (1, 1))
        x = self._conv(x, 192, "stem3")
        for name in MODULES:
            x = max_pool(x) if name in self.pooled_before else x
            x = self._module(x, name)
        return x

    def _module(self, x: jax.Array, name: str) -> jax.Array:
        one, reduced3, three, reduced5, five, pooled = MODULES[name]
        branches = [
            self._conv(x, one, f"{name}_one", (1, 1)),
            self._conv(self._conv(x, reduced3, f"{name}_reduce3", (1, 1)), three, f"{name}_three"),
            self._conv(self._conv(x, reduced5, f"{name}_reduce5", (1, 1)), five, f"{name}_five"),
            self._conv(max_pool_3x3(x), pooled, f"{name}_pooled", (1, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)

    def _conv(
        self, x: jax.Array, channels: int, name: str, size: tuple[int, int] = (3, 3), *, stride: int = 1
    ) -> jax.Array:
        return ConvBlock(scaled(channels, self.width), size, stride=stride, dtype=self.dtype, name=name)(x)
