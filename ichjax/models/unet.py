"""The authors' U-Net (paper, figure 3; layer details from their Keras code).

Encoder 64-128-256-512, bottleneck 1024: two 3 x 3 convolutions with ReLU per level, 2 x 2 max-pooling. Decoder:
nearest upsampling, a 2 x 2 convolution with ReLU, the skip connection, two 3 x 3 convolutions. Head: a 3 x 3
convolution to two maps with ReLU, a 1 x 1 convolution. 24 convolutions, 31,031,685 parameters, no normalization.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ichjax import xla
from ichjax.config import Config
from ichjax.models import accelerator, tpu
from ichjax.models.convolution import Conv, margin_between, relu_of, xla_convolutions_only
from ichjax.models.network import Network, count_parameters
from ichjax.models.slice_head import SLICE_HEAD, slice_logits
from ichjax.models.up_convolution import UpConv

PRIOR_LOGIT = -4.0  # initial bias of the plain head: 2 % of the pixels of training patches are hemorrhage
MAX_GROUPS = 4  # of channels, in group normalization
FLAT_VARIANCE = 1e-12  # of a channel without contrast, of images from 0 to 1

Between = Callable[[jax.Array], jax.Array | None]


class UNet(nn.Module):
    """A U-Net for one class.

    Attributes:
      base_width: channels of the first level, doubled at each deeper level.
      depth: number of poolings; input sides must be multiples of 2 ** depth.
      dropout: rate at the two deepest levels (after the last encoder level, before its skip connection, and after the
        bottleneck), as in the authors' code.
      norm: 'none' as in the paper, or 'group' or 'instance' normalization after each 3 x 3 convolution.
      head: 'paper' reduces the features to two maps with ReLU before the last convolution, as the authors do. 'plain'
        omits these maps, whose ReLUs can die, and initializes the bias to the prior of hemorrhage; otherwise the
        features learn the background, and the logit of a hemorrhage hardly rises above zero.
      dtype: of the computation; parameters and returned logits stay float32.
      slice_head: whether to have a second head (`slice_head`).
      remat: whether the gradient computes the maps inside a level again, in place of keeping them.
    """

    base_width: int = 64
    depth: int = 4
    dropout: float = 0.5
    norm: str = "none"
    head: str = "paper"
    dtype: jax.typing.DTypeLike = jnp.float32
    slice_head: bool = False
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        dropout_keys: jax.Array | None = None,
        with_slices: bool = False,
        between: Between | None = None,
    ) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Maps windowed images to logits.

        Args:
          images: float [B, H, W, C].
          dropout_keys: PRNG keys [B], one per example, so that an example's dropout does not depend on the rest of
            the batch or on the number of devices; None disables dropout (prediction).
          with_slices: whether to return the logits of the second head, too.
          between: maps the bottleneck [B, h, w, K] to what the decoder starts from; None for the bottleneck itself. If
            it returns None, the bottleneck is returned, and there is no decoder.

        Returns:
          float32 [B, H, W]; their sigmoid is the probability of hemorrhage. `with_slices`: (that, float32 [B, 6]).
        """
        check_norm(self.norm)
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
        mixed = between(x) if between else x
        if mixed is None:
            return x
        x = mixed
        slices = slice_logits(x) if self.slice_head else None
        for level in reversed(range(self.depth)):
            width = self.base_width * 2**level
            up = UpConv(width, self.dtype, relu=True, name=f"up{level + 1}")(x)
            x = self._level(skips.pop(), width, f"decoder{level + 1}", upsampled=up)
        if self.head == "paper":
            x = Conv(2, (3, 3), dtype=self.dtype, relu=True, name="head")(x)
        elif self.head != "plain":
            raise ValueError(f"head {self.head!r}; expected 'paper' or 'plain'")
        bias_init = 0.0 if self.head == "paper" else PRIOR_LOGIT
        logits = Conv(1, (1, 1), bias_init, self.dtype, name="logit")(x)[..., 0].astype(jnp.float32)
        return (logits, slices) if with_slices and slices is not None else logits

    def _level(self, x: jax.Array, width: int, name: str, *, upsampled: jax.Array | None = None) -> jax.Array:
        """Two 3 x 3 convolutions with ReLU; in the decoder x is the skip connection, concatenated with `upsampled`."""

        def convolutions(self: "UNet", x: jax.Array, upsampled: jax.Array | None) -> jax.Array:
            plain = self.norm == "none"
            maps = [each for each in (x, upsampled) if each is not None]
            margin = margin_between(maps, width) if plain else 0
            for index, margins in ((1, (0, margin)), (2, (margin, 0))):
                own_name = f"{name}_conv{index}"
                layer = Conv(width, (3, 3), dtype=self.dtype, relu=plain, margins=margins, name=own_name)
                x = layer(x, upsampled)
                if not plain:
                    x = relu_of(make_norm(self.norm, f"{name}_norm{index}")(x))
                upsampled = None
            return x

        return (nn.remat(convolutions) if self.remat else convolutions)(self, x, upsampled)


def check_norm(norm: str) -> None:
    """Raises ValueError for a normalization that does not exist."""
    if norm not in ("none", "group", "instance"):
        raise ValueError(f"norm {norm!r}; expected 'none', 'group' or 'instance'")


def make_norm(norm: str, name: str) -> "GroupNorm":
    """The layer of a normalization other than 'none'; 'instance' normalizes each channel on its own."""
    return GroupNorm(max_groups=MAX_GROUPS if norm == "group" else 0, name=name)


class GroupNorm(nn.Module):
    """Group normalization (Wu and He, 2018) whose moments are summed per channel first.

    The same function as flax's, but faster on a CPU (measured once on a busy machine, 8 x 64 x 64 x 16: 1 instead of
    17 ms forward, 2 instead of 17 ms backward; less on smaller maps), since sums over pixels run along the channels in
    memory and no five-dimensional copy is made.

    Attributes:
      max_groups: of channels; 0 for a group per channel, which is instance normalization (Ulyanov et al., 2016).
      epsilon: added to the variance. Where this is at most `FLAT_VARIANCE`, the result is the bias, without a gradient.
    """

    max_groups: int = MAX_GROUPS
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalizes float [B, H, W, C] over H, W and each group of channels."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        pixels = x.astype(jnp.float32)
        mean = self.over_groups(pixels.mean(axis=(1, 2)))
        variance = self.over_groups((pixels * pixels).mean(axis=(1, 2))) - mean * mean
        # A blank patch is 0 in every layer until biases are trained: its gradient would grow 1000-fold in each of them.
        factor = jnp.where(variance > FLAT_VARIANCE, jax.lax.rsqrt(jnp.maximum(variance, 0.0) + self.epsilon), 0.0)
        factor = factor * scale[None]
        shift = bias[None] - mean * factor
        return (pixels * factor[:, None, None] + shift[:, None, None]).astype(x.dtype)

    def in_two_passes(self, x: jax.Array) -> jax.Array:
        """The same function with less rounding: the mean is subtracted, twice, before squares are summed.

        Means are taken along rows, then columns, for runtimes that add up one value after the other.
        """
        scale: jax.Array = self.get_variable("params", "scale")
        bias: jax.Array = self.get_variable("params", "bias")
        pixels = x.astype(jnp.float32)
        for _ in range(2):  # the second time, what rounding left of the mean
            pixels = pixels - self.over_groups(pixels.mean(axis=2).mean(axis=1))[:, None, None]
        variance = self.over_groups((pixels * pixels).mean(axis=2).mean(axis=1))
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale[None]
        return (pixels * factor[:, None, None] + bias[None, None, None]).astype(x.dtype)

    def over_groups(self, channels: jax.Array) -> jax.Array:
        """Each channel's value [B, C] replaced by the mean over its group."""
        groups = math.gcd(self.max_groups, channels.shape[1])  # gcd(0, C) is C
        mean = channels.reshape(channels.shape[0], groups, -1).mean(axis=-1, keepdims=True)
        return jnp.broadcast_to(mean, (*mean.shape[:2], channels.shape[1] // groups)).reshape(channels.shape)


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """2 x 2 max-pooling of [B, H, W, C]; of tied values the first gets the gradient.

    As selections from strided slices, whose gradient is far cheaper on a CPU than that of a reduce-window. Not as
    jnp.maximum: its gradient compares the maximum with its arguments, and where the compiler computes those again, with
    other rounding, neither is equal and the gradient is lost. XLA did so on a CPU after an instance normalization.
    """
    if xla.platform() != "cpu":
        return (tpu if xla.platform() == "tpu" else accelerator).max_pool_2x2(x)
    columns = _larger(x[:, :, ::2], x[:, :, 1::2])
    return _larger(columns[:, ::2], columns[:, 1::2])


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(a >= b, a, b)


def dropout(x: jax.Array, keys: jax.Array | None, rate: float, *, salt: int) -> jax.Array:
    """Dropout of [B, ...] with one key per example [B]; each dropout layer of a network has its own `salt`."""
    if keys is None or rate == 0.0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, salt), 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


def from_config(config: Config) -> UNet:
    """The module that `config.model` describes."""
    model = config.model
    dtype = jnp.dtype(model.dtype)
    second = config.train.slice_head_weight > 0
    shape = (model.base_width, model.depth, model.dropout)
    remat = config.train.remat
    return UNet(*shape, norm=model.norm, head=model.head, dtype=dtype, slice_head=second, remat=remat)


def network_from_config(config: Config) -> Network:
    """The module with the input and loss that `config.windows`, `patch` and `train` describe."""
    return Network(from_config(config), **network_fields(config))


def network_fields(config: Config) -> dict[str, Any]:
    """The fields of a `Network` besides its module."""
    return {
        "windows": tuple((level, width) for level, width in config.windows),
        "corner_pixel": config.patch.corner_pixel,
        "positive_weight": config.train.positive_weight,
        "dice_weight": config.train.dice_weight,
        "focal_gamma": config.train.focal_gamma,
        "side_multiple": 2**config.model.depth,
        "slice_head_weight": config.train.slice_head_weight,
        "neighbors": config.model.neighbors,
        "mirrored_channel": config.model.mirrored_channel,
    }


def layer_table(config: Config, module: nn.Module | None = None) -> list[dict]:
    """The network layer by layer, as in the paper's figure 3, recorded while the module is traced; no second head.

    Args:
      config: `model`, `patch` and `windows` are used.
      module: whose layers all have names of their own; None for `from_config`.

    Returns:
      One dict per layer with parameters, in call order: 'name', 'kernel' ('3 x 3', '' for a normalization),
      'output_shape' [H, W, C], 'parameters', and 'receptive_field_px', the side of the square of input pixels that an
      output pixel depends on through convolutions, if the patch is large enough (group normalization, which depends on
      the whole patch, is not counted).
    """
    rows: list[dict[str, Any]] = []

    def record(layer: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        output = layer(*args, **kwargs)
        if context.module.path and context.method_name == "__call__" and context.module.name != SLICE_HEAD:
            rows.append(
                {
                    "name": context.module.name,
                    "kernel": " x ".join(map(str, getattr(context.module, "kernel_size", ()))),
                    "output_shape": [int(size) for size in output.shape[1:]],
                }
            )
        return output

    module = module or from_config(config)
    images = Network(module, **network_fields(config)).input_shape(config.patch.side)
    with nn.intercept_methods(record), xla_convolutions_only():
        params = jax.eval_shape(module.init, jax.random.key(0), images)["params"]
    fields = _receptive_fields([config.patch.side, *(row["output_shape"][0] for row in rows)], rows, config.model.depth)
    counts = {name: count_parameters(tree) for name, tree in params.items()}
    return [
        {**row, "parameters": counts[row["name"]], "receptive_field_px": field}
        for row, field in zip(rows, fields, strict=True)
    ]


def _receptive_fields(sides: list[int], rows: list[dict], depth: int) -> list[int]:
    """Tracks the first and the last input pixel that each pixel of a long line depends on, layer by layer.

    A layer with half the output side of its predecessor follows a pooling, one with twice the side an upsampling. Skip
    connections are ignored: the upsampled map has a larger receptive field.
    """
    first = last = np.arange(64 * 2**depth)  # longer than any receptive field
    fields = []
    for before, side, row in zip(sides[:-1], sides[1:], rows, strict=True):
        if side < before:
            first, last = np.minimum(first[::2], first[1::2]), np.maximum(last[::2], last[1::2])
        elif side > before:
            first, last = np.repeat(first, 2), np.repeat(last, 2)
        kernel = int(row["kernel"].split()[0]) if row["kernel"] else 1
        reach = range(-((kernel - 1) // 2), kernel // 2 + 1)
        first = functools.reduce(np.minimum, (_shift(first, by) for by in reach))
        last = functools.reduce(np.maximum, (_shift(last, by) for by in reach))
        fields.append(int((last - first + 1).max()))
    return fields


def _shift(line: np.ndarray, by: int) -> np.ndarray:
    """line[i + by] at index i, the ends repeated."""
    return line[np.clip(np.arange(len(line)) + by, 0, len(line) - 1)]
