"""A network with its input and its loss: the interface for training and prediction."""

import dataclasses
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models import slice_head
from ichjax.models.convolution import xla_convolutions_only
from ichjax.ops import hu as hu_ops
from ichjax.ops import losses


@dataclasses.dataclass(frozen=True)
class Network:
    """A Flax module, its input and its training loss.

    The training step, the patch reader and the predictor use only the methods below, so another loss, input or head is
    a subclass that overrides one of them. Hashable, so that programs are compiled once per network.

    Attributes:
      module: maps images [B, H, W, C] to logits [B, H, W]; called with `dropout_keys` in training.
      windows: HU level and width of each input channel.
      corner_pixel: set every patch's last pixel to the top of the window, as the authors' JPEG code does.
      positive_weight: of hemorrhage pixels in the cross-entropy; 1 in the paper.
      dice_weight: of a soft Dice loss added to the cross-entropy; 0 in the paper.
      focal_gamma: of the focal loss in place of the cross-entropy; 0 in the paper, for the cross-entropy.
      neighbors: n slices read above and below each one; `images` gets them as a last axis of S = 2 n + 1.
      mirrored_channel: whether they are followed by the slice mirrored about the head's mid-plane.
      side_multiple: input sides must be multiples of this.
      slice_head_weight: of the loss of the module's second head (`slice_head`), which must exist if this is above 0.
      priors: channels after the slices that hold no HU but an earlier network's probability x 1000; 0 or 1.
      subtypes: number of sub-types that `predict` gives the probability of, in place of that of any hemorrhage; 0 for
        none.
      stack: L, the slices of an example where it is a stack of them (`data.stacks`), which then are what `images` gets
        as the last axis, and masks have that axis, too; 0 where an example is a patch.
    """

    module: nn.Module
    windows: tuple[tuple[float, float], ...]
    corner_pixel: bool = False
    positive_weight: float = 1.0
    dice_weight: float = 0.0
    focal_gamma: float = 0.0
    neighbors: int = 0
    mirrored_channel: bool = False
    side_multiple: int = 1
    slice_head_weight: float = 0.0
    priors: int = 0
    subtypes: int = 0
    stack: int = 0

    @property
    def learns_classes(self) -> bool:
        """Whether `loss` gets the classes of pixels."""
        return self.slice_head_weight > 0 or self.subtypes > 0

    @property
    def unit(self) -> str:
        """What its examples are called."""
        return "stacks" if self.stack else "patches"

    def init(self, key: jax.Array, side: int) -> dict:
        """Initial parameters for patches of side P, from one PRNG key."""
        images = self.input_shape(side)
        return self.module.init(key, jnp.zeros(images.shape, images.dtype))["params"]

    def in_float32(self) -> "Network":
        """The network with all of its computation in float32; itself if its module has no `dtype`."""
        if not hasattr(self.module, "dtype"):
            return self
        return dataclasses.replace(self, module=self.module.clone(dtype=jnp.float32))

    def input_shape(self, side: int) -> jax.ShapeDtypeStruct:
        """Shape [1, P, P, C] and dtype of the module's input for one patch of side P."""
        return jax.eval_shape(self.images, jax.ShapeDtypeStruct((1, *self.hu_shape(side)), jnp.int16))

    def hu_shape(self, side: int) -> tuple[int, ...]:
        """Shape of the HU of one example of side P: (P, P), or (P, P, S) of several planes."""
        planes = self.stack or 2 * self.neighbors + 1 + self.mirrored_channel + self.priors
        return (side, side, planes) if planes > 1 else (side, side)

    def shapes(self, side: int) -> dict:
        """Shapes and dtypes of the parameters; nothing is computed or compiled."""
        with xla_convolutions_only():
            return jax.eval_shape(lambda key: self.init(key, side), jax.random.key(0))

    def images(self, hu: jax.Array) -> jax.Array:
        """The module's input: float32 [B, H, W, C] from HU [B, H, W], or [B, H, W, S] of several planes.

        HU are int16, or float32 after augmentation. A patch of all zeros is empty (air): the predictor runs the network
        on only one such patch.
        """
        windowed = hu_ops.windows(hu, self.windows)
        return windowed.reshape(*windowed.shape[:3], -1)

    def mark_corner(self, images: jax.Array) -> jax.Array:
        """`images` with the corner pixel set if `corner_pixel` is."""
        return hu_ops.mark_corner(images) if self.corner_pixel else images

    def apply(self, params: dict, images: jax.Array, **options: Any) -> tuple[Any, jax.Array | None]:
        """(the module's output, the logits of its second head [B, 6] or None); `options` are the module's."""
        if not self.slice_head_weight:
            return self.module.apply({"params": params}, images, **options), None
        output, slices = cast(tuple, self.module.apply({"params": params}, images, with_slices=True, **options))
        return output, slices

    def logits(self, params: dict, images: jax.Array, *, dropout_keys: jax.Array | None = None) -> jax.Array:
        """float32 [B, H, W]. `dropout_keys`: one PRNG key per example [B]; None disables dropout."""
        keys: dict[str, Any] = {} if dropout_keys is None else {"dropout_keys": dropout_keys}
        return cast(jax.Array, self.module.apply({"params": params}, images, **keys))

    def loss(
        self,
        params: dict,
        images: jax.Array,
        masks: jax.Array,
        *,
        dropout_keys: jax.Array,
        classes: jax.Array | None = None,
    ) -> jax.Array:
        """Training loss of each example: float32 [B], from images [B, H, W, C] and masks [B, H, W] of 0 and 1.

        `classes`: uint8 [B, H, W], given if `learns_classes`; see `slice_head.slice_labels`. With `subtypes` they are
        those after random transforms.
        """
        logits, slices = self.apply(params, images, dropout_keys=dropout_keys)
        return self.add_slice_loss(self.loss_of_logits(logits, masks), slices, masks, classes)

    def add_slice_loss(
        self, loss: jax.Array, slices: jax.Array | None, masks: jax.Array, classes: jax.Array | None
    ) -> jax.Array:
        """`loss` [B] and that of the second head; unchanged without one."""
        if slices is None or classes is None:
            return loss
        truth, known = slice_head.slice_labels(classes, masks)
        return loss + self.slice_head_weight * slice_head.slice_loss(slices, truth, known)

    def loss_of_logits(self, logits: jax.Array, truth: jax.Array) -> jax.Array:
        """Training loss of each example: float32 [B], from logits [B, H, W] and a truth [B, H, W] in [0, 1]."""
        if self.focal_gamma:
            weight = self.positive_weight
            loss = losses.focal_loss(logits, truth, gamma=self.focal_gamma, positive_weight=weight)
        else:
            loss = losses.binary_cross_entropy(logits, truth, self.positive_weight)
        if self.dice_weight:
            loss += self.dice_weight * losses.soft_dice_loss(nn.sigmoid(logits), truth)
        return loss

    def validate(self, params: dict, images: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(validation loss [B], probability [B, H, W]), float32; the loss is the unweighted cross-entropy."""
        logits = self.logits(params, images)
        return losses.binary_cross_entropy(logits, masks), nn.sigmoid(logits)

    def validation_truth(self, masks: jax.Array, **stack: jax.Array) -> jax.Array:
        """What the probability of `validate` is compared with, of its shape: the masks."""
        return masks

    def probability(self, params: dict, images: jax.Array) -> jax.Array:
        """Probability of hemorrhage: float32 [B, H, W] in [0, 1]."""
        return nn.sigmoid(self.logits(params, images))

    def predict(self, params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """(probability [B, H, W]; the scores of the second head, float32 [B, 6] in [0, 1], or None)."""
        if not self.slice_head_weight:
            return self.probability(params, images), None
        logits, slices = self.apply(params, images)
        return nn.sigmoid(logits), nn.sigmoid(cast(jax.Array, slices))


def count_parameters(params: dict) -> int:
    """Number of scalars in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
