"""Fully convolutional networks (FCN-8s; Long et al., 2015) from VGG-16, and two of them gated by two classifiers."""

import dataclasses
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.models import class_network, slice_head
from ichjax.models.blocks import ConvBlock
from ichjax.models.convolution import Conv
from ichjax.models.googlenet import GoogLeNet
from ichjax.models.network import Network
from ichjax.models.slice_classifier import Classifier
from ichjax.models.unet import dropout, max_pool_2x2, network_fields
from ichjax.models.vgg import Vgg, to_even_sides
from ichjax.ops import losses, subtypes

SKIPPED = (3, 4)  # stages of VGG-16 whose inputs are skip connections: after the third and the fourth pooling
PIXEL_CLASSES = subtypes.SUBTYPE_COUNT + 1


class Fcn(nn.Module):
    """VGG-16 with convolutions in place of its fully connected layers, and skip connections.

    Attributes:
      width: channels of the first stage; 64 in the source.
      pools: 2 x 2 max-poolings of the features besides the last; 4 in the source, with a logit at every eighth pixel.
      head: channels of the two convolutions before the logits; 4,096 in the source.
      dropout: rate after each of the two convolutions of the head.
      norm: as of `Vgg`; not in the source.
      dtype: of the computation.
    """

    width: int = 64
    pools: int = 4
    head: int = 4096
    dropout: float = 0.0
    norm: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, dropout_keys: jax.Array | None = None) -> jax.Array:
        """float32 logits of the classes [B, H, W, 6], background first, from images [B, H, W, C]."""
        inputs: list[jax.Array] = []
        x = Vgg(self.width, self.pools, self.norm, self.dtype, name="vgg")(images, inputs=inputs)
        x = max_pool_2x2(to_even_sides(x))
        for number, size in enumerate(((7, 7), (1, 1))):
            name = f"head{number + 1}"
            x = ConvBlock(self.head, size, norm=self.norm, dtype=self.dtype, name=name)(x)
            x = dropout(x, dropout_keys, self.dropout, salt=number)
        logits = Conv(PIXEL_CLASSES, (1, 1), dtype=self.dtype, name="logit")(x)
        for stage in reversed(SKIPPED):
            skip = Conv(PIXEL_CLASSES, (1, 1), dtype=self.dtype, name=f"logit_stage{stage}")(inputs[stage])
            logits = skip + jax.image.resize(logits, skip.shape, "linear").astype(skip.dtype)
        return jax.image.resize(logits.astype(jnp.float32), (*images.shape[:3], PIXEL_CLASSES), "linear")


class Cascade(nn.Module):
    """A classifier and an FCN for each channel of the input, which see that channel alone.

    Attributes:
      classifiers, segmenters: as many as channels.
    """

    classifiers: tuple[Classifier, ...]
    segmenters: tuple[Fcn, ...]

    def __call__(self, images: jax.Array, *, dropout_keys: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """(logits of slices float32 [M, B, 6], as of `slice_head`; of classes float32 [M, B, H, W, 6]), M channels."""
        channels = [images[..., k : k + 1] for k in range(len(self.classifiers))]
        slices = [one(x, dropout_keys=dropout_keys)[0] for one, x in zip(self.classifiers, channels, strict=True)]
        pixels = [one(x, dropout_keys=dropout_keys) for one, x in zip(self.segmenters, channels, strict=True)]
        return jnp.stack(slices), jnp.stack(pixels)


@dataclasses.dataclass(frozen=True)
class CascadeNetwork(Network):
    """A network on whole slices from a `Cascade`, each part of which learns by its own loss.

    A slice's scores are the highest of the classifiers': above a cut, where the first classifier is or, of the slices
    that it calls negative, the second. The probability of a class is the mean over the FCNs; scores do not gate it.
    """

    subtypes: int = subtypes.SUBTYPE_COUNT
    slice_head_weight: float = 1.0

    def loss(
        self,
        params: dict,
        images: jax.Array,
        masks: jax.Array,
        *,
        dropout_keys: jax.Array,
        classes: jax.Array | None = None,
    ) -> jax.Array:
        """As `Network.loss`: means over the FCNs, and over the classifiers."""
        slices, pixels = self._outputs(params, images, dropout_keys=dropout_keys)
        planes = subtypes.class_planes(cast(jax.Array, classes))
        truth, known = slice_head.slice_labels(cast(jax.Array, classes), masks)
        of_slices = jax.vmap(lambda one: slice_head.slice_loss(one, truth, known))(slices).mean(axis=0)
        return self.slice_head_weight * of_slices + jax.vmap(lambda one: self._pixel_loss(one, planes))(pixels).mean(0)

    def _pixel_loss(self, logits: jax.Array, planes: jax.Array) -> jax.Array:
        log_probability = class_network.log_softmax(logits)
        loss = losses.class_cross_entropy(log_probability, planes, self.positive_weight)
        if self.dice_weight:
            loss += self.dice_weight * losses.class_dice_loss(jnp.exp(log_probability), planes)
        return loss

    def validate(self, params: dict, images: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As `Network.validate`, of any hemorrhage."""
        probability = self.probability(params, images)
        return losses.probability_cross_entropy(probability, masks), probability

    def probability(self, params: dict, images: jax.Array) -> jax.Array:
        """As `Network.probability`, 1 - background."""
        return jnp.minimum(self.predict(params, images)[0].sum(axis=-1), 1.0)

    def predict(self, params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(probability of each sub-type float32 [B, H, W, 5], scores float32 [B, 6])."""
        slices, pixels = self._outputs(params, images)
        probability = jnp.exp(class_network.log_softmax(pixels)).mean(axis=0)[..., 1:]
        return probability, nn.sigmoid(slices).max(axis=0)

    def _outputs(self, params: dict, images: jax.Array, **options: Any) -> Any:
        return self.module.apply({"params": params}, images, **options)


def network_from_config(config: Config, *, classifier_width: int, pools: int, head: int) -> CascadeNetwork:
    """A cascade for the windows of the configuration; `config.model.base_width` is the width of an FCN."""
    model, dtype, count = config.model, jnp.dtype(config.model.dtype), len(config.windows)
    classifiers = tuple(Classifier(GoogLeNet(classifier_width, dtype=dtype), (), model.dropout) for _ in range(count))
    segmenters = tuple(Fcn(model.base_width, pools, head, model.dropout, dtype=dtype) for _ in range(count))
    fields = network_fields(config) | {"slice_head_weight": 1.0, "focal_gamma": 0.0, "side_multiple": 1}
    return CascadeNetwork(Cascade(classifiers, segmenters), **fields)
