"""What rules on candidate lesions look at: maps of a head, and features of each candidate by them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ichjax.methods.heads import PIXEL_MM, Head
from ichjax.ops import component_statistics, cupping, distance, median, midplane, morphology

CANDIDATES = 24  # the largest of a scan
RIM_MM = 2.0  # next to the inner table, where bone and brain share pixels and nothing is a candidate
CONTACT_MM = 3.5  # depth up to which a candidate touches the inner table
MAX_DEPTH_MM = 100.0
MIDPLANE_BONE_HU = 250.0
CSF_HU = (-5.0, 20.0)  # after the median
CSF_NEAR_MM = 4.0
THIN_PX = 2.5  # radius of the disk that does not fit into what is thin


class Maps(NamedTuple):
    """Maps of a head, float32 [D, h, w] unless noted.

    Attributes:
      smooth: HU, the median of 3 x 3 pixels, without cupping (`ops.cupping`).
      depth_mm: distance from the inner table, in the slice.
      offset_mm: from the mid-plane, positive to the patient's left.
      along_mm: position along the mid-plane, positive to the back; [h, w].
      plane: the mid-plane.
      near_csf: 1 within `CSF_NEAR_MM` of cerebrospinal fluid, 0 elsewhere.
      tissue: bool, inside the skull and its rim.
      spacing_mm: float32 [3].
      slice_pixel_ml: float32 [D].
    """

    smooth: jax.Array
    depth_mm: jax.Array
    offset_mm: jax.Array
    along_mm: jax.Array
    plane: midplane.Midplane
    near_csf: jax.Array
    tissue: jax.Array
    spacing_mm: jax.Array
    slice_pixel_ml: jax.Array


class Lesions(NamedTuple):
    """Features of candidates, float32 [K]; 0 where there is none.

    Attributes:
      volume_ml: volume.
      mean_hu, sd_hu, largest_hu: of the smoothed HU.
      least_depth_mm, mean_depth_mm, depth_mm: distance from the inner table: least, mean and largest.
      contact: share of pixels at the inner table.
      chord_mm: length of the contact: 4 SD along its longest axis, the diameter of an even disk.
      solid: share of pixels that an opening by a disk of `THIN_PX` keeps.
      near_csf: share of pixels near cerebrospinal fluid.
      flatness: shortest principal axis over the middle one.
      elongation: longest principal axis over the middle one.
      midline_mm: mean distance from the mid-plane.
      height, back, side: place in the cavity, about -1 to 1: to the head, to the back, from the mid-plane.
      slices: number of slices.
    """

    volume_ml: jax.Array
    mean_hu: jax.Array
    sd_hu: jax.Array
    largest_hu: jax.Array
    least_depth_mm: jax.Array
    mean_depth_mm: jax.Array
    depth_mm: jax.Array
    contact: jax.Array
    chord_mm: jax.Array
    solid: jax.Array
    near_csf: jax.Array
    flatness: jax.Array
    elongation: jax.Array
    midline_mm: jax.Array
    height: jax.Array
    back: jax.Array
    side: jax.Array
    slices: jax.Array


def maps_of(head: Head) -> Maps:
    """The maps of a head."""
    pixels_mm = jnp.full(2, PIXEL_MM)
    depth_mm = jnp.minimum(distance.distance_mm(~head.inside, pixels_mm), MAX_DEPTH_MM)
    smooth = cupping.flatten(median.median_3x3(head.hu), depth_mm, head.inside)
    plane = midplane.find(head.hu > MIDPLANE_BONE_HU)
    tissue = head.inside & (depth_mm > RIM_MM)
    fluid = tissue & (smooth > CSF_HU[0]) & (smooth < CSF_HU[1])
    fluid = morphology.open_disk(fluid, radius=1.0)
    side = 2 * round(CSF_NEAR_MM / PIXEL_MM) + 1
    height, width = head.hu.shape[1:]
    return Maps(
        smooth,
        depth_mm,
        midplane.offset_px(plane, shape=(height, width)) * PIXEL_MM,
        midplane.along_px(plane, shape=(height, width)) * PIXEL_MM,
        plane,
        morphology.dilate(fluid, side=side).astype(jnp.float32),
        tissue,
        jnp.stack([head.slice_mm, *pixels_mm]),
        jnp.full(len(head.hu), PIXEL_MM**2 / 1000.0) * head.slice_mm,
    )


def measure(mask: jax.Array, maps: Maps) -> tuple[jax.Array, Lesions]:
    """(the number of the candidate of each pixel, int32 [D, h, w], K outside; the candidates' features).

    Args:
      mask: bool [D, h, w], candidates; those beyond the K largest components are left out.
      maps: of the head.
    """
    number, volume_ml, _ = component_statistics.largest(mask, maps.slice_pixel_ml, count=CANDIDATES)
    values = lambda image: component_statistics.values(number, image, count=CANDIDATES)  # noqa: E731
    shapes = component_statistics.shapes(number, maps.spacing_mm, count=CANDIDATES)
    hu, depth, offset = values(maps.smooth), values(maps.depth_mm), values(jnp.abs(maps.offset_mm))
    touching = maps.depth_mm <= CONTACT_MM
    contact = component_statistics.shapes(jnp.where(touching, number, CANDIDATES), maps.spacing_mm, count=CANDIDATES)
    solid = values(morphology.open_disk(mask, radius=THIN_PX).astype(jnp.float32))
    near_csf = values(maps.near_csf)
    cavity = component_statistics.shapes(jnp.where(maps.tissue, 0, 1), maps.spacing_mm, count=1)
    place = (shapes.centroid_mm - cavity.centroid_mm) / jnp.maximum(cavity.extent_mm / 2, 1.0)
    longest, middle, shortest = shapes.axes_mm.T
    there = volume_ml > 0
    found = Lesions(
        volume_ml,
        hu.mean,
        hu.sd,
        hu.largest,
        depth.least,
        depth.mean,
        depth.largest,
        contact.pixels / jnp.maximum(shapes.pixels, 1),
        4 * contact.axes_mm[:, 0],
        solid.mean,
        near_csf.mean,
        shortest / jnp.maximum(middle, 1e-3),
        longest / jnp.maximum(middle, 1e-3),
        offset.mean,
        place[:, 0],
        place[:, 1],
        place[:, 2],
        shapes.slices.astype(jnp.float32),
    )
    return number, jax.tree.map(lambda feature: jnp.where(there, feature, 0.0), found)
