"""A network for the sub-types of hemorrhage that sees the probability of an earlier, binary network."""

import dataclasses
import math
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.models import residual_unet
from ichjax.models.residual_unet import SupervisedNetwork
from ichjax.models.unet import PRIOR_LOGIT, network_fields
from ichjax.ops import losses, subtypes

PRIOR_SCALE = 1000.0  # of a prior's channel: a probability of 1
BLANK_SALT = 101  # separates the draw of blank priors from that of dropout
# Added to the background's logit, so that any hemorrhage starts with `PRIOR_LOGIT` though all biases start equal.
BACKGROUND_LOGIT = math.log(subtypes.SUBTYPE_COUNT) - PRIOR_LOGIT


@dataclasses.dataclass(frozen=True)
class ClassNetwork(SupervisedNetwork):
    """A softmax over the background and the sub-types, from a module with a logit for each.

    Its input is that of a binary network and, as the last channel, a prior (`Network.priors`). In training the priors
    of some examples are blank, so that the network does not rely on them blindly.

    Attributes:
      prior_blank: probability of a blank prior.
    """

    priors: int = 1
    subtypes: int = subtypes.SUBTYPE_COUNT
    prior_blank: float = 0.0

    def images(self, hu: jax.Array) -> jax.Array:
        """As `Network.images`; windows do not apply to the prior, [0, 1] in the last channel."""
        prior = jnp.clip(hu[..., -1:].astype(jnp.float32) / PRIOR_SCALE, 0.0, 1.0)  # padding is air, below 0
        return jnp.concatenate([super().images(hu[..., :-1]), prior], axis=-1)

    def mark_corner(self, images: jax.Array) -> jax.Array:
        """As `Network.mark_corner`, without the prior."""
        return jnp.concatenate([super().mark_corner(images[..., :-1]), images[..., -1:]], axis=-1)

    def loss(
        self,
        params: dict,
        images: jax.Array,
        masks: jax.Array,
        *,
        dropout_keys: jax.Array,
        classes: jax.Array | None = None,
    ) -> jax.Array:
        """As `SupervisedNetwork.loss`, against the classes."""
        draw = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, BLANK_SALT)))(dropout_keys)
        kept = (draw >= self.prior_blank)[:, None, None, None]
        images = jnp.concatenate([images[..., :-1], images[..., -1:] * kept], axis=-1)
        return super().loss(params, images, masks, dropout_keys=dropout_keys, classes=classes)

    def truth(self, masks: jax.Array, classes: jax.Array | None) -> jax.Array:
        """The classes as planes [B, H, W, 7]."""
        return subtypes.class_planes(cast(jax.Array, classes))

    def loss_of_logits(self, logits: jax.Array, truth: jax.Array) -> jax.Array:
        """As `Network.loss_of_logits`, from logits [B, H, W, 6] and shares of classes [B, H, W, 7]."""
        log_probability = log_softmax(logits)
        loss = losses.class_cross_entropy(log_probability, truth, self.positive_weight)
        if self.dice_weight:
            loss += self.dice_weight * losses.class_dice_loss(jnp.exp(log_probability), truth)
        return loss

    def validate(self, params: dict, images: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As `Network.validate`, of any hemorrhage, 1 - background."""
        logits = any_hemorrhage(self.logits(params, images))
        return losses.binary_cross_entropy(logits, masks), nn.sigmoid(logits)

    def probability(self, params: dict, images: jax.Array) -> jax.Array:
        """As `Network.probability`, 1 - background."""
        return nn.sigmoid(any_hemorrhage(self.logits(params, images)))

    def predict(self, params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """(probability of each sub-type, float32 [B, H, W, 5], None)."""
        return jnp.exp(log_softmax(self.logits(params, images)))[..., 1:], None


def log_softmax(logits: jax.Array) -> jax.Array:
    """Log of the probability of each class, background first: float32 [..., 6] from the module's logits."""
    offset = jnp.zeros(logits.shape[-1]).at[0].set(BACKGROUND_LOGIT)
    return jax.nn.log_softmax(logits + jnp.expand_dims(offset, range(logits.ndim - 1)))


def any_hemorrhage(logits: jax.Array) -> jax.Array:
    """The logit of 1 - background: float32 [B, H, W]."""
    log_probability = log_softmax(logits)
    return jax.nn.logsumexp(log_probability[..., 1:], axis=-1) - log_probability[..., 0]


def network_from_config(config: Config, *, prior_blank: float) -> ClassNetwork:
    """The residual U-Net of `config.model` with a logit for each class, and without a second head."""
    binary = cast(residual_unet.ResidualUNet, residual_unet.network_from_config(config).module)
    module = binary.clone(
        outputs=subtypes.SUBTYPE_COUNT + 1, slice_head=False, extra_channels=binary.extra_channels + 1
    )
    fields = network_fields(config) | {"slice_head_weight": 0.0, "focal_gamma": 0.0}
    return ClassNetwork(module, **fields, prior_blank=prior_blank)
