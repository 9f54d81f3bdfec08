"""The authors' U-Net (paper, figure 3; the layer details are those of their Keras code).

Encoder 64-128-256-512, bottleneck 1024: two 3 x 3 convolutions with ReLU a level, 2 x 2 max-pooling; decoder:
nearest upsampling, a 2 x 2 convolution with ReLU, the skip connection, two 3 x 3 convolutions; head: a 3 x 3
convolution to two maps with ReLU, a 1 x 1 convolution. 24 convolutions, 31,031,685 parameters, no normalisation.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config, fields_of
from ichjax.models.convolution import Conv, by_xla
from ichjax.models.network import Network, count_parameters
from ichjax.models.up_convolution import UpConv

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
                x = dropout(x, dropout_keys, self.dropout, salt=0)
            skips.append(x)
            x = max_pool_2x2(x)
        x = self._level(x, self.base_width * 2**self.depth, "bottleneck")
        x = dropout(x, dropout_keys, self.dropout, salt=1)
        for level in reversed(range(self.depth)):
            width = self.base_width * 2**level
            up = UpConv(width, self.dtype, relu=True, name=f"up{level + 1}")(x)
            x = self._level(skips.pop(), width, f"decoder{level + 1}", beside=up)
        if self.head == "paper":
            x = Conv(2, (3, 3), dtype=self.dtype, relu=True, name="head")(x)
        elif self.head != "plain":
            raise ValueError(f"head {self.head!r}; expected 'paper' or 'plain'")
        start = 0.0 if self.head == "paper" else PRIOR_LOGIT
        return Conv(1, (1, 1), start, self.dtype, name="logit")(x)[..., 0].astype(jnp.float32)

    def _level(self, x, width, name, *, beside=None):
        """Two convolutions with ReLU; `beside` are further channels of x, the skip connection's other half."""
        if self.norm not in ("none", "group"):
            raise ValueError(f"norm {self.norm!r}; expected 'none' or 'group'")
        for index in (1, 2):
            plain = self.norm == "none"
            x = Conv(width, (3, 3), dtype=self.dtype, relu=plain, name=f"{name}_conv{index}")(x, beside)
            if not plain:
                x = nn.relu(GroupNorm(name=f"{name}_norm{index}")(x))
            beside = None
        return x


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


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """2 x 2 max-pooling of [B, H, W, C] as maxima of strided slices, whose gradient is far cheaper on a CPU than
    that of a sliding window. Where values tie it shares the gradient; after a ReLU only zeros do."""
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def dropout(x: jax.Array, keys: jax.Array | None, rate: float, *, salt: int) -> jax.Array:
    """Dropout of [B, ...] with one key an example [B]; `salt` tells the places of a network apart."""
    if keys is None or rate == 0.0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, salt), 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


def from_config(config: Config) -> UNet:
    """The module of the fields of `config.model`."""
    return UNet(**{**fields_of(config.model), "dtype": jnp.dtype(config.model.dtype)})


def network_from_config(config: Config) -> Network:
    """The module with the input and loss that `config.windows`, `patch` and `train` ask for."""
    return Network(
        from_config(config),
        tuple(tuple(window) for window in config.windows),
        corner_pixel=config.patch.corner_pixel,
        positive_weight=config.train.positive_weight,
        dice_weight=config.train.dice_weight,
        side_multiple=2**config.model.depth,
    )


def layer_table(config: Config) -> list[dict]:
    """The network layer by layer, as the paper's figure 3, taken from the module as it is called and not by hand.

    Args:
      config: its `model`, `patch.side` and `windows` count.

    Returns:
      One dict for each layer that has parameters, in the order in which they are called: 'name', 'kernel' ('3 x 3',
      '' for a normalisation), 'output_shape' [H, W, C], 'parameters', and 'receptive_field_px', the side of the
      largest square of the patch's pixels that a pixel of its output can depend on, were the patch large enough
      (through convolutions: group normalisation looks at the whole patch, and is left out of it).
    """
    rows = []

    def record(layer, args, kwargs, context):
        output = layer(*args, **kwargs)
        if context.module.path and context.method_name == "__call__":
            shape = [int(size) for size in output.shape[1:]]
            rows.append(
                {
                    "name": context.module.name,
                    "kernel": " x ".join(map(str, getattr(context.module, "kernel_size", ()))),
                    "output_shape": shape,
                }
            )
        return output

    images = jax.ShapeDtypeStruct((1, config.patch.side, config.patch.side, len(config.windows)), jnp.float32)
    with nn.intercept_methods(record), by_xla():
        params = jax.eval_shape(from_config(config).init, jax.random.key(0), images)["params"]
    fields = _receptive_fields([config.patch.side, *(row["output_shape"][0] for row in rows)], rows, config.model.depth)
    counts = {name: count_parameters(tree) for name, tree in params.items()}
    return [
        {**row, "parameters": counts[row["name"]], "receptive_field_px": field}
        for row, field in zip(rows, fields, strict=True)
    ]


def _receptive_fields(sides: list[int], rows: list[dict], depth: int) -> list[int]:
    """Follows the first and the last pixel that each pixel of a long line depends on through the layers.

    A layer whose output is half as long as the one's before it follows a pooling, one twice as long an upsampling. A
    skip connection adds nothing to what comes up beside it, which has seen all of its pixels and more.
    """
    first = last = np.arange(64 * 2**depth)  # longer than any field, so that the middle of it sees no end
    fields = []
    for before, side, row in zip(sides[:-1], sides[1:], rows, strict=True):
        if side < before:
            first, last = np.minimum(first[::2], first[1::2]), np.maximum(last[::2], last[1::2])
        elif side > before:
            first, last = np.repeat(first, 2), np.repeat(last, 2)
        kernel = int(row["kernel"].split()[0]) if row["kernel"] else 1
        reach = range(-((kernel - 1) // 2), kernel // 2 + 1)
        first = functools.reduce(np.minimum, (_shifted(first, by) for by in reach))
        last = functools.reduce(np.maximum, (_shifted(last, by) for by in reach))
        fields.append(int((last - first + 1).max()))
    return fields


def _shifted(line: np.ndarray, by: int) -> np.ndarray:
    """line[i + by] at place i, the ends repeated."""
    return line[np.clip(np.arange(len(line)) + by, 0, len(line) - 1)]
