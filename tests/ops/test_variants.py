"""Every op under jit, and with `make faults` under pmap and without, against values by NumPy."""

import functools
import inspect
import pkgutil
from importlib import import_module

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from ichjax import ops
from ichjax.ops import (
    augment,
    augment_hu,
    augment_shape,
    augment_windowed,
    boxes,
    brain_pose,
    component_boxes,
    component_statistics,
    components,
    cupping,
    distance,
    forest,
    hu,
    local_moments,
    losses,
    median,
    metrics,
    midplane,
    morphology,
    multi_region,
    patches,
    resample,
    roi_align,
    skull,
    subtypes,
    svm,
    texture,
    thresholds,
    uncertainty,
)
from tests.ops import contour_cases

rng = np.random.default_rng(0)
HU = rng.integers(-40, 130, (2, 3, 4), dtype=np.int16)
PROBABILITY = rng.random((2, 3, 4), np.float32)
TRUTH = rng.random((2, 3, 4)) < 0.4
SOFT_TRUTH = TRUTH.astype(np.float32)
THRESHOLDS = np.array([0.7, 0.2, 0.5], np.float32)
LEVELS = (PROBABILITY[None] > THRESHOLDS[:, None, None, None]).sum(axis=0).astype(np.uint8)
MASKS = np.stack([threshold < PROBABILITY for threshold in THRESHOLDS])
NO_CLEANING = {"closing": 0, "opening": 0}
COUNTS = (TRUTH.sum((1, 2)), MASKS.sum((2, 3)).T, (MASKS & TRUTH).sum((2, 3)).T)  # [D], [D, T], [D, T]
SCORES = (COUNTS[0], COUNTS[1].T, COUNTS[2].T)
GREY = np.round(np.clip((HU.astype(float) + 20) * 2.125, 0, 255))
CUMULATIVE = np.stack(
    [[(GREY[d] < g).sum() for g in range(257)] for d in range(2)]
    + [[((GREY[d] < g) & TRUTH[d]).sum() for g in range(257)] for d in range(2)]
).reshape(2, 2, 257).swapaxes(0, 1)  # fmt: skip
PATCH = rng.random((1, 1, 1, 4, 4), np.float32)  # one patch covers the slice, so stitching changes nothing
INTERSECTION = (PROBABILITY * SOFT_TRUTH).sum((1, 2))
KEYS, IMAGES = jax.random.split(jax.random.key(0), 2), rng.random((2, 3, 3, 1), np.float32)
STILL = augment.AffineRange(0.0, 0.0, 0.0, 0.0)
IDENTITY = np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1))
SLOPE = np.linspace(0, 1, 5)
DRAWN = {"probability": 1.0}
ONE = (KEYS[0], IMAGES[0], (IMAGES[0, ..., 0] > 0.5).astype(np.float32))  # an example and its key
UNCHANGED = ONE[1:]
HALF = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]], np.float32)  # from 3 samples to 5


def divergence_from_its_mirror():
    """The Jensen-Shannon divergence of p and 1 - p, whose mean is 1/2."""
    p = PROBABILITY.astype(float)
    return np.log(2) + p * np.log(p) + (1 - p) * np.log(1 - p)


def jaccard_of_pairs():
    """The mean Jaccard index of each pair of thresholds, from masks."""
    scores = np.empty((111, 46))
    for row, column in np.ndindex(scores.shape):
        mask = (thresholds.LOWER[row] <= GREY) & (thresholds.UPPER[column] >= GREY)
        scores[row, column] = ((mask & TRUTH).sum((1, 2)) / (mask | TRUTH).sum((1, 2))).mean()
    return scores


def under_kernel(mask, outside):
    """[D, H, W, 4]: the pixels of a mask under a 2 x 2 kernel anchored, as by OpenCV, at its lower right pixel."""
    padded = np.pad(mask, ((0, 0), (1, 0), (1, 0)), constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(padded, (2, 2), (1, 2)).reshape(*mask.shape, 4)


def dilate(mask):
    return under_kernel(mask, False).any(axis=-1)


def erode(mask):
    return under_kernel(mask, True).all(axis=-1)


MIDDLE = midplane.Midplane(np.float32(0), np.float32([2, -0.5]))  # columns 3 and 0.5
MIRRORED = np.full((2, 3, 3), 7, np.float32)
MIRRORED[1, :, :2] = IMAGES[1, :, 1::-1, 0]
POINT = np.zeros((1, 5, 5), np.float32)
POINT[0, 2, 2] = 1
CROSS = POINT + sum(np.roll(POINT, step, axis) for step in (-1, 1) for axis in (1, 2))
TRUE_CLASSES = np.array([[[1, 1, 0, 9]], [[2, 9, 2, 0]]], np.uint8)
PREDICTED_CLASSES = np.array([[[1, 2, 1, 1]], [[2, 2, 0, 2]]], np.uint8)
# Two trees of one split: feature 1 at 0.5 and feature 0 at -1; and a machine for two classes.
STUMPS = forest.Forest(
    np.int32([[1, 0, 0], [0, 0, 0]]),
    np.float32([[0.5, 0, 0], [-1, 0, 0]]),
    np.int32([[1, 2, 1, 1, 2, 2], [1, 2, 1, 1, 2, 2]]),
    np.float32([[[0, 0], [0.9, 0.1], [0.2, 0.8]], [[0, 0], [0.5, 0.5], [0, 1]]]),
    np.int32([1, 1]),
)
MACHINE = svm.Svm(np.eye(2, dtype=np.float32), np.float32([[2, -1]]), np.float32([0.25]), np.float32(0.5))
POINTS = np.float32([[-1, 0.5], [0, 2], [1, 0]])
SQUARES = ((POINTS[:, None] - np.eye(2)) ** 2).sum(axis=2)
DECISIONS = np.float32([[1, -2, 0.5], [-1, -1, -1]])  # of the pairs (0, 1), (0, 2) and (1, 2)
STRAIGHT = brain_pose.Pose(np.float32([0, 1, 1]), np.float32(0), np.float32(1))
QUARTER = brain_pose.Pose(np.float32([1, 2, 3]), np.float32(np.pi / 2), np.float32(2))
ROUGH = HU.astype(np.float32)
IN_SLICE = (HU - HU.mean((1, 2), keepdims=True)) / HU.std((1, 2), keepdims=True)
WHOLE = {"box": (1, 5, 7)}  # reaches all pixels of a slice of 3 x 4 from its middle
# {op: (keyword options, arguments, expected values)}
APART = np.zeros((2, 4, 4), np.float32)  # probabilities of two components, in blocks 0 and 3
APART[0, 0, 0] = APART[1, 3, 3] = 0.75
PIXEL_ML = np.array([0.2, 0.4], np.float32)
NUMBER = np.where(APART > 0, np.array([1, 0]).reshape(2, 1, 1), 2).astype(np.int32)  # by volume
MEASURED = components.Components(
    np.diag(PIXEL_ML)[None], np.where(np.eye(2), 1, -2)[None].astype(np.int32), 0.75 * np.eye(2, dtype=np.float32)[None]
)
GATES = {"high": 0.5, "min_ml": 0.3, "min_slices": 1}
GATED = np.where(APART > 0, np.array([0.5, 0.75]).reshape(2, 1, 1), 0)  # the first is too small
# Two examples of 1 x 2 pixels: IVH and background; unknown sub-type and half EDH, half background.
SHARES = np.float32(
    [
        [[[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [0.9, 0.02, 0.02, 0.02, 0.02, 0.02]]],
        [[[0.2, 0.4, 0.1, 0.1, 0.1, 0.1], [0.4, 0.1, 0.1, 0.1, 0.2, 0.1]]],
    ]
)
CLASS_TRUTH = np.eye(7, dtype=np.float32)[[[[1, 0]], [[6, 4]]]]
CLASS_TRUTH[1, 0, 1, 0] = CLASS_TRUTH[1, 0, 1, 4] = 0.5
CLASS_LOSS = -np.array([3 * np.log(0.1) + np.log(0.9), 3 * np.log(0.8) + 2 * (np.log(0.4) + np.log(0.2)) / 2]) / 2
CLASS_DICE = 1 - np.array([2 / 2.6 + 1.2 / (0.12 + 1 + 1), (2 * (0.8 + 0.3) + 1) / (1.4 + 1.5 + 1) + 1.2 / 1.7]) / 2
TWO_LABELS = np.int32([[0, 0, 1]])
SECOND = np.float32([0, 1]).reshape(2, 1, 1)  # of two regions
TWO_REGIONS = multi_region.Relaxed(np.float32([[[1, 1, 0]], [[0, 0, 1]]]), np.zeros((2, 2, 1, 3), np.float32))
EXTRA_AXIAL = np.array([[[5, 5, 1], [4, 0, 2]], [[0, 0, 3], [0, 0, 0]]])
EXTRA_AXIAL_VOTED = np.array([[[5, 5, 1], [5, 0, 2]], [[0, 0, 3], [0, 0, 0]]])
BOXES = np.float32([[0, 0, 2, 4], [0, 0, 2, 2], [1, 1, 3, 3], [4, 4, 6, 8]])
OVERLAPS = np.array([[1, 0.5, 0.2, 0], [0.5, 1, 1 / 7, 0], [0.2, 1 / 7, 1, 0], [0, 0, 0, 1]])
LOG_HALF = np.log(0.5)
CASES = {
    boxes.overlap: ({}, (BOXES, BOXES), OVERLAPS),
    boxes.encode: (
        {}, (BOXES[1:3], BOXES[[0, 0]]), np.array([[0, -0.25, 0, LOG_HALF], [0.5, 0, 0, LOG_HALF]]),
    ),
    boxes.decode: (
        {}, (np.float32([[0, -0.25, 0, LOG_HALF], [0.5, 0, 0, LOG_HALF]]), BOXES[[0, 0]]), BOXES[1:3],
    ),
    boxes.clip: ({"height": 2, "width": 3}, (BOXES,), np.minimum(BOXES, [2, 3, 2, 3])),
    boxes.non_maximum_suppression: (
        {"count": 3, "max_overlap": 0.4},
        (BOXES, np.float32([1, 2, 1.5, -np.inf])),
        (np.array([1, 2, 0]), np.array([True, True, False])),
    ),
    component_boxes.component_boxes: (
        {"class_count": 2, "count": 1},
        (np.uint8([[2, 0, 1], [0, 2, 1], [0, 0, 1], [0, 0, 1]]),),
        component_boxes.ComponentBoxes(np.array([[0, 2, 4, 3]]), np.array([1])),
    ),
    resample.to_depth: (
        {"depth": 3},
        (np.float32([[[0], [2], [9]], [[6], [9], [9]]]), np.int32([2, 1])),
        np.array([[[0], [1], [2]], [[6], [6], [6]]]),
    ),
    resample.from_depth: (
        {"length": 5},
        (np.float32([[[0], [4]], [[2], [6]]]), np.int32([4, 1])),
        np.array([[[0], [1], [3], [4], [4]], [[4], [6], [6], [6], [6]]]),
    ),
    roi_align.align: (
        {"size": 1, "samples": 1},
        (np.float32([[[[1], [2]], [[3], [4]]]]), np.float32([[[0, 0, 2, 2], [0, 1, 1, 2]]])),
        np.array([2.5, 2]).reshape(1, 2, 1, 1, 1),
    ),
    roi_align.paste: (
        {"height": 2, "width": 4},
        (np.float32([[[0.5]]]), np.float32([[0, 1, 1, 3]])),
        np.array([[[0, 0.5, 0.5, 0], [0, 0, 0, 0]]]),
    ),
    skull.inside_skull: ({}, (HU, np.full(3, 5, np.float32)), (np.ones(HU.shape, bool), np.bool_(False))),
    hu.window: ({"level": 40.0, "width": 120.0}, (HU,), np.clip((HU.astype(float) + 20) / 120, 0, 1)),
    hu.windows: (
        {"levels_and_widths": ((40.0, 120.0), (60.0, 60.0))},
        (HU,),
        np.stack([np.clip((HU.astype(float) - low) / width, 0, 1) for low, width in ((-20, 120), (30, 60))], -1),
    ),
    hu.mark_corner: ({}, (IMAGES,), np.where(np.arange(9).reshape(3, 3, 1) == 8, 1, IMAGES)),
    hu.grey_levels: ({}, (HU,), GREY),
    losses.probability_cross_entropy: (
        {},
        (PROBABILITY, SOFT_TRUTH),
        -np.log(np.where(TRUTH, PROBABILITY, 1 - PROBABILITY)).mean((1, 2)),
    ),
    losses.binary_cross_entropy: (
        {"positive_weight": 3.0},
        (np.log(PROBABILITY / (1 - PROBABILITY)), SOFT_TRUTH),
        -np.where(TRUTH, 3 * np.log(PROBABILITY), np.log(1 - PROBABILITY)).mean((1, 2)),
    ),
    losses.focal_loss: (
        {"gamma": 2.0, "positive_weight": 3.0},
        (np.log(PROBABILITY / (1 - PROBABILITY)), SOFT_TRUTH),
        -np.where(TRUTH, 3 * np.log(PROBABILITY) * (1 - PROBABILITY) ** 2, np.log(1 - PROBABILITY) * PROBABILITY**2)
        .mean((1, 2)),
    ),
    losses.weighted_cross_entropy: (
        {"positive_weight": 3.0},
        (np.log(PROBABILITY / (1 - PROBABILITY)), SOFT_TRUTH, PROBABILITY),
        -(np.where(TRUTH, 3 * np.log(PROBABILITY), np.log(1 - PROBABILITY)) * PROBABILITY).mean((1, 2)),
    ),
    losses.boundary_weights: (
        {"weight": 5.0, "decay_px": 2.0},
        (np.arange(4)[None, None] + np.zeros((2, 2, 1)) > np.array([1, 9]).reshape(2, 1, 1),),
        1 + 5 * np.exp([[[-1, -0.5, -0.5, -1]], [[-np.inf] * 4]]).repeat(2, axis=1),
    ),
    losses.soft_dice_loss: (
        {},
        (PROBABILITY, SOFT_TRUTH),
        1 - (2 * INTERSECTION + 1) / (PROBABILITY.sum((1, 2)) + TRUTH.sum((1, 2)) + 1),
    ),
    losses.soft_overlap: (
        {},
        (PROBABILITY, SOFT_TRUTH),
        (INTERSECTION, (PROBABILITY + SOFT_TRUTH).sum((1, 2)) - INTERSECTION),
    ),
    median.median_3x3: ({}, (3 * POINT + CROSS,), np.zeros((1, 5, 5)) + (POINT > 0)),
    metrics.count_pixels: ({}, (TRUTH,), COUNTS[0]),
    metrics.levels: (NO_CLEANING, (PROBABILITY, THRESHOLDS), LEVELS),
    metrics.ranks: ({}, (THRESHOLDS,), [3, 1, 2]),
    metrics.masks_at: (NO_CLEANING, (PROBABILITY, THRESHOLDS), MASKS),
    metrics.counts_at: ({}, (LEVELS, THRESHOLDS, TRUTH), COUNTS),
    metrics.score: (NO_CLEANING, (PROBABILITY, TRUTH, THRESHOLDS), SCORES),
    metrics.class_counts: (
        {"classes": 2, "unknown": 9},
        (PREDICTED_CLASSES, TRUE_CLASSES),
        (np.array([2, 2]), np.array([2, 3]), np.array([1, 1]), np.array(2)),
    ),
    midplane.mirrored_patches: (
        {"side": 3, "outside": -9},
        (HU[:, :2], np.int32([0, 1]), np.int32([2, 5]), np.int32([4, 3])),
        np.stack([HU[0, :2, 2::-1], np.stack([np.full(2, -9), np.full(2, -9), HU[1, :2, 2]], axis=1)]),
    ),
    midplane.with_mirrored: (
        {"outside": 7},
        (IMAGES, np.int32(3)),
        np.concatenate([IMAGES, np.concatenate([np.full((2, 3, 1, 1), 7), IMAGES[:, :, :0:-1]], axis=2)], axis=3),
    ),
    midplane.find: ({}, (HU > 9999,), midplane.Midplane(np.float32(0), np.zeros(2))),
    midplane.offset_px: ({"shape": (1, 3)}, (MIDDLE,), np.array([[[-3, -2, -1]], [[-0.5, 0.5, 1.5]]])),
    midplane.along_px: ({"shape": (3, 2)}, (MIDDLE,), np.array([[-1, -1], [0, 0], [1, 1]])),
    midplane.mirror: ({"outside": 7.0}, (IMAGES[..., 0], MIDDLE), MIRRORED),
    morphology.dilate: ({"side": 2}, (TRUTH,), dilate(TRUTH)),
    morphology.erode: ({"side": 2}, (TRUTH,), erode(TRUTH)),
    morphology.close: ({"side": 2}, (TRUTH,), erode(dilate(TRUTH))),
    morphology.open: ({"side": 2}, (TRUTH,), dilate(erode(TRUTH))),
    morphology.clean: ({"closing": 2, "opening": 2}, (TRUTH,), dilate(erode(erode(dilate(TRUTH))))),
    morphology.dilate_disk: ({"radius": 1.0}, (POINT,), CROSS),
    morphology.erode_disk: ({"radius": 1.0}, (-POINT,), -CROSS),
    morphology.open_disk: ({"radius": 1.0}, (POINT + CROSS,), CROSS),
    morphology.white_top_hat: ({"radius": 1.0}, (POINT + CROSS,), POINT),
    multi_region.from_labels: ({"regions": 2}, (TWO_LABELS,), TWO_REGIONS),
    multi_region.minimize: (
        {"steps": 2},  # the second region costs much
        (TWO_REGIONS, 9 * SECOND * np.ones((1, 1, 3), np.float32), np.zeros((1, 3), np.float32)),
        multi_region.Relaxed(np.eye(2)[:1].T.reshape(2, 1, 1) * np.ones((1, 1, 3)), np.zeros((2, 2, 1, 3))),
    ),
    multi_region.energy: (
        {},
        (TWO_REGIONS.shares, SECOND + TWO_REGIONS.shares, np.float32([[3, 0.25, 3]])),
        np.array(3 + 1 + 2 * 0.25),
    ),
    multi_region.evolve: (
        {"b": 0.0, "c": 0.0, "smoothness": 0.5, "outer": 2, "inner": 3},
        (np.abs(0.999 - SECOND) * np.ones((1, 1, 3), np.float32), ROUGH[0, :1, :3], TWO_LABELS, TWO_LABELS < 2),
        np.array([1, 0]).reshape(2, 1, 1) * np.ones((1, 1, 3)),
    ),
    patches.extract: (
        {"side": 2, "stride": 1},
        (HU,),
        np.lib.stride_tricks.sliding_window_view(HU, (2, 2), (1, 2)),
    ),
    patches.cut: (
        {"height": 2, "width": 3},
        (HU, np.int32([1, 0, 1]), np.int32([1, 0, 0]), np.int32([0, 1, 1])),
        np.stack([HU[1, 1:3, :3], HU[0, :2, 1:4], HU[1, :2, 1:4]]),
    ),
    patches.min_max_stretch: ({}, (PATCH,), (PATCH - PATCH.min()) / np.ptp(PATCH)),
    patches.stitch: ({"stride": 2}, (np.ones((1, 2, 3, 4, 4), np.float32),), np.ones((1, 6, 8))),
    patches.stitch_8bit: ({"stride": 4}, (PATCH,), np.floor(PATCH[:, 0, 0] * 255) / 256),
    resample.line_weights: (
        {"to_size": 5, "to_spacing": 0.5, "padded_size": 3},
        (np.int32(3), np.float32(1)),
        HALF,
    ),
    resample.resample: (
        {},
        (PROBABILITY, HALF, np.eye(4, dtype=np.float32)),
        np.einsum("ah,nhw->naw", HALF, PROBABILITY),
    ),
    thresholds.cumulative_histograms: ({}, (HU, TRUTH), CUMULATIVE),
    thresholds.mean_jaccard_of_pairs: ({}, (CUMULATIVE.astype(np.int32),), jaccard_of_pairs()),
    thresholds.between: ({"lower": 50, "upper": 100}, (HU,), (GREY >= 50) & (GREY <= 100)),
    uncertainty.jensen_shannon: ({}, ([PROBABILITY, 1 - PROBABILITY],), divergence_from_its_mirror()),
    uncertainty.highest_patches: ({"side": 2, "count": 1}, (np.eye(4, dtype=np.float32)[None],), 0.5),
    augment.sample_affine: ({"side": 8, "ranges": STILL}, (KEYS[0],), IDENTITY[0]),
    augment.warp: ({}, (IMAGES, IDENTITY), IMAGES),
    augment.bilinear: (
        {},
        (IMAGES[0], np.array([[0.5, -3]], np.float32), np.array([[1, 9]], np.float32)),
        np.stack([IMAGES[0, :2, 1].mean(axis=0), IMAGES[0, 0, 2]])[None],
    ),
    augment.augment: ({"ranges": STILL}, (KEYS, IMAGES, (IMAGES[..., 0] > 0.5).astype(np.float32)),
                      (IMAGES, IMAGES[..., 0] > 0.5)),
    components.label: ({}, (APART > 0,), np.where(APART > 0, np.array([0, 3]).reshape(2, 1, 1), -1)),
    components.measure: ({"low": 0.5}, (APART, PIXEL_ML), MEASURED),
    components.apply_gates: ({"low": 0.5, **GATES}, (APART, MEASURED), GATED),
    components.gate: ({"low": 0.5, **GATES}, (APART, PIXEL_ML), GATED),
    component_statistics.largest: (
        {"count": 2},
        (APART > 0, PIXEL_ML),
        component_statistics.Largest(NUMBER, np.float32([0.4, 0.2]), np.int32(0)),
    ),
    component_statistics.shapes: (
        {"count": 1},
        (np.int32([[[0, 0, 1]]]), np.ones(3, np.float32)),
        component_statistics.Shapes(
            np.array([2]), np.array([1]), np.array([[0, 0, -0.5]]), np.array([[1, 1, 2]]),
            np.sqrt([[1 / 3, 1 / 12, 1 / 12]]), np.array([[0, 0, 1]]),
        ),
    ),
    component_statistics.values: (
        {"count": 2},
        (NUMBER, HU.repeat(2, axis=1)[:, :4].astype(np.float32)),
        component_statistics.Values(
            HU[[1, 0], [1, 0], [3, 0]], np.zeros(2), HU[[1, 0], [1, 0], [3, 0]], HU[[1, 0], [1, 0], [3, 0]]
        ),
    ),
    component_statistics.to_pixels: (
        {"outside": 9.0},
        (NUMBER, np.float32([7, 8])),
        np.select([NUMBER == 0, NUMBER == 1], [7, 8], 9),
    ),
    cupping.flatten: ({}, (PROBABILITY, 3 + PROBABILITY, TRUTH), PROBABILITY),
    distance.distance_mm: ({}, (np.eye(4, dtype=bool)[:1], np.float32([1, 2])), 2.0 * np.arange(4)[None]),
    local_moments.local_moments: (
        WHOLE,
        (ROUGH, np.ones(HU.shape, bool)),
        local_moments.Moments(
            *(np.broadcast_to(each, HU.shape) for each in (
                HU.mean((1, 2), keepdims=True), HU.std((1, 2), keepdims=True),
                (IN_SLICE**3).mean((1, 2), keepdims=True), (IN_SLICE**4).mean((1, 2), keepdims=True),
            ))
        ),
    ),
    local_moments.box_sum: (
        WHOLE, (ROUGH,), np.broadcast_to(HU.sum((1, 2), keepdims=True), HU.shape)
    ),
    local_moments.box_mean: (
        WHOLE, (ROUGH, TRUTH),
        np.where(TRUTH, ((HU * TRUTH).sum((1, 2)) / TRUTH.sum((1, 2)))[:, None, None], 0),
    ),
    local_moments.masked_gaussian: (
        {"sigma_mm": 1e4},
        (ROUGH, TRUTH, np.float32([5, 1, 1])),
        np.where(TRUTH, HU[TRUTH].mean(), 0),
    ),
    texture.texture: (
        {"count": 2, "levels": 3},
        (np.int32([[[0, 0, 0], [0, 2, 1]]]), np.int32([[[0, 1, 1], [0, 2, 2]]])),
        texture.Texture(
            np.array([1 / 3, 0]), np.array([1 / 3, 0]), np.array([5 / 18, 0]), np.array([5 / 6, 0])
        ),
    ),
    texture.weighted_histogram: (
        {"count": 2, "levels": 3},
        (np.int32([[[0, 0, 2]]]), np.int32([[[0, 2, 1]]]), np.float32([[[0.2, 0.6, 1]]])),
        np.array([[0.25, 0, 0.75], [0, 0, 0]]),
    ),
    forest.predict_where: (
        {"label": 1},
        (STUMPS, POINTS.T[:, None, None], np.bool_([[[1, 0, 1]]])),
        np.array([[[0.3, 0, 0.55]]]),
    ),
    brain_pose.find: (
        {},
        (np.eye(3, dtype=bool)[[1, 1]][:, :, None], np.float32([5, 2, 3])),
        brain_pose.Pose(np.array([2.5, 2, 0]), np.array(0), np.array(1)),
    ),
    brain_pose.normalized: (
        {"shape": (2, 1, 2)},
        (QUARTER, np.float32([5, 2, 3])),
        np.float32([[[[-0.5, -0.5]], [[2, 2]]], [[[-1.5, 0]], [[-1.5, 0]]], [[[1, 1]], [[1, 1]]]]),
    ),
    brain_pose.mirror: (
        {},
        (ROUGH, STRAIGHT, np.float32([5, 1, 1])),
        ROUGH[:, :, [2, 1, 0, 0]],
    ),
    forest.predict: ({}, (STUMPS, POINTS), np.array([[0.7, 0.3], [0.1, 0.9], [0.45, 0.55]])),
    svm.decide: ({}, (MACHINE, POINTS), np.exp(-SQUARES / 2) @ [[2], [-1]] + 0.25),
    svm.class_scores: (
        {"classes": 3},
        (DECISIONS,),
        np.array([[1 - 1 / 6, 1 - 0.5 / 4.5, 1 + 1.5 / 7.5], [0 - 2 / 9, 1, 2 + 2 / 9]]),
    ),
    losses.class_cross_entropy: ({"positive_weight": 3.0}, (np.log(SHARES), CLASS_TRUTH), CLASS_LOSS),
    losses.class_dice_loss: ({}, (SHARES, CLASS_TRUTH), CLASS_DICE),
    subtypes.class_planes: ({}, (np.uint8([[0, 5], [3, 255]]),), np.eye(7)[[[0, 5], [3, 6]]]),
    subtypes.classes_of_planes: (
        {},
        (np.float32([[[0.2, 0, 0, 0.7, 0, 0.1], [0, 0, 0, 0, 0, 1]]]), np.float32([[1, 0]])),
        np.array([[4, 0]]),
    ),
    subtypes.vote: ({}, (np.uint8(EXTRA_AXIAL),), EXTRA_AXIAL_VOTED),
    subtypes.class_mask: ({}, (np.eye(6, dtype=np.float32)[EXTRA_AXIAL], EXTRA_AXIAL > 0), EXTRA_AXIAL_VOTED),
    augment_shape.affine: ({"rotation_degrees": 0.0, "zoom": 0.0, "shift": 0.0, **DRAWN}, ONE, UNCHANGED),
    augment_shape.elastic: ({"displacement_px": 0.0, "spacing_px": 2, **DRAWN}, ONE, UNCHANGED),
    augment_shape.mirror: (DRAWN, ONE, (ONE[1][:, ::-1], ONE[2][:, ::-1])),
    augment_hu.shift_and_scale: ({"shift_hu": 0.0, "scale": 0.0, **DRAWN}, ONE, UNCHANGED),
    augment_hu.noise: ({"std_hu": 0.0, "correlation_px": 1.0, **DRAWN}, ONE, UNCHANGED),
    augment_hu.blur: ({"sigma_px": 0.0, **DRAWN}, ONE, UNCHANGED),
    augment_hu.low_resolution: ({"lowest": 1.0, **DRAWN}, ONE, UNCHANGED),
    augment_hu.cupping: ({"bias_hu": 0.0, "bone_px": 1.0, **DRAWN}, ONE, UNCHANGED),
    augment_hu.average_slices: (DRAWN, ONE, UNCHANGED),
    augment_windowed.gamma: ({"strength": 0.0, **DRAWN}, ONE, UNCHANGED),
    augment_windowed.blank: (
        {"count": 2, "smallest": 1.0, "largest": 1.0, **DRAWN},
        ONE,
        (np.broadcast_to(IMAGES[0].mean(axis=(0, 1)), IMAGES[0].shape), ONE[2]),
    ),
} | contour_cases.CASES  # fmt: skip
NOT_OPS = {patches.grid_shape, boxes.anchor_grid}  # of integers
DTYPES = {
    np.bool_: [metrics.masks_at, morphology.dilate, morphology.erode, morphology.close, morphology.open,
               morphology.clean, thresholds.between],
    np.int32: [hu.grey_levels, metrics.count_pixels, metrics.ranks, metrics.counts_at, metrics.score,
               metrics.class_counts, thresholds.cumulative_histograms],
    np.int16: [patches.extract, patches.cut, midplane.mirrored_patches],
    np.uint8: [metrics.levels, subtypes.vote, subtypes.class_mask, subtypes.classes_of_planes],
}  # fmt: skip
DTYPE_OF = (
    contour_cases.DTYPES
    | {
        skull.inside_skull: bool,
        components.label: np.int32,
        boxes.non_maximum_suppression: (np.int32, bool),
        component_boxes.component_boxes: (np.float32, np.int32),
        components.measure: (np.float32, np.int32, np.float32),
        component_statistics.largest: (np.int32, np.float32, np.int32),
        component_statistics.shapes: (np.int32, np.int32, *[np.float32] * 4),
    }
    | {op: dtype for dtype, of in DTYPES.items() for op in of}
)
NAMED = [(f"{op.__module__.rsplit('.')[-1]}_{op.__name__}", op) for op in CASES]


def test_random_changes_of_an_example_take_the_key_first_and_options_by_name():
    for module in (augment_shape, augment_hu, augment_windowed):
        ops = [op for op in CASES if op.__module__ == module.__name__]
        for parameters in (list(inspect.signature(op).parameters.values()) for op in ops):
            assert [parameter.name for parameter in parameters[:4]] == ["key", "image", "mask", "probability"]
            assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters[3:])


def test_the_table_holds_every_public_function_of_every_module():
    modules = [import_module(f"ichjax.ops.{module.name}") for module in pkgutil.iter_modules(ops.__path__)]
    functions = {
        value
        for module in modules
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert functions == set(CASES) | NOT_OPS


class Checked(chex.TestCase):
    def check(self, op, *, calls):
        options, arguments, expected = CASES[op]
        chex.clear_trace_counter()
        function = self.variant(functools.partial(chex.assert_max_traces(op, n=1), **options))
        for _ in range(calls):
            result = function(*arguments)
        expected = jax.tree.map(np.asarray, expected, is_leaf=lambda x: isinstance(x, list))
        chex.assert_trees_all_equal_shapes(result, expected)
        chex.assert_type(jax.tree.leaves(result), DTYPE_OF.get(op, np.float32))
        chex.assert_trees_all_close(result, jax.tree.map(lambda x: x.astype(float), expected), rtol=1e-5, atol=1e-6)


class Variants(Checked):
    @chex.variants(with_jit=True)
    @parameterized.named_parameters(NAMED)
    def test_values_shapes_and_dtypes(self, op):
        self.check(op, calls=2)  # the second must not trace it again


@pytest.mark.faults  # the same programs once more
class WithPmap(Checked):
    @chex.variants(with_pmap=True)
    @parameterized.named_parameters(NAMED)
    def test_values_shapes_and_dtypes(self, op):
        self.check(op, calls=2)


@pytest.mark.faults  # operation by operation: minutes, and no program here runs an op so
class WithoutJit(Checked):
    @chex.variants(without_jit=True, with_device=True, without_device=True)
    @parameterized.named_parameters(NAMED)
    def test_values_shapes_and_dtypes(self, op):
        self.check(op, calls=1)


WRONG = {
    "loss_of_an_extra_axis": lambda: losses.binary_cross_entropy(PROBABILITY, SOFT_TRUTH[..., None]),
    "overlap_of_one_slice": lambda: losses.soft_overlap(PROBABILITY, SOFT_TRUTH[:1]),
    "dice_of_one_column": lambda: losses.soft_dice_loss(PROBABILITY, SOFT_TRUTH[..., :1]),
    "true_classes_of_one_slice": lambda: metrics.class_counts(
        PREDICTED_CLASSES, TRUE_CLASSES[:1], classes=2, unknown=9
    ),
    "counts_of_one_slice": lambda: metrics.counts_at(LEVELS, THRESHOLDS, TRUTH[:1]),
    "levels_of_a_column_of_thresholds": lambda: metrics.levels(PROBABILITY, THRESHOLDS[:, None], **NO_CLEANING),
    "patches_of_one_row": lambda: patches.cut(
        HU, np.zeros(2, np.int32), np.zeros(1, np.int32), np.zeros(2, np.int32), height=2, width=2
    ),
    "mirrored_patches_about_one_plane": lambda: midplane.mirrored_patches(
        HU, np.zeros(2, np.int32), np.zeros(1, np.int32), np.zeros(2, np.int32), side=2, outside=0
    ),
    "patches_that_are_not_square": lambda: patches.stitch(jnp.ones((1, 2, 2, 4, 2)), stride=2),
    "weights_of_two_spacings": lambda: resample.line_weights(3, SLOPE, 5, 0.5, 3),
    "warp_by_one_transform": lambda: augment.warp(IMAGES, IDENTITY[:1]),
    "focal_loss_of_one_column": lambda: losses.focal_loss(PROBABILITY, SOFT_TRUTH[..., :1], gamma=2.0),
    "mask_of_another_size": lambda: augment_shape.mirror(KEYS[0], IMAGES[0], IMAGES[0, :2, :, 0], probability=1.0),
    "histograms_of_a_transposed_mask": lambda: thresholds.cumulative_histograms(HU, TRUTH.swapaxes(1, 2)),
    "pairs_of_a_coarser_histogram": lambda: thresholds.mean_jaccard_of_pairs(CUMULATIVE[..., ::2]),
    "classes_without_the_unknown": lambda: losses.class_cross_entropy(np.log(SHARES), CLASS_TRUTH[..., :-1]),
    "dice_of_one_example": lambda: losses.class_dice_loss(SHARES, CLASS_TRUTH[:1]),
    "planes_with_the_background": lambda: subtypes.classes_of_planes(CLASS_TRUTH, CLASS_TRUTH[..., 0]),
    "classes_of_one_slice": lambda: subtypes.class_mask(np.ones((2, 3, 4, 6), np.float32), TRUTH[:1]),
    "moments_in_one_slice": lambda: local_moments.local_moments(ROUGH, TRUTH[:1]),
    "means_in_one_slice": lambda: local_moments.box_mean(ROUGH, TRUTH[:1]),
    "smoothing_in_one_slice": lambda: local_moments.masked_gaussian(ROUGH, TRUTH[:1], np.ones(3), sigma_mm=1.0),
    "texture_of_one_slice": lambda: texture.texture(NUMBER, NUMBER[:1], count=2, levels=3),
    "a_histogram_of_one_slice": lambda: texture.weighted_histogram(NUMBER, NUMBER, ROUGH[:1], count=2, levels=3),
    "a_machine_of_two_features": lambda: svm.decide(MACHINE, POINTS[:, :1]),
    "decisions_of_three_pairs": lambda: svm.class_scores(DECISIONS, classes=4),
    "overlaps_of_one_box": lambda: boxes.overlap(BOXES[0], BOXES),
    "scores_of_one_box": lambda: boxes.non_maximum_suppression(BOXES, np.ones(1), count=2, max_overlap=0.5),
    "targets_for_one_anchor": lambda: boxes.encode(BOXES, BOXES[:1]),
    "regions_of_one_example": lambda: roi_align.align(np.ones((2, 4, 4, 1)), BOXES[None], size=2),
    "masks_for_one_box": lambda: roi_align.paste(np.ones((2, 4, 4)), BOXES[:1], height=4, width=4),
    "the_depth_of_one_scan": lambda: resample.to_depth(np.ones((2, 4, 1)), np.ones(1, int), depth=3),
    "between_two_lower_levels": lambda: thresholds.between(HU, np.arange(4), 100),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_shape_that_would_broadcast_is_refused(name):
    with pytest.raises(AssertionError):
        WRONG[name]()
