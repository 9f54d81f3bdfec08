"""The convolutions of VGG-16 (Simonyan and Zisserman, 2015) as a feature extractor.

Its features are those before the last pooling, as usual for class activation maps. From scratch, 13 convolutions hardly
train without normalization (the authors started from a trained shallower network): group normalization is the default.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.blocks import ClassifierBlock
from ichjax.models.unet import max_pool_2x2

STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # channels over `width`, and convolutions, of each stage


class Vgg(nn.Module):
    """Features of images.

    Attributes:
      width: channels of the first stage; 64 in the source.
      pools: 2 x 2 max-poolings, each before one of the stages after the first; 4 in the source, besides the last.
      norm: whether each convolution is normalized; not in the source, where it has a bias.
      dtype: of the computation.
    """

    width: int = 64
    pools: int = 4
    norm: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, inputs: list[jax.Array] | None = None) -> jax.Array:
        """Maps [B, H, W, C] to [B, h, w, 8 width]; h = H / 16 in the source.

        What each stage sees, after its pooling if it has one, is appended to `inputs`.
        """
        x = images
        for stage, (factor, count) in enumerate(STAGES):
            if 0 < stage <= self.pools:
                x = max_pool_2x2(to_even_sides(x))
            if inputs is not None:
                inputs.append(x)
            for number in range(count):
                name = f"stage{stage + 1}_conv{number + 1}"
                x = ClassifierBlock(factor * self.width, norm=self.norm, dtype=self.dtype, name=name)(x)
        return x


def to_even_sides(x: jax.Array) -> jax.Array:
    """[B, H, W, C] with the last row and column repeated where H or W is odd."""
    padding = [(0, 0), *((0, side % 2) for side in x.shape[1:3]), (0, 0)]
    return jnp.pad(x, padding, mode="edge") if any(side % 2 for side in x.shape[1:3]) else x
