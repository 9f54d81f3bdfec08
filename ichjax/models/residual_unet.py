"""A U-Net with residual blocks in its encoder, a light decoder and deep supervision.

The residual encoder is that of He et al. (2016) with pooling between levels; the loss at several levels of the decoder
follows Isensee et al. (2021): its weight halves from level to level, and the lowest level has none.
"""

import dataclasses
import math
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.models.convolution import Conv
from ichjax.models.network import Network
from ichjax.models.slice_convolution import SliceConvolution, SliceMerge, fold_slices, middle_slice
from ichjax.models.slice_head import slice_logits
from ichjax.models.unet import PRIOR_LOGIT, Between, check_norm, dropout, make_norm, max_pool_2x2, network_fields
from ichjax.models.up_convolution import UpConv

SLOPE = 0.01  # of the leaky ReLU
DEFAULT_BLOCKS = 2  # of each level

Output = jax.Array | tuple[jax.Array, ...]


class ResidualUNet(nn.Module):
    """A residual-encoder U-Net.

    Attributes:
      base_width: channels of the first level, doubled at each deeper level up to `max_width`.
      max_width: channels of a level, at most.
      depth: number of poolings; input sides must be multiples of 2 ** depth.
      blocks: residual blocks of each level and the bottleneck, depth + 1 numbers.
      decoder_convolutions: 3 x 3 convolutions of each level of the decoder.
      dropout: rate after the bottleneck.
      norm: 'none', 'group' or 'instance' normalization after each 3 x 3 convolution.
      supervised: levels of the decoder with logits, from the highest resolution down; 1 without deep supervision.
      dtype: of the computation; parameters and returned logits stay float32.
      slice_head: whether to have a second head (`slice_head`).
      outputs: logits of a pixel.
      slices: S neighboring slices that the channels of the input are of, slice by slice.
      extra_channels: channels of the input after them that are of no slice.
      slice_levels: levels of the encoder that see each slice on its own (`slice_convolution`); 0: slices are channels.
      remat: as in `unet.UNet`.
    """

    base_width: int
    max_width: int
    depth: int
    blocks: tuple[int, ...]
    decoder_convolutions: int = 1
    dropout: float = 0.0
    norm: str = "instance"
    supervised: int = 1
    dtype: jax.typing.DTypeLike = jnp.float32
    slice_head: bool = False
    outputs: int = 1
    slices: int = 1
    extra_channels: int = 0
    slice_levels: int = 0
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        dropout_keys: jax.Array | None = None,
        every_level: bool = False,
        with_slices: bool = False,
        between: Between | None = None,
    ) -> Output | tuple[Output, jax.Array]:
        """Maps windowed images to logits.

        Args:
          images: float [B, H, W, C].
          dropout_keys: PRNG keys [B], one per example; None disables dropout (prediction).
          every_level: whether to return the logits of all supervised levels.
          with_slices: whether to return the logits of the second head, too.
          between: as in `unet.UNet`.

        Returns:
          float32 [B, H, W], or [B, H, W, outputs] if there are several; with `every_level` a tuple, with half the sides
          from each to the next. `with_slices`: (that, float32 [B, 6]).
        """
        check_norm(self.norm)
        x, skips = images.astype(self.dtype), []
        if self.slice_levels:
            x = fold_slices(x, self.slices, self.extra_channels)
        for level, count in enumerate(self.blocks):
            if level:
                skips.append(middle_slice(x, self.slices) if level < self.slice_levels else x)
                x = max_pool_2x2(x)
            name = "bottleneck" if level == self.depth else f"encoder{level + 1}"
            for block in range(1, count + 1):
                x = self._residual_block(x, self._width(level), f"{name}_block{block}")
            if level < self.slice_levels:
                x = self._mix_slices(x, name)
            if level == self.slice_levels - 1:
                x = SliceMerge(self.slices, name="merge")(x)
        x = dropout(x, dropout_keys, self.dropout, salt=0)
        mixed = between(x) if between else x
        if mixed is None:
            return x
        x = mixed
        slices = slice_logits(x) if self.slice_head else None
        logits: list[jax.Array] = []
        for level in reversed(range(self.depth)):
            up = UpConv(self._width(level), self.dtype, name=f"up{level + 1}")(x)
            x = self._decode(skips.pop(), up, self._width(level), f"decoder{level + 1}")
            if level < self.supervised:
                name = f"logit{level + 1}"
                logit = Conv(self.outputs, (1, 1), PRIOR_LOGIT, self.dtype, name=name)(x)
                logits.insert(0, (logit[..., 0] if self.outputs == 1 else logit).astype(jnp.float32))
        output: Output = tuple(logits) if every_level else logits[0]
        return (output, slices) if with_slices and slices is not None else output

    def _width(self, level: int) -> int:
        return min(self.base_width * 2**level, self.max_width)

    def _residual_block(self, x: jax.Array, width: int, name: str) -> jax.Array:
        """Two 3 x 3 convolutions whose result is added to x, or to a 1 x 1 convolution of it if its width differs."""

        def block(self: "ResidualUNet", x: jax.Array) -> jax.Array:
            y = leaky_relu(self._convolution(x, width, f"{name}_conv1"))
            y = self._convolution(y, width, f"{name}_conv2")
            if x.shape[-1] != width:
                x = Conv(width, (1, 1), dtype=self.dtype, name=f"{name}_shortcut")(x)
            return leaky_relu(x + y)

        return (nn.remat(block) if self.remat else block)(self, x)

    def _decode(self, x: jax.Array, up: jax.Array, width: int, name: str) -> jax.Array:
        """3 x 3 convolutions of the skip connection x, concatenated with the upsampled map."""

        def convolutions(self: "ResidualUNet", x: jax.Array, up: jax.Array) -> jax.Array:
            for index in range(1, self.decoder_convolutions + 1):
                skip = up if index == 1 else None
                x = leaky_relu(self._convolution(x, width, f"{name}_conv{index}", skip))
            return x

        return (nn.remat(convolutions) if self.remat else convolutions)(self, x, up)

    def _mix_slices(self, x: jax.Array, name: str) -> jax.Array:
        """A convolution along slices whose result is added to x."""
        y = SliceConvolution(self.slices, self.dtype, name=f"{name}_slices")(x)
        y = y if self.norm == "none" else make_norm(self.norm, f"{name}_slices_norm")(y)
        return leaky_relu(x + y)

    def _convolution(self, x: jax.Array, width: int, name: str, skip: jax.Array | None = None) -> jax.Array:
        """A 3 x 3 convolution of x, concatenated with `skip` if there is one, and its normalization."""
        x = Conv(width, (3, 3), dtype=self.dtype, name=name)(x, skip)
        return x if self.norm == "none" else make_norm(self.norm, f"{name}_norm")(x)


def leaky_relu(x: jax.Array) -> jax.Array:
    """x, times `SLOPE` where it is negative; the same as `jax.nn.leaky_relu`, which jax2onnx 0.13 cannot convert."""
    return jnp.where(x >= 0, x, SLOPE * x)


@dataclasses.dataclass(frozen=True)
class SupervisedNetwork(Network):
    """A network whose training loss is a weighted mean over the levels of its decoder, against downsampled masks."""

    def loss(
        self,
        params: dict,
        images: jax.Array,
        masks: jax.Array,
        *,
        dropout_keys: jax.Array,
        classes: jax.Array | None = None,
    ) -> jax.Array:
        """Training loss of each example; weights halve from level to level and sum to 1.

        The truth of a level is the share of mask pixels, or of each class, in each of its pixels.
        """
        applied, slices = self.apply(params, images, dropout_keys=dropout_keys, every_level=True)
        logits = cast(tuple[jax.Array, ...], applied)
        total, truth = jnp.zeros(len(images)), self.truth(masks, classes)
        for level, logit in enumerate(logits):
            total += 2.0**-level * self.loss_of_logits(logit, truth)
            count, height, width, *rest = truth.shape
            truth = truth.reshape(count, height // 2, 2, width // 2, 2, *rest).mean(axis=(2, 4))
        mean = total / math.fsum(2.0**-level for level in range(len(logits)))
        return self.add_slice_loss(mean, slices, masks, classes)

    def truth(self, masks: jax.Array, classes: jax.Array | None) -> jax.Array:
        """What `loss_of_logits` compares the logits with, float32 [B, H, W, ...]; the masks."""
        return masks


def network_from_config(config: Config) -> Network:
    """The module with the input and loss that `config.model`, `windows`, `patch` and `train` describe."""
    model = config.model
    module = ResidualUNet(
        base_width=model.base_width,
        max_width=model.max_width,
        depth=model.depth,
        blocks=tuple(model.blocks) or (DEFAULT_BLOCKS,) * (model.depth + 1),
        decoder_convolutions=model.decoder_convolutions,
        dropout=model.dropout,
        norm=model.norm,
        supervised=max(1, model.depth - 1) if model.deep_supervision else 1,
        dtype=jnp.dtype(model.dtype),
        slice_head=config.train.slice_head_weight > 0,
        slices=2 * model.neighbors + 1,
        extra_channels=len(config.windows) if model.mirrored_channel else 0,
        slice_levels=model.slice_levels,
        remat=config.train.remat,
    )
    return SupervisedNetwork(module, **network_fields(config))
