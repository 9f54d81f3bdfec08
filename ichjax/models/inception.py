"""Inception-v3 (Szegedy et al., 2016) and Inception-ResNet-v2 (Szegedy et al., 2017) as feature extractors.

With group normalization, 'same' padding throughout and no auxiliary classifier. A branch of a module is a chain of
convolutions, here (channels, kernel size, and the stride if it is 2).
"""

from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.blocks import ClassifierBlock, scaled
from ichjax.models.convolution import relu_of
from ichjax.models.pooling import max_pool_3x3, mean_pool_3x3

ONE, ROW, COLUMN, LONG_ROW, LONG_COLUMN, THREE, FIVE = (1, 1), (1, 3), (3, 1), (1, 7), (7, 1), (3, 3), (5, 5)
Chain = Sequence[tuple]
STEM: tuple[Chain, ...] = (((32, THREE, 2), (32, THREE), (64, THREE)), ((80, ONE), (192, THREE)))
DOUBLE_THREE: Chain = ((64, ONE), (96, THREE), (96, THREE))
RESNET_SCALES = {"a": 0.17, "b": 0.1, "c": 0.2}  # of what a residual block adds


class _Inception(nn.Module):
    """What both networks share.

    Attributes:
      width: channels that a layer of 64 in the source has, with which all others scale.
      pooled_stem: whether the second max-pooling of the stem has stride 2, as in the source, or 1.
      dtype: of the computation.
    """

    width: int = 64
    pooled_stem: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32

    def _stem(self, images: jax.Array) -> jax.Array:
        x = max_pool_3x3(self._chain(images, STEM[0], "stem1"), 2)
        x = self._chain(x, STEM[1], "stem2")
        return max_pool_3x3(x, 2 if self.pooled_stem else 1)

    def _chain(self, x: jax.Array, chain: Chain, name: str) -> jax.Array:
        for number, (channels, size, *stride) in enumerate(chain):
            step = stride[0] if stride else 1
            features, own_name = scaled(channels, self.width), f"{name}_conv{number + 1}"
            x = ClassifierBlock(features, size, stride=step, dtype=self.dtype, name=own_name)(x)
        return x

    def _branches(self, x: jax.Array, chains: Sequence[Chain], name: str) -> Iterator[jax.Array]:
        for number, chain in enumerate(chains):
            yield self._chain(x, chain, f"{name}_branch{number + 1}")

    def _module(self, x: jax.Array, name: str, *chains: Chain, pooled: int) -> jax.Array:
        """The branches, and a 1 x 1 convolution of the mean over neighbors, concatenated."""
        after_pooling = self._chain(mean_pool_3x3(x), ((pooled, ONE),), f"{name}_pooled")
        return jnp.concatenate([*self._branches(x, chains, name), after_pooling], axis=-1)

    def _reduction(self, x: jax.Array, name: str, *chains: Chain) -> jax.Array:
        """The branches, each with a stride, and max-pooling, concatenated."""
        return jnp.concatenate([*self._branches(x, chains, name), max_pool_3x3(x, 2)], axis=-1)


class InceptionV3(_Inception):
    """Inception-v3; maps [B, H, W, C] to [B, h, w, 32 width], with h = H / 32 in the source."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Features of images."""
        x = self._stem(images)
        for name, pooled in (("5b", 32), ("5c", 64), ("5d", 64)):
            x = self._module(x, name, ((64, ONE),), ((48, ONE), (64, FIVE)), DOUBLE_THREE, pooled=pooled)
        x = self._reduction(x, "6a", ((384, THREE, 2),), ((64, ONE), (96, THREE), (96, THREE, 2)))
        for name, inner in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            once = (inner, ONE), (inner, LONG_ROW), (192, LONG_COLUMN)
            twice = (
                (inner, ONE), (inner, LONG_COLUMN), (inner, LONG_ROW), (inner, LONG_COLUMN), (192, LONG_ROW)
            )  # fmt: skip
            x = self._module(x, name, ((192, ONE),), once, twice, pooled=192)
        last = (192, ONE), (192, LONG_ROW), (192, LONG_COLUMN), (192, THREE, 2)
        x = self._reduction(x, "7a", ((192, ONE), (320, THREE, 2)), last)
        for name in ("7b", "7c"):
            x = self._wide_module(x, name)
        return x

    def _wide_module(self, x: jax.Array, name: str) -> jax.Array:
        """A module whose 3 x 3 branches end in a row and a column side by side."""
        ends = ((384, ROW),), ((384, COLUMN),)
        three = self._chain(x, ((384, ONE),), f"{name}_three")
        double = self._chain(x, ((448, ONE), (384, THREE)), f"{name}_double")
        branches = [
            self._chain(x, ((320, ONE),), f"{name}_one"),
            *self._branches(three, ends, f"{name}_three"),
            *self._branches(double, ends, f"{name}_double"),
            self._chain(mean_pool_3x3(x), ((192, ONE),), f"{name}_pooled"),
        ]
        return jnp.concatenate(branches, axis=-1)


class InceptionResNetV2(_Inception):
    """Inception-ResNet-v2; maps [B, H, W, C] to [B, h, w, 24 width], with h = H / 32 in the source.

    Attributes:
      blocks: residual blocks of the three kinds; (10, 20, 10) in the source.
    """

    blocks: tuple[int, int, int] = (10, 20, 10)

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Features of images."""
        x = self._stem(images)
        x = self._module(x, "5b", ((96, ONE),), ((48, ONE), (64, FIVE)), DOUBLE_THREE, pooled=64)
        a = ((32, ONE),), ((32, ONE), (32, THREE)), ((32, ONE), (48, THREE), (64, THREE))
        x = self._residual_blocks(x, "a", a, self.blocks[0])
        x = self._reduction(x, "6a", ((384, THREE, 2),), ((256, ONE), (256, THREE), (384, THREE, 2)))
        b = ((192, ONE),), ((128, ONE), (160, LONG_ROW), (192, LONG_COLUMN))
        x = self._residual_blocks(x, "b", b, self.blocks[1])
        double = (256, ONE), (288, THREE), (320, THREE, 2)
        x = self._reduction(x, "7a", ((256, ONE), (384, THREE, 2)), ((256, ONE), (288, THREE, 2)), double)
        c = ((192, ONE),), ((192, ONE), (224, ROW), (256, COLUMN))
        x = self._residual_blocks(x, "c", c, self.blocks[2])
        return self._chain(x, ((1536, ONE),), "last")

    def _residual_blocks(self, x: jax.Array, kind: str, chains: Sequence[Chain], count: int) -> jax.Array:
        """Adds to x, scaled, a 1 x 1 convolution of the branches; the last block of all does so without a ReLU."""
        for number in range(count):
            name = f"{kind}{number + 1}"
            mixed = jnp.concatenate(list(self._branches(x, chains, name)), axis=-1)
            added = ClassifierBlock(
                x.shape[-1], ONE, norm=False, relu=False, dtype=self.dtype, name=f"{name}_out"
            )(mixed)  # fmt: skip
            is_last = kind == "c" and number == count - 1
            x = x + (1.0 if is_last else RESNET_SCALES[kind]) * added
            x = x if is_last else relu_of(x)
        return x
