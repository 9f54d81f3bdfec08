"""Classifiers of slices in order: features of each slice, a recurrent layer over the scan, and where they look.

The attention of Ye's network is Grad-CAM (Selvaraju et al., 2017): the last features weighted by the gradient of the
slice's logit of any hemorrhage with respect to their pooled values. That gradient goes through the recurrent layer, but
only through the slice's own step of it, so one backward pass gives it for all slices.
"""

import dataclasses
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.recurrence import SliceRecurrence
from ichjax.models.sequence_network import Decoded, SequenceNetwork
from ichjax.models.slice_classifier import attention, log_mean_exp
from ichjax.models.slice_head import LABEL_WEIGHTS
from ichjax.models.unet import dropout


class RecurrentClassifier(nn.Module):
    """Pooled features of slices (`log_mean_exp`), a recurrent layer both ways, and logits; see `SequenceNetwork`.

    Attributes:
      backbone: maps images [N, H, W, C] to features [N, h, w, K].
      hidden: of the recurrent layer, in each direction.
      kind: of the recurrent layer, 'gru' or 'lstm'.
      dropout: rate of the pooled features in training.
    """

    backbone: nn.Module
    hidden: int
    kind: str = "gru"
    dropout: float = 0.0

    def setup(self) -> None:
        """The layers after the backbone."""
        self.recurrence = SliceRecurrence(self.hidden, self.kind, kernel=1)
        self.head = nn.Dense(len(LABEL_WEIGHTS))

    def __call__(self, images: jax.Array, real: jax.Array, *, dropout_keys: jax.Array | None = None) -> Decoded:
        """The logits of the slices of stacks: images [B L, H, W, C], `real` bool [B, L]; without attention."""
        pooled, _ = self.encode(images, dropout_keys=dropout_keys)
        states = self.recurrence(pooled.reshape(*real.shape, *pooled.shape[1:]), real)
        return Decoded(None, self.head(states.reshape(len(images), -1)))

    def encode(self, images: jax.Array, *, dropout_keys: jax.Array | None = None) -> tuple[jax.Array, Any]:
        """(pooled features [N, 1, 1, K]; the features [N, h, w, K] and the images)."""
        features = cast(jax.Array, self.backbone(images)).astype(jnp.float32)
        pooled = log_mean_exp(features)[:, None, None]
        return dropout(pooled, dropout_keys, self.dropout, salt=0), (features, images)

    def mix(self, features: jax.Array, real: jax.Array) -> jax.Array:
        """[B, L, 1, 1, 2 hidden + K]: the states, and each slice's gradient of its logit by its features."""
        states = self.recurrence(features, real)
        alone = self.recurrence.clone(parent=None, detached=True)
        variables, kernel = self.recurrence.variables, self.head.variables["params"]["kernel"][:, -1]

        def logits(features: jax.Array) -> jax.Array:
            return (alone.apply(variables, features, real) @ kernel).sum()

        return jnp.concatenate([states, jax.grad(logits)(features)], axis=-1)

    def decode(self, mixed: jax.Array, rest: Any) -> Decoded:
        """The logits and the attention of slices."""
        features, images = rest
        states, gradient = jnp.split(mixed[:, 0, 0], [2 * self.hidden], axis=-1)
        maps = jnp.einsum("nhwk,nk->nhw", features, gradient)
        # The gradient's scale does not matter; that of a confident slice can be very small.
        maps /= jnp.maximum(jnp.abs(maps).max(axis=(1, 2), keepdims=True), jnp.finfo(jnp.float32).tiny)
        return Decoded(None, self.head(states), attention(maps, images.shape[1:3]))


class MaskedRecurrentClassifier(RecurrentClassifier):
    """The same without attention, of a `DenseNet` with auxiliary masks, whose mean is the probability of pixels."""

    def __call__(self, images: jax.Array, real: jax.Array, *, dropout_keys: jax.Array | None = None) -> Decoded:
        """The logits of each mask [B L, H, W, 3] and of the slices, from images [B L, H, W, C], `real` bool [B, L]."""
        pooled, masks = self.encode(images, dropout_keys=dropout_keys)
        states = self.mix(pooled.reshape(*real.shape, *pooled.shape[1:]), real)
        return Decoded(masks, self.head(states.reshape(len(images), -1)))

    def encode(self, images: jax.Array, *, dropout_keys: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """(pooled features [N, 1, 1, K], logits of each mask [N, H, W, 3])."""
        features, masks = self.backbone(images)
        pooled = log_mean_exp(features.astype(jnp.float32))[:, None, None]
        return dropout(pooled, dropout_keys, self.dropout, salt=0), masks

    def mix(self, features: jax.Array, real: jax.Array) -> jax.Array:
        """The states of both directions: [B, L, 1, 1, 2 hidden]."""
        return self.recurrence(features, real)

    def decode(self, mixed: jax.Array, rest: Any) -> Decoded:
        """The logits of pixels, from the mean of the masks, and of slices."""
        return Decoded(merged(rest), self.head(mixed[:, 0, 0]))


@dataclasses.dataclass(frozen=True)
class MaskedSequenceNetwork(SequenceNetwork):
    """A `SequenceNetwork` whose module gives several masks in training, each with a loss of its own."""

    def loss_of_logits(self, logits: jax.Array, truth: jax.Array) -> jax.Array:
        """The sum of the losses of the masks: float32 [B], from logits [B, H, W, M]."""
        each = [super(MaskedSequenceNetwork, self).loss_of_logits(one, truth) for one in jnp.unstack(logits, axis=-1)]
        return jnp.stack(each).sum(axis=0)

    def decoded(self, params: dict, images: jax.Array, slices: jax.Array, dropout_keys: Any = None) -> Any:
        """As `SequenceNetwork`, with one logit for each pixel except in training."""
        decoded, real = super().decoded(params, images, slices, dropout_keys)
        return decoded if dropout_keys is not None else decoded._replace(
            logits=merged(cast(jax.Array, decoded.logits))
        ), real


def merged(masks: jax.Array) -> jax.Array:
    """The logit of the mean probability of masks: float32 [N, H, W] from logits [N, H, W, M]."""
    positive, negative = nn.sigmoid(masks).mean(axis=-1), nn.sigmoid(-masks).mean(axis=-1)
    tiny = jnp.finfo(jnp.float32).tiny
    return jnp.log(jnp.maximum(positive, tiny)) - jnp.log(jnp.maximum(negative, tiny))
