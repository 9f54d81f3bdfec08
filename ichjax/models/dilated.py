"""Dilated residual networks (Yu et al., 2017, variant D) for segmentation, and ensembles of them.

Eight levels: three with a stride of 2, then residual blocks of dilation 2 and 4, and two levels of plain convolutions
that remove the pattern that dilation leaves. A 1 x 1 convolution gives a logit at every eighth pixel, between which is
interpolated. `DRN_38` has 26,501,912 parameters with the 1,000 classes that it was published with.
"""

import dataclasses
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.models.blocks import ConvBlock
from ichjax.models.convolution import Conv, relu_of
from ichjax.models.network import Network
from ichjax.models.unet import PRIOR_LOGIT, network_fields
from ichjax.ops import losses
from ichjax.ops.uncertainty import jensen_shannon

WIDTHS = (1, 2, 4, 8, 16, 32, 32, 32)  # channels of each level, relative to those of the first
DILATIONS = (1, 1, 1, 1, 2, 4, 2, 1)
RESIDUAL = (False, False, True, True, True, True, False, False)  # blocks, or plain convolutions
STRIDED = (1, 2, 3)  # levels that may begin with a stride of 2
DRN_38 = (1, 1, 3, 4, 6, 3, 1, 1)  # blocks of each level


class DilatedResidual(nn.Module):
    """The features of a dilated residual network.

    Attributes:
      width: channels of the first level; 16 in the published networks.
      blocks: residual blocks, or plain convolutions, of each of the eight levels.
      stride: 8 as published, or 4 or 2, for which the first levels have no stride.
      dtype: of the computation.
    """

    width: int = 16
    blocks: tuple[int, ...] = DRN_38
    stride: int = 8
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), 32 width]."""
        strided = STRIDED[len(STRIDED) - (self.stride.bit_length() - 1) :]
        x = ConvBlock(self.width, (7, 7), dtype=self.dtype, name="stem")(images)
        for level, count in enumerate(self.blocks):
            width, dilation = self.width * WIDTHS[level], DILATIONS[level]
            for block in range(count):
                stride = 2 if level in strided and not block else 1
                name = f"level{level + 1}_block{block + 1}"
                if RESIDUAL[level]:
                    x = _ResidualBlock(width, stride, dilation, self.dtype, name=name)(x)
                else:
                    x = ConvBlock(width, stride=stride, dilation=dilation, dtype=self.dtype, name=name)(x)
        return x


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions whose result is added to their input, or to a 1 x 1 convolution of it."""

    features: int
    stride: int
    dilation: int
    dtype: jax.typing.DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dilation, dtype = self.dilation, self.dtype
        y = ConvBlock(self.features, stride=self.stride, dilation=dilation, dtype=dtype, name="conv1")(x)
        y = ConvBlock(self.features, dilation=dilation, relu=False, dtype=dtype, name="conv2")(y)
        if self.stride > 1 or x.shape[-1] != self.features:
            shortcut = ConvBlock(self.features, (1, 1), self.stride, relu=False, dtype=dtype, name="shortcut")
            x = shortcut(x)
        return relu_of(x.astype(y.dtype) + y)


class PatchEnsemble(nn.Module):
    """Dilated residual networks with a logit for each pixel, side by side.

    Attributes:
      members: number of networks.
      width, blocks, stride, dtype: of each, as of `DilatedResidual`.
    """

    members: int
    width: int = 16
    blocks: tuple[int, ...] = DRN_38
    stride: int = 8
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, dropout_keys: jax.Array | None = None) -> jax.Array:
        """float32 logits [B, H, W, members] from images [B, H, W, C]; `dropout_keys` are not used."""
        count, height, width, _ = images.shape
        logits = []
        for number in range(1, self.members + 1):
            network = DilatedResidual(self.width, self.blocks, self.stride, self.dtype, name=f"member{number}")
            x = network(images)
            logits.append(Conv(1, (1, 1), PRIOR_LOGIT, self.dtype, name=f"logit{number}")(x))
        coarse = jnp.concatenate(logits, axis=-1).astype(jnp.float32)
        return jax.image.resize(coarse, (count, height, width, self.members), "linear")


@dataclasses.dataclass(frozen=True)
class EnsembleNetwork(Network):
    """A network from a module with the logits of several members; each learns by its own loss."""

    def loss(
        self,
        params: dict,
        images: jax.Array,
        masks: jax.Array,
        *,
        dropout_keys: jax.Array,
        classes: jax.Array | None = None,
    ) -> jax.Array:
        """As `Network.loss`, a mean over the members."""
        logits = self.logits(params, images, dropout_keys=dropout_keys)
        return jax.vmap(lambda one: self.loss_of_logits(one, masks), in_axes=-1)(logits).mean(axis=0)

    def validate(self, params: dict, images: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As `Network.validate`, of the mean probability."""
        probability = self.probability(params, images)
        return losses.probability_cross_entropy(probability, masks), probability

    def probability(self, params: dict, images: jax.Array) -> jax.Array:
        """As `Network.probability`: the mean of the members'."""
        return nn.sigmoid(self.logits(params, images)).mean(axis=-1)

    def predict(self, params: dict, images: jax.Array) -> tuple[jax.Array, None]:
        """(probability [B, H, W], None)."""
        return self.probability(params, images), None


@dataclasses.dataclass(frozen=True)
class DisagreementNetwork(EnsembleNetwork):
    """The same network, whose 'probability' is how much the members disagree: to be predicted, not trained."""

    def probability(self, params: dict, images: jax.Array) -> jax.Array:
        """The Jensen-Shannon divergence of the members' predictions: float32 [B, H, W], from 0 to ln 2 nats."""
        return jensen_shannon(jnp.unstack(nn.sigmoid(self.logits(params, images)), axis=-1))


def network_from_config(config: Config, *, members: int, blocks: tuple[int, ...], stride: int) -> EnsembleNetwork:
    """An ensemble with the input and loss of the configuration; `config.model.base_width` is the width of a member."""
    dtype = jnp.dtype(config.model.dtype)
    module = PatchEnsemble(members, config.model.base_width, blocks, stride, cast(jax.typing.DTypeLike, dtype))
    fields = network_fields(config) | {"side_multiple": stride, "slice_head_weight": 0.0, "mirrored_channel": False}
    return EnsembleNetwork(module, **fields)
