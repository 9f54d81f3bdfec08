"""The regions of Shahangian and Pourghassem (2016): outlined by DRLSE from bright seeds, and described by features."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ichjax.methods.heads import PIXEL_MM, Head
from ichjax.ops import (
    brain_pose,
    component_statistics,
    cupping,
    distance,
    level_sets,
    median,
    morphology,
    texture,
)

REGIONS = 24  # the largest of a scan
MARGIN_MM = 1.0  # at the bone, where bone and brain share pixels
BRAIN_HU = (0.0, 80.0)  # over which mean and SD of the brain are taken
GREY_HU = (0.0, 100.0)  # to grey levels 0 to 255
STEPS, BALLOON = 20, -1.0  # of the level set; it grows to the edges
TEXTURE_LEVELS, HISTOGRAM_LEVELS = 8, 10
LEVELS_HU = (20.0, 90.0)  # of the grey levels of textures and histograms
REGION_CONTACT_MM, DEPTH_SCALE_MM, MAX_REGION_DEPTH_MM = 4.0, 25.0, 100.0
NEAR_FLUID_HU, FLUID_NEAR_PX = (-5.0, 18.0), 9
THIN_SIDE_PX = 5
REGION_FEATURES = (
    "log_volume", "slices", "mean_hu", "sd_hu", "largest_hu", "least_depth", "mean_depth", "largest_depth", "contact",
    "near_fluid", "solidity", "surface", "extent", "flatness", "elongation", "upright_axis", "height", "front_to_back",
    "from_middle", "contrast", "correlation", "energy", "homogeneity",
    *(f"weighted_level_{k}" for k in range(HISTOGRAM_LEVELS)),
)  # fmt: skip


class Regions(NamedTuple):
    """The largest regions of a head.

    Attributes:
      number: int32 [D, h, w], 0 to `REGIONS` - 1 on the pixels of a region, `REGIONS` elsewhere.
      features: float32 [`REGIONS`, F], in the order of `REGION_FEATURES`; finite, also where there is no region.
      there: bool [`REGIONS`].
    """

    number: jax.Array
    features: jax.Array
    there: jax.Array


def outline(head: Head, seed_sd: jax.Array | float) -> Regions:
    """Outlines and describes regions; traceable.

    Args:
      head: the scan.
      seed_sd: seeds are this many SDs of the brain's HU above their mean.
    """
    mm = jnp.stack([jnp.asarray(head.slice_mm, jnp.float32), jnp.float32(PIXEL_MM), jnp.float32(PIXEL_MM)])
    depth_mm = jnp.minimum(distance.distance_mm(~head.inside, mm[1:]), MAX_REGION_DEPTH_MM)
    tissue = head.inside & (depth_mm > MARGIN_MM)
    smooth = cupping.flatten(median.median_3x3(jnp.clip(head.hu, -50.0, 150.0)), depth_mm, head.inside)
    seeds = tissue & (smooth > _seed_hu(smooth, tissue, seed_sd))
    low, high = GREY_HU
    grey = jnp.where(head.inside, jnp.clip((smooth - low) / (high - low), 0.0, 1.0) * 255.0, 0.0)
    phi = level_sets.drlse(
        level_sets.from_mask(morphology.open(seeds, side=3)), level_sets.edge_indicator(grey),
        iterations=STEPS, alf=BALLOON,
    )  # fmt: skip
    mask = (phi < 0) & tissue
    slice_pixel_ml = jnp.full(len(head.hu), PIXEL_MM**2 / 1000.0) * head.slice_mm
    number, volume_ml, _ = component_statistics.largest(mask, slice_pixel_ml, count=REGIONS)
    there = volume_ml > 0
    features = _features(number, volume_ml, mask, smooth, depth_mm, brain_pose.find(head.inside, mm), mm)
    return Regions(number, jnp.where(there[:, None], features, 0.0), there)


def _seed_hu(smooth: jax.Array, tissue: jax.Array, seed_sd: jax.Array | float) -> jax.Array:
    """The HU above which a pixel is a seed."""
    brain = tissue & (smooth >= BRAIN_HU[0]) & (smooth <= BRAIN_HU[1])
    pixels = jnp.maximum(brain.sum(), 1)
    mean = jnp.where(brain, smooth, 0.0).sum() / pixels
    sd = jnp.sqrt(jnp.where(brain, (smooth - mean) ** 2, 0.0).sum() / pixels)
    return mean + seed_sd * jnp.maximum(sd, 1.0)


def _features(
    number: jax.Array,
    volume_ml: jax.Array,
    mask: jax.Array,
    smooth: jax.Array,
    depth_mm: jax.Array,
    pose: brain_pose.Pose,
    mm: jax.Array,
) -> jax.Array:
    """float32 [`REGIONS`, F]."""
    shapes = component_statistics.shapes(number, mm, count=REGIONS)
    fluid = (smooth > NEAR_FLUID_HU[0]) & (smooth < NEAR_FLUID_HU[1]) & (depth_mm > MARGIN_MM)
    near_fluid = morphology.dilate(morphology.open(fluid, side=3), side=FLUID_NEAR_PX)
    place = jnp.abs(brain_pose.normalized(pose, mm, shape=number.shape)[2])
    maps = (
        smooth,
        depth_mm,
        (depth_mm <= REGION_CONTACT_MM).astype(jnp.float32),
        near_fluid.astype(jnp.float32),
        morphology.open(mask, side=THIN_SIDE_PX).astype(jnp.float32),
        morphology.erode(mask, side=3).astype(jnp.float32),
        place,
    )
    hu, depth, contact, near, solid, inner, across = _values(number, maps)
    low, high = LEVELS_HU
    scaled = jnp.clip((smooth - low) / (high - low), 0.0, 0.999)
    level = (scaled * TEXTURE_LEVELS).astype(jnp.int32)
    haralick = texture.texture(number, level, count=REGIONS, levels=TEXTURE_LEVELS)
    histogram = texture.weighted_histogram(
        number, (scaled * HISTOGRAM_LEVELS).astype(jnp.int32), jnp.exp(-depth_mm / DEPTH_SCALE_MM),
        count=REGIONS, levels=HISTOGRAM_LEVELS,
    )  # fmt: skip
    longest, middle, shortest = jnp.maximum(shapes.axes_mm, 1e-3).T
    box_ml = shapes.extent_mm.prod(axis=1) / 1000.0
    middle_mm = (jnp.array(number.shape) - 1) / 2 * mm
    offset = (shapes.centroid_mm + (middle_mm - pose.center_mm)[None]) / pose.size_mm
    columns = (
        jnp.log(jnp.maximum(volume_ml, 1e-3)),
        shapes.slices.astype(jnp.float32),
        hu.mean, hu.sd, hu.largest,
        depth.least, depth.mean, depth.largest,
        contact.mean, near.mean, solid.mean, 1.0 - inner.mean,
        volume_ml / jnp.maximum(box_ml, 1e-3),
        shortest / middle, longest / middle,
        jnp.abs(shapes.longest_axis[:, 0]),
        offset[:, 0], offset[:, 1], across.mean,
        *haralick, *histogram.T,
    )  # fmt: skip
    return jnp.stack(columns, axis=1)


def _values(number: jax.Array, maps: tuple[jax.Array, ...]) -> list[component_statistics.Values]:
    """`component_statistics.values` of each map; in a loop, since each repetition takes longer to compile than run."""
    of_map = lambda image: component_statistics.values(number, image, count=REGIONS)  # noqa: E731
    stacked = jax.lax.map(of_map, jnp.stack(maps))
    return [jax.tree.map(lambda value, k=k: value[k], stacked) for k in range(len(maps))]
