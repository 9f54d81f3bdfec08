"""Networks that see the slices of a scan in order: each slice is encoded, all are mixed, and each is decoded."""

import dataclasses
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models import slice_head
from ichjax.models.network import Network
from ichjax.ops import losses


class Decoded(NamedTuple):
    """What a module tells of slices.

    Attributes:
      logits: float32 [N, H, W] of pixels, or None for a module that does not segment.
      slices: float32 [N, 6], logits of the sub-types and of any hemorrhage, or None for one that does not classify.
      attention: float32 [N, H, W] in [0, 1], where the last of these comes from, or None.
      further_slices: logits that are trained as `slices` are.
    """

    logits: jax.Array | None
    slices: jax.Array | None = None
    attention: jax.Array | None = None
    further_slices: tuple[jax.Array, ...] = ()


@dataclasses.dataclass(frozen=True)
class SequenceNetwork(Network):
    """A network on stacks of slices.

    Its module has three methods: `encode(images [N, H, W, C], dropout_keys) -> (features [N, ...], rest)`,
    `mix(features [B, L, ...], real [B, L]) -> [B, L, ...]` and `decode(mixed [N, ...], rest) -> Decoded`. Only `mix`
    sees more than one slice, so that a scan of any length can be predicted in parts. `module(images, real)` does all.

    Attributes:
      pixel_weight: of the loss of pixels, where the module segments.
      weak_weight: of the loss of a slice's highest logit, where a stack has labels of slices and no mask.
      scan_weight: of the loss of a scan's highest logit of any hemorrhage, as that of the scan.
      gated: whether the probability of pixels is multiplied by that of their slice.
      segments: whether validation compares pixels, or only slices.
    """

    pixel_weight: float = 1.0
    weak_weight: float = 0.0
    scan_weight: float = 0.0
    gated: bool = False
    segments: bool = True

    @property
    def learns_classes(self) -> bool:
        """Whether `loss` gets the classes of pixels."""
        return self.slice_head_weight > 0

    def init(self, key: jax.Array, side: int) -> dict:
        """Initial parameters for slices of side P, from one PRNG key; the number of slices does not matter."""
        images = jnp.zeros((1, side, side, len(self.windows)))
        return self.module.init(key, images, jnp.ones((1, 1), bool))["params"]

    def validation_truth(self, masks: jax.Array, **stack: jax.Array) -> jax.Array:
        """The masks [B, H, W, L], or which slices have a hemorrhage, [B, 1, 1, L]."""
        if self.segments:
            return masks
        labels = stack.get("labels")
        return any_pixel(masks) if labels is None else (labels[:, None, None, :, -1] == 1).astype(jnp.float32)

    def slice_images(self, hu: jax.Array) -> jax.Array:
        """The images of single slices: float32 [N, H, W, C] from HU [N, H, W]."""
        return Network.images(self, hu)

    def encode(self, params: dict, images: jax.Array) -> jax.Array:
        """Features [N, ...] of images [N, H, W, C]."""
        return self._call("encode", params, images)[0]

    def mix(self, params: dict, features: jax.Array, real: jax.Array) -> jax.Array:
        """Mixed features [B, L, ...] of whole scans; `real` bool [B, L]."""
        return self._call("mix", params, features, real)

    def decode(self, params: dict, images: jax.Array, mixed: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """(probability [N, H, W], scores [N, 6] or None) of slices, from their images and mixed features.

        What else the module keeps of a slice is computed again, as it would be too much for all slices of a scan.
        """
        _, rest = self._call("encode", params, images)
        return self._probability(self._call("decode", params, mixed, rest))

    def _call(self, method: str, params: dict, *arguments: Any) -> Any:
        return self.module.apply({"params": params}, *arguments, method=method)

    def _probability(self, decoded: Decoded) -> tuple[jax.Array, jax.Array | None]:
        scores = None if decoded.slices is None else nn.sigmoid(decoded.slices)
        if decoded.logits is not None and not self.gated:
            return nn.sigmoid(decoded.logits), scores
        pixels = decoded.attention if decoded.logits is None else nn.sigmoid(decoded.logits)
        return cast(jax.Array, pixels) * cast(jax.Array, scores)[:, -1, None, None], scores

    def decoded(
        self, params: dict, images: jax.Array, slices: jax.Array, dropout_keys: jax.Array | None = None
    ) -> tuple[Decoded, jax.Array]:
        """(the module's output of all slices [B L, ...], bool [B, L], which are real), from images [B, H, W, L C]."""
        batch, height, width, _ = images.shape
        real = jnp.arange(self.stack)[None] < slices[:, None]
        flat = images.reshape(batch, height, width, self.stack, -1)
        flat = jnp.moveaxis(flat, 3, 1).reshape(batch * self.stack, height, width, -1)
        keys: dict[str, Any] = {}
        if dropout_keys is not None:
            each = jax.vmap(lambda key: jax.vmap(lambda k: jax.random.fold_in(key, k))(jnp.arange(self.stack)))
            keys["dropout_keys"] = each(dropout_keys).reshape(-1)
        return cast(Decoded, self.module.apply({"params": params}, flat, real, **keys)), real

    def loss(  # type: ignore[override]
        self,
        params: dict,
        images: jax.Array,
        masks: jax.Array,
        *,
        dropout_keys: jax.Array,
        slices: jax.Array,
        classes: jax.Array | None = None,
        labels: jax.Array | None = None,
        has_mask: jax.Array | None = None,
    ) -> jax.Array:
        """Training loss of each stack: float32 [B], a mean over its real slices.

        Args:
          params: of the module.
          images: float32 [B, H, W, L C].
          masks: float32 [B, H, W, L] of 0 and 1.
          dropout_keys: one PRNG key per stack [B].
          slices: int32 [B], how many slices of each stack are real.
          classes: uint8 [B, H, W, L], of the pixels before random transforms.
          labels, has_mask: see `stacks.StackBatch`; without them labels come from the classes, and all have masks.
        """
        decoded, real = self.decoded(params, images, slices, dropout_keys)
        masked = jnp.ones(len(images)) if has_mask is None else has_mask.astype(jnp.float32)
        total = jnp.zeros(len(images))
        if decoded.logits is not None and self.pixel_weight:
            pixels = self.loss_of_logits(decoded.logits, by_slice(masks)).reshape(real.shape)
            total += self.pixel_weight * masked * _mean_over(real, pixels)
        if decoded.logits is not None and self.weak_weight and labels is not None:
            highest = decoded.logits.max(axis=(1, 2)).reshape(real.shape)
            weak = jnp.where(labels[..., -1] >= 0, _cross_entropy(highest, labels[..., -1] == 1), 0.0)
            total += self.weak_weight * (1.0 - masked) * _mean_over(real, weak)
        if decoded.slices is not None and (classes is not None or labels is not None):
            truth, known = _slice_truth(masks, classes, labels)
            for logits in (decoded.slices, *decoded.further_slices):
                each = slice_head.slice_loss(logits, truth, known).reshape(real.shape)
                total += self.slice_head_weight * _mean_over(real, each)
        if decoded.slices is not None and self.scan_weight:
            highest = jnp.where(real, decoded.slices[:, -1].reshape(real.shape), -jnp.inf).max(axis=1)
            bleeding = masks.any(axis=(1, 2, 3)) if labels is None else (labels[..., -1] == 1).any(axis=1)
            total += self.scan_weight * _cross_entropy(highest, bleeding)
        return total

    def validate(self, params: dict, images: jax.Array, masks: jax.Array, **stack: jax.Array) -> Any:
        """(validation loss [B], probability [B, H, W, L], or [B, 1, 1, L] of slices if the module does not segment).

        A slice whose labels are not known has no loss, and a probability of 0.

        `stack`: 'slices' and 'labels' of `loss`.
        """
        decoded, real = self.decoded(params, images, stack["slices"])
        if not self.segments and "labels" in stack:
            real &= stack["labels"][..., -1] >= 0
        logits = cast(jax.Array, decoded.logits if self.segments else decoded.slices)
        logits = logits if self.segments else logits[:, -1, None, None]
        truth = by_slice(self.validation_truth(masks, **stack))
        loss = _mean_over(real, losses.binary_cross_entropy(logits, truth).reshape(real.shape))
        probability = nn.sigmoid(logits).reshape(*real.shape, *logits.shape[1:])
        return loss, jnp.moveaxis(jnp.where(real[:, :, None, None], probability, 0.0), 1, -1)


def _slice_truth(masks: jax.Array, classes: jax.Array | None, labels: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """(truth, known): bool [B L, 6], from labels where there are some, else from the classes of pixels."""
    if labels is None:
        return slice_head.slice_labels(by_slice(cast(jax.Array, classes)), by_slice(masks))
    flat = labels.reshape(-1, labels.shape[-1])
    return flat == 1, flat >= 0


def _cross_entropy(logits: jax.Array, truth: jax.Array) -> jax.Array:
    return jax.nn.softplus(logits) - logits * truth


def any_pixel(masks: jax.Array) -> jax.Array:
    """Whether slices have a hemorrhage: float32 [B, 1, 1, ...] of 0 and 1, from [B, H, W, ...]."""
    return masks.any(axis=(1, 2), keepdims=True).astype(jnp.float32)


def by_slice(stack: jax.Array) -> jax.Array:
    """[B, H, W, L] as [B L, H, W]."""
    return jnp.moveaxis(stack, -1, 1).reshape(-1, *stack.shape[1:3])


def _mean_over(real: jax.Array, values: jax.Array) -> jax.Array:
    """float32 [B]: the mean of [B, L] over the real slices; 0 where there is none."""
    return jnp.where(real, values, 0.0).sum(axis=1) / jnp.maximum(real.sum(axis=1), 1)
