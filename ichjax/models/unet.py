"""The authors' U-Net (paper, figure 3; the layer details are those of their Keras code).

Encoder 64-128-256-512, bottleneck 1024: two 3 x 3 convolutions with ReLU a level, 2 x 2 max-pooling; decoder:
nearest upsampling, a 2 x 2 convolution with ReLU, the skip connection, two 3 x 3 convolutions; head: a 3 x 3
convolution to two maps with ReLU, a 1 x 1 convolution. 24 convolutions, 31,031,685 parameters, no normalisation.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

PRIOR_LOGIT = -4.0  # where the plain head starts: 2 % of the pixels of a training patch are hemorrhage
GROUPS = 4  # of channels at most, where `norm` is 'group'


class UNet(nn.Module):
    """A U-Net for one class.

    Attributes:
      base_width: channels of the first level, doubled at each one below it.
      depth: number of poolings; a side must be a multiple of 2 ** depth.
      dropout: rate at the two deepest levels (after the last encoder level, before its skip is taken, and after
        the bottleneck), as in the authors' code.
      norm: 'none' as in the paper, or 'group' (group normalisation after each 3 x 3 convolution).
      head: 'paper' squeezes the features through two maps with ReLU before the last convolution, as the authors do;
        'plain' leaves that out, cannot die there, and starts from the rarity of hemorrhage: else features
        learn to say background, and the logit of a hemorrhage hardly rises above zero.
      dtype: of the computation; parameters, and the logits that are returned, stay float32.
    """

    base_width: int = 64
    depth: int = 4
    dropout: float = 0.5
    norm: str = "none"
    head: str = "paper"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, dropout_keys: jax.Array | None = None) -> jax.Array:
        """Maps windowed images to logits.

        Args:
          images: float [B, H, W, C].
          dropout_keys: PRNG keys [B], one an example, so that what is dropped for an example does not depend on
            its neighbours or on the number of devices; None switches dropout off (prediction).

        Returns:
          float32 [B, H, W]; the probability of hemorrhage is their sigmoid.
        """
        x = images.astype(self.dtype)
        skips = []
        for level in range(self.depth):
            x = self._level(x, self.base_width * 2**level, f"encoder{level + 1}")
            if level == self.depth - 1:
                x = drop(x, dropout_keys, self.dropout, salt=0)
            skips.append(x)
            x = halve(x)
        x = self._level(x, self.base_width * 2**self.depth, "bottleneck")
        x = drop(x, dropout_keys, self.dropout, salt=1)
        for level in reversed(range(self.depth)):
            width = self.base_width * 2**level
            up = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            up = nn.relu(self._conv(up, width, 2, f"up{level + 1}"))
            x = jnp.concatenate([skips.pop(), up], axis=-1)
            x = self._level(x, width, f"decoder{level + 1}")
        if self.head == "paper":
            x = nn.relu(self._conv(x, 2, 3, "head"))
        elif self.head != "plain":
            raise ValueError(f"head {self.head!r}; expected 'paper' or 'plain'")
        start = 0.0 if self.head == "paper" else PRIOR_LOGIT
        return self._conv(x, 1, 1, "logit", bias=start)[..., 0].astype(jnp.float32)

    def _level(self, x, width, name):
        for index in (1, 2):
            x = self._conv(x, width, 3, f"{name}_conv{index}")
            if self.norm == "group":
                x = GroupNorm(name=f"{name}_norm{index}")(x)
            elif self.norm != "none":
                raise ValueError(f"norm {self.norm!r}; expected 'none' or 'group'")
            x = nn.relu(x)
        return x

    def _conv(self, x, width, side, name, bias=0.0):
        return nn.Conv(
            width,
            (side, side),
            padding="SAME",
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            bias_init=nn.initializers.constant(bias),
            name=name,
        )(x)


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He, 2018), the moments summed channel by channel first.

    The same function as flax's, from which the tests take its values. Faster on a CPU (timed once on a busy machine,
    8 x 64 x 64 x 16: 17 to 1 ms forward, 17 to 2 ms backward; less at smaller maps), as the sums over pixels run along
    the channels in memory and no five-dimensional copy is made.
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises float [B, H, W, C] over H, W and each of at most `GROUPS` groups of channels."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        groups = math.gcd(GROUPS, channels)
        pixels = x.astype(jnp.float32)
        mean = _over_groups(pixels.mean(axis=(1, 2)), groups)
        variance = _over_groups((pixels * pixels).mean(axis=(1, 2)), groups) - mean * mean
        factor = jax.lax.rsqrt(jnp.maximum(variance, 0.0) + self.epsilon) * scale[None]
        shift = bias[None] - mean * factor
        return (pixels * factor[:, None, None] + shift[:, None, None]).astype(x.dtype)


def _over_groups(channels: jax.Array, groups: int) -> jax.Array:
    """Each channel's value [B, C] replaced by the mean over its group."""
    mean = channels.reshape(len(channels), groups, -1).mean(axis=-1, keepdims=True)
    return jnp.broadcast_to(mean, (*mean.shape[:2], channels.shape[1] // groups)).reshape(channels.shape)


def halve(x: jax.Array) -> jax.Array:
    """2 x 2 max-pooling of [B, H, W, C] as maxima of strided slices, whose gradient is far cheaper on a CPU than
    that of a sliding window. Where values tie it shares the gradient; after a ReLU only zeros do."""
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def drop(x: jax.Array, keys: jax.Array | None, rate: float, *, salt: int) -> jax.Array:
    """Dropout of [B, ...] with one key an example [B]; `salt` tells the places of a network apart."""
    if keys is None or rate == 0.0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, salt), 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


def count_parameters(params) -> int:
    """Number of scalars in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
