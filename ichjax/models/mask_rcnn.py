"""A network of regions with masks (Mask R-CNN; He et al., 2017) on a slice and its neighbors, with static shapes.

Anchors on the map at an eighth of the sides propose boxes; the best are classified and corrected, the best of these get
a mask from the map at a fourth. True boxes are those of the connected components of each sub-type in a slice, found on
the device after the random transforms. Of both selections the number of boxes is fixed, and what is empty is masked.
"""

import dataclasses
import functools
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models import region_losses
from ichjax.models.feature_pyramid import HybridPyramid, Pyramid
from ichjax.models.network import Network
from ichjax.models.region_heads import (
    ALIGNED_PX,
    ANCHOR_STRIDE,
    AnchorHead,
    AnchorOutput,
    ClassHead,
    MaskHead,
    RegionOutput,
    regions_of,
)
from ichjax.ops import boxes as box_ops
from ichjax.ops import losses, roi_align, subtypes
from ichjax.ops.component_boxes import ComponentBoxes, component_boxes

PROPOSED_OVERLAP, ACCEPTED_OVERLAP = 0.7, 0.5  # above which the worse of two boxes is dropped
MIN_PROPOSED_PX = 1.0  # shortest side of a proposed box
MIN_SCORE = 0.01  # of an accepted box


class RegionModule(nn.Module):
    """The parts of the network, each called on its own.

    Attributes:
      pyramid: maps images [B, Z, H, W, C] to a `Pyramid`.
      anchor_head, class_head, mask_head: see `region_heads`.
    """

    pyramid: HybridPyramid
    anchor_head: AnchorHead
    class_head: ClassHead
    mask_head: MaskHead

    def __call__(self, slices: jax.Array) -> Any:
        """Calls every part, for the initial parameters."""
        pyramid, anchors = self.propose(slices)
        regions = jnp.zeros((len(slices), 1, ALIGNED_PX, ALIGNED_PX, pyramid.fourth.shape[-1]))
        return anchors, self.classify(regions), self.mask(regions)

    def propose(self, slices: jax.Array) -> tuple[Pyramid, AnchorOutput]:
        """The maps, and what they tell of anchors."""
        pyramid = self.pyramid(slices)
        return pyramid, self.anchor_head(pyramid.eighth)

    def classify(self, regions: jax.Array) -> RegionOutput:
        """As `ClassHead`."""
        return self.class_head(regions)

    def mask(self, regions: jax.Array) -> jax.Array:
        """As `MaskHead`."""
        return self.mask_head(regions)


@dataclasses.dataclass(frozen=True)
class MaskRCNN(Network):
    """The network of a `RegionModule`; `predict` gives sub-types, and the scores of slices are those of its boxes.

    The probability of a pixel is the highest, over accepted boxes, of its mask times its score of any hemorrhage, and
    that of sub-types in proportion to the same with their scores.

    Attributes:
      anchor_sides_px: sides of square anchors of the same area.
      anchor_ratios: heights by widths.
      candidates: anchors with the highest scores, among which proposals are selected.
      proposals: boxes that are classified.
      accepted: boxes that get a mask in prediction.
      true_boxes: of a slice, at most; the largest.
    """

    slice_head_weight: float = 1.0
    subtypes: int = subtypes.SUBTYPE_COUNT
    anchor_sides_px: tuple[float, ...] = (8.0, 20.0, 48.0)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    candidates: int = 256
    proposals: int = 64
    accepted: int = 16
    true_boxes: int = 8

    def init(self, key: jax.Array, side: int) -> dict:
        """Initial parameters for slices of side P, from one PRNG key."""
        slices = jnp.zeros((1, 2 * self.neighbors + 1, side, side, len(self.windows)))
        return self.module.init(key, slices)["params"]

    def loss(
        self,
        params: dict,
        images: jax.Array,
        masks: jax.Array,
        *,
        dropout_keys: jax.Array,
        classes: jax.Array | None = None,
    ) -> jax.Array:
        """As `Network.loss`: of anchors, and of boxes, their classes, places and masks; `dropout_keys` are not used."""
        classes = cast(jax.Array, classes)
        pyramid, anchors = self._propose(params, images)
        boxes, selected = jax.lax.stop_gradient(self._proposals(anchors, images.shape))
        truth = jax.vmap(self._true_boxes)(classes)
        boxes = jnp.concatenate([boxes, truth.boxes], axis=1)  # so that there are positive ones from the start
        selected = jnp.concatenate([selected, truth.classes > 0], axis=1)
        regions = regions_of(pyramid.fourth, boxes)
        output = self._apply(params, regions, method="classify")
        mask_logits = self._apply(params, regions, method="mask")
        planes = subtypes.class_planes(classes)[..., 1:]
        of_region = jax.vmap(self._region_loss)(output, mask_logits, boxes, selected, planes, truth)
        grid = self._anchors(images.shape)
        of_anchor = jax.vmap(lambda a, t: region_losses.anchor_loss(a.logits, a.deltas, grid, t))(anchors, truth)
        return of_region + of_anchor

    def _true_boxes(self, classes: jax.Array) -> ComponentBoxes:
        return component_boxes(classes, class_count=self.subtypes + 1, count=self.true_boxes)

    def _region_loss(
        self,
        output: RegionOutput,
        mask_logits: jax.Array,
        boxes: jax.Array,
        selected: jax.Array,
        planes: jax.Array,
        truth: ComponentBoxes,
    ) -> jax.Array:
        """The loss of the boxes of one slice."""
        positive = region_losses.REGION_POSITIVE
        matched = region_losses.match(boxes, truth, positive=positive, negative=positive, best=False)
        matched = matched._replace(positive=matched.positive & selected, negative=matched.negative & selected)
        loss = region_losses.class_loss(output.logits, truth, matched)
        loss += region_losses.box_loss(output.deltas, boxes, truth, matched)
        return loss + region_losses.mask_loss(mask_logits, boxes, planes, truth, matched)

    def validate(self, params: dict, images: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As `Network.validate`."""
        probability = self.probability(params, images)
        return losses.probability_cross_entropy(probability, masks), probability

    def probability(self, params: dict, images: jax.Array) -> jax.Array:
        """As `Network.probability`."""
        return jnp.minimum(self.predict(params, images)[0].sum(axis=-1), 1.0)

    def predict(self, params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(probability of sub-types [B, H, W, 5], scores [B, 6]: the highest of the proposed boxes)."""
        pyramid, anchors = self._propose(params, images)
        proposed, selected = self._proposals(anchors, images.shape)
        output = self._apply(params, regions_of(pyramid.fourth, proposed), method="classify")
        shares = jax.nn.softmax(output.logits)
        # Any hemorrhage stands last, as in `slice_labels`; an empty place has no score.
        scores = jnp.concatenate([shares[..., 1:], 1.0 - shares[..., :1]], axis=-1) * selected[..., None]
        boxes = self._clipped(box_ops.decode(output.deltas, proposed), images.shape)
        boxes, kept = jax.vmap(self._accepted)(boxes, scores)
        masks = nn.sigmoid(self._apply(params, regions_of(pyramid.fourth, boxes), method="mask"))
        size = images.shape[1], images.shape[2]
        highest = jax.vmap(functools.partial(_pasted, size=size))(masks, boxes, kept)
        of_subtypes, any_hemorrhage = highest[..., :-1], highest[..., -1:]
        total = jnp.maximum(of_subtypes.sum(axis=-1, keepdims=True), 1e-9)
        return any_hemorrhage * of_subtypes / total, scores.max(axis=1)

    def _accepted(self, boxes: jax.Array, scores: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(boxes [A, 4], scores [A, 6], which are 0 in empty places) of those of one slice that get a mask."""
        of_any = jnp.where(scores[:, -1] >= MIN_SCORE, scores[:, -1], -jnp.inf)
        index, there = box_ops.non_maximum_suppression(boxes, of_any, count=self.accepted, max_overlap=ACCEPTED_OVERLAP)
        return boxes[index], scores[index] * there[:, None]

    def _proposals(self, anchors: AnchorOutput, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        """(boxes [B, R, 4], bool [B, R], False in empty places) from the output for anchors of images of a shape."""
        grid = self._anchors(shape)

        def of_slice(logits: jax.Array, deltas: jax.Array) -> tuple[jax.Array, jax.Array]:
            score, index = jax.lax.top_k(logits, min(self.candidates, len(logits)))
            boxes = self._clipped(box_ops.decode(deltas[index], grid[index]), shape)
            large = ((boxes[:, 2:] - boxes[:, :2]) >= MIN_PROPOSED_PX).all(axis=1)
            score = jnp.where(large, score, -jnp.inf)
            index, there = box_ops.non_maximum_suppression(
                boxes, score, count=self.proposals, max_overlap=PROPOSED_OVERLAP
            )
            return jnp.where(there[:, None], boxes[index], 0.0), there

        return jax.vmap(of_slice)(*anchors)

    def _anchors(self, shape: tuple[int, ...]) -> jax.Array:
        height, width = (side // ANCHOR_STRIDE for side in shape[1:3])
        sides, ratios = self.anchor_sides_px, self.anchor_ratios
        return box_ops.anchor_grid(height, width, stride=ANCHOR_STRIDE, sides_px=sides, ratios=ratios)

    def _clipped(self, boxes: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return box_ops.clip(boxes, height=shape[1], width=shape[2])

    def _propose(self, params: dict, images: jax.Array) -> Any:
        slices = images.reshape(*images.shape[:3], 2 * self.neighbors + 1, -1)
        return self._apply(params, jnp.moveaxis(slices, 3, 1), method="propose")

    def _apply(self, params: dict, x: jax.Array, *, method: str) -> Any:
        return self.module.apply({"params": params}, x, method=method)


def _pasted(masks: jax.Array, boxes: jax.Array, scores: jax.Array, *, size: tuple[int, int]) -> jax.Array:
    """The highest, over boxes, of mask times score: float32 [H, W, K], from [A, S, S], [A, 4] and [A, K].

    One box after the other, as all of them would be A times as large as the image.
    """

    def add(highest: jax.Array, one: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        mask, box, score = one
        whole = roi_align.paste(mask[None], box[None], height=size[0], width=size[1])[0]
        return jnp.maximum(highest, whole[..., None] * score[None, None]), None

    start = jnp.zeros((*size, scores.shape[-1]), jnp.float32)
    return jax.lax.scan(add, start, (masks, boxes, scores))[0]
