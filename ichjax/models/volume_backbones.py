"""Networks on volumes: features [B, z, h, w, K] from images [B, Z, H, W, C], for `VolumeClassifier`."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.volume_blocks import VolumeConv, max_around, pool_volume


class PlainVolume(nn.Module):
    """Convolutions in a row, some followed by max-pooling.

    Attributes:
      widths: channels of each convolution.
      pooled: whether 2 x 2 x 2 max-pooling follows each; in plane alone for 'plane'.
      kernels: (slices, rows, columns) of each; () for 3 x 3 x 3.
      stride: in plane, of the first.
      dtype: of the computation.
    """

    widths: tuple[int, ...]
    pooled: tuple[bool | str, ...]
    kernels: tuple[tuple[int, int, int], ...] = ()
    stride: int = 1
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, Z, H, W, C] to [B, z, h, w, K]."""
        kernels = self.kernels or ((3, 3, 3),) * len(self.widths)
        for number, (width, kernel, pooled) in enumerate(zip(self.widths, kernels, self.pooled, strict=True)):
            stride = self.stride if number == 0 else 1
            x = VolumeConv(width, kernel, stride, dtype=self.dtype, name=f"conv{number + 1}")(x)
            if pooled:
                x = pool_volume(x, slices=pooled != "plane")
        return x


class Inception(nn.Module):
    """An inception module (Szegedy et al., 2015) in 3-D: four branches, with 1 x 1 x 1 bottlenecks.

    Its branches are 1 x 1 x 1; 3 x 3 x 3; two of 3 x 3 x 3, which reach as far as one of 5 x 5 x 5; and max-pooling.

    Attributes:
      features: output channels, a multiple of 8: 2, 4, 1 and 1 eighths of them from the four branches.
      dtype: of the computation.
    """

    features: int
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, Z, H, W, C] to [B, Z, H, W, features]."""
        eighth = self.features // 8

        def conv(x: jax.Array, width: int, name: str, side: int = 3) -> jax.Array:
            return VolumeConv(width, (side, side, side), dtype=self.dtype, name=name)(x)

        middle = conv(conv(x, 2 * eighth, "middle_in", 1), 4 * eighth, "middle")
        wide = conv(conv(conv(x, eighth, "wide_in", 1), eighth, "wide1"), eighth, "wide2")
        pooled = conv(max_around(x), eighth, "pooled", 1)
        return jnp.concatenate([conv(x, 2 * eighth, "point", 1), middle, wide, pooled], axis=-1)


class InceptionVolume(nn.Module):
    """A convolution with max-pooling, then levels of inception modules with max-pooling between them.

    Attributes:
      stem: channels of the first convolution, of stride 2 in plane, before a pooling.
      levels: output channels of the modules of each level.
      dtype: of the computation.
    """

    stem: int
    levels: tuple[tuple[int, ...], ...]
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, Z, H, W, C] to [B, z, h, w, K]; each level but the first has half the slices, rows and columns."""
        x = pool_volume(VolumeConv(self.stem, (3, 5, 5), 2, dtype=self.dtype, name="stem")(x))
        for number, widths in enumerate(self.levels):
            x = pool_volume(x) if number else x
            for index, width in enumerate(widths):
                x = Inception(width, self.dtype, name=f"level{number + 1}_{index + 1}")(x)
        return x
