"""A hybrid 3-D and 2-D network of regions with masks, of the kind of Chang et al. (2018).

Published on 10,159 scans for training and 862 for testing: detection AUC 0.97, sensitivity 0.95, specificity 0.97,
segmentation Dice 0.85. Five slices of 512 x 512 pixels are convolved in 3-D without pooling along z, and projected to
2-D before the way down of a feature pyramid; anchors propose boxes, which are classified as intraparenchymal, epidural
or subdural, subarachnoid or none, and get a mask; a second phase of training is on examples that were hard. Ours
differs in what could not be found (channels, layers and anchors, of this kind here); group normalization is added; all
five sub-types are classes, so that epidural and subdural ones are apart and intraventricular ones are found; one mask
serves all classes of a box; true boxes are those of the components of each sub-type in a slice; the hardest boxes count
in every update, in place of a second phase; the mask's cut is fitted on training scans; the default sees slices of
128 x 128 pixels and proposes 24 boxes in place of 64.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.methods.base import Prediction
from ichjax.methods.classifier_method import AttentionMethod
from ichjax.methods.own_settings import configured
from ichjax.methods.patch_network import PatchNetworkParams
from ichjax.methods.sequence_method import whole_slices
from ichjax.methods.volume_method import dtype_of
from ichjax.models.feature_pyramid import HybridPyramid
from ichjax.models.mask_rcnn import MaskRCNN, RegionModule
from ichjax.models.region_heads import AnchorHead, ClassHead, MaskHead
from ichjax.models.unet import network_fields
from ichjax.ops.subtypes import SUBTYPE_COUNT
from ichjax.scan.volume import Volume

SLICES_BESIDE = 2  # above and below the slice, each
SIDE_MULTIPLE = 16  # the coarsest level has a sixteenth of the sides


class ChangMethod(AttentionMethod):
    """Boxes around hemorrhages on a slice, their sub-types and masks."""

    title = "Chang 2018"
    card = "A hybrid 3-D and 2-D network of regions with masks and sub-types, of the kind of Chang et al. 2018"
    name, reference = "chang", "chang_2018"
    segments_subtypes = True
    defaults: ClassVar[dict[str, Any]] = {
        "widths": (8, 16, 24, 32),
        "features": 16,
        "convolutions": 1,
        "hidden": 64,
        "mask_convolutions": 2,
        "anchor_sides_px": (8.0, 20.0, 48.0),
        "anchor_ratios": (0.5, 1.0, 2.0),
        "candidates": 128,
        "proposals": 24,
        "accepted": 8,
        "true_boxes": 8,
        "windows": ((40.0, 80.0),),
        "grid": {"side": 128},
        "train": {
            "epochs": 12,
            "batch_size": 4,
            "examples_per_epoch": 240,
            "negatives": "matched",
            "sampling": "patches",
            "learning_rate": 3e-3,
        },
    }

    def __init__(self, config: Config):
        changed, options = configured(config, self.name, self.defaults)
        changed = whole_slices(changed)
        changed.model.neighbors = SLICES_BESIDE
        fields = network_fields(changed) | {"slice_head_weight": 1.0, "side_multiple": SIDE_MULTIPLE}
        anchors: dict[str, Any] = {name: tuple(options[name]) for name in ("anchor_sides_px", "anchor_ratios")}
        counts: dict[str, Any] = {name: options[name] for name in ("candidates", "proposals", "accepted", "true_boxes")}
        super().__init__(changed, MaskRCNN(_module(changed, options), **fields, **anchors, **counts))
        self.mode = "whole slices with two neighbors on each side, boxes and their masks"

    def predict(self, params: PatchNetworkParams, volume: Volume, *, prior: jax.Array | None = None) -> Prediction:
        """As `AttentionMethod.predict`; sub-types share the probability that is 1/2 at the cut as they did before."""
        prediction = super().predict(params, volume, prior=prior)
        assert prediction.class_probability is not None
        shares = prediction.class_probability[..., 1:]
        shares = shares / jnp.maximum(shares.sum(axis=-1, keepdims=True), 1e-9)
        bleeding = jnp.where(shares.any(axis=-1), prediction.probability, 0.0)[..., None]
        classes = jnp.concatenate([1.0 - bleeding, bleeding * shares], axis=-1)
        return prediction._replace(class_probability=classes)


def _module(config: Config, options: dict[str, Any]) -> RegionModule:
    dtype = dtype_of(config)
    anchors = len(options["anchor_sides_px"]) * len(options["anchor_ratios"])
    return RegionModule(
        HybridPyramid(tuple(options["widths"]), options["features"], options["convolutions"], dtype),
        AnchorHead(anchors, dtype),
        ClassHead(SUBTYPE_COUNT, options["hidden"]),
        MaskHead(options["mask_convolutions"], dtype),
    )


make = ChangMethod
