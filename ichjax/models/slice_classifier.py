"""Networks that tell which sub-types a slice shows, and where they look: classifiers with class activation maps.

The map of a class (Zhou et al., 2016) is a linear map of each pixel of the last features, and its logit a mean over the
map. Here it is the log-mean-exp (Pinheiro and Collobert, 2015), which is near the plain mean for small values, as at
the start, and near the maximum for large ones: a hemorrhage covers few pixels, and hardly moves a plain mean. The
probability of a pixel is the slice's score of any hemorrhage times its map, in which negative values are 0 and the
highest is 1.
"""

import dataclasses
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models import slice_head
from ichjax.models.network import Network
from ichjax.models.sequence_network import any_pixel
from ichjax.models.slice_head import LABEL_WEIGHTS
from ichjax.models.unet import dropout
from ichjax.ops import losses

SHARPNESS = 4.0  # of the log-mean-exp


class Classifier(nn.Module):
    """Logits from the features of one backbone, and the map of any hemorrhage.

    Attributes:
      backbone: maps images [B, H, W, C] to features [B, h, w, K].
      channels: of the input that it sees; () for all.
      dropout: rate of the features' channels in training.
    """

    backbone: nn.Module
    channels: tuple[int, ...] = ()
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images: jax.Array, *, dropout_keys: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """(logits float32 [B, 6], of the sub-types and of any hemorrhage; maps float32 [B, h, w])."""
        if self.channels:
            images = images[..., list(self.channels)]
        features = cast(jax.Array, self.backbone(images)).astype(jnp.float32)
        if dropout_keys is not None and self.dropout:
            channels = dropout(jnp.ones((len(features), features.shape[-1])), dropout_keys, self.dropout, salt=0)
            features = features * channels[:, None, None]
        kernel = self.param("kernel", nn.initializers.zeros, (features.shape[-1], len(LABEL_WEIGHTS)))
        bias = self.param("bias", nn.initializers.zeros, (len(LABEL_WEIGHTS),))
        maps = features @ kernel + bias[None, None, None]
        return log_mean_exp(maps), maps[..., -1]


def log_mean_exp(maps: jax.Array) -> jax.Array:
    """float32 [B, K]: the mean of exp(`SHARPNESS` x) over the pixels of [B, h, w, K], as an x."""
    highest = jax.lax.stop_gradient(maps.max(axis=(1, 2), keepdims=True))
    mean = jnp.exp(SHARPNESS * (maps - highest)).mean(axis=(1, 2))
    return highest[:, 0, 0] + jnp.log(mean) / SHARPNESS


class Ensemble(nn.Module):
    """Classifiers that are trained side by side, each by its own loss.

    Attributes:
      members: the classifiers.
    """

    members: tuple[Classifier, ...]

    def __call__(
        self, images: jax.Array, *, dropout_keys: jax.Array | None = None
    ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """(logits [B, 6] of each member, maps [B, h, w] of each member)."""
        outputs = []
        for number, member in enumerate(self.members):
            keys = None if dropout_keys is None else keys_of(dropout_keys, number)
            outputs.append(member(images, dropout_keys=keys))
        return tuple(logits for logits, _ in outputs), tuple(maps for _, maps in outputs)


@dataclasses.dataclass(frozen=True)
class SliceClassifier(Network):
    """A network on whole slices from an `Ensemble`; it learns labels of slices, and no pixels."""

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
        """As `Network.loss`: the weighted log-loss of the labels, a mean over the members."""
        logits, _ = self._outputs(params, images, dropout_keys=dropout_keys)
        truth, known = slice_head.slice_labels(cast(jax.Array, classes), masks)
        each = [slice_head.slice_loss(one, truth, known) for one in logits]
        return jnp.stack(each).mean(axis=0)

    def validate(self, params: dict, images: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(cross-entropy of any hemorrhage [B], its probability [B, 1, 1]) of slices."""
        score = self.scores(self._outputs(params, images)[0])[:, -1, None, None]
        return losses.probability_cross_entropy(score, any_pixel(masks)), score

    def validation_truth(self, masks: jax.Array, **stack: jax.Array) -> jax.Array:
        """Whether each slice has a hemorrhage: float32 [B, 1, 1]."""
        return any_pixel(masks)

    def probability(self, params: dict, images: jax.Array) -> jax.Array:
        """The score of any hemorrhage times the map: float32 [B, H, W] in [0, 1]."""
        return self.predict(params, images)[0]

    def predict(self, params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(probability [B, H, W], scores [B, 6] in [0, 1])."""
        logits, maps = self._outputs(params, images)
        own = [
            nn.sigmoid(one)[:, -1, None, None] * attention(one_map, images.shape[1:3])
            for one, one_map in zip(logits, maps, strict=True)
        ]
        return jnp.stack(own).mean(axis=0), self.scores(logits)

    def scores(self, logits: tuple[jax.Array, ...]) -> jax.Array:
        """float32 [B, 6] in [0, 1] from the logits [B, 6] of each member: the mean of their probabilities."""
        return jnp.stack([nn.sigmoid(one) for one in logits]).mean(axis=0)

    def _outputs(self, params: dict, images: jax.Array, **options: Any) -> Any:
        return self.module.apply({"params": params}, images, **options)


def attention(maps: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Maps [B, h, w] without negative values, the highest of each 1, as large as `size`: float32 [B, H, W]."""
    positive = jnp.maximum(maps, 0.0)
    highest = positive.max(axis=(1, 2), keepdims=True)
    scaled = positive / jnp.maximum(highest, 1e-6)
    return jnp.clip(jax.image.resize(scaled, (len(maps), *size), "linear"), 0.0, 1.0)


def keys_of(keys: jax.Array, number: int) -> jax.Array:
    """The PRNG keys [B] of a member of an ensemble, from those of the examples [B]."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
