"""The pose of a brain's mask against NumPy, on turned and shifted ellipsoids."""

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ichjax.ops import brain_pose

FIND, MIRROR = jax.jit(brain_pose.find), jax.jit(brain_pose.mirror)
SHAPE, SPACING_MM = (6, 48, 40), np.array([5.0, 2.0, 2.5], np.float32)


def ellipsoid(center_mm, turn, radii_mm=(14.0, 38.0, 28.0)):
    """bool `SHAPE`; `turn` in radians from rows to columns."""
    z, y, x = (np.arange(n) * mm for n, mm in zip(SHAPE, SPACING_MM, strict=True))
    dz, dy, dx = np.meshgrid(z - center_mm[0], y - center_mm[1], x - center_mm[2], indexing="ij")
    along, across = np.cos(turn) * dy + np.sin(turn) * dx, np.cos(turn) * dx - np.sin(turn) * dy
    return (dz / radii_mm[0]) ** 2 + (along / radii_mm[1]) ** 2 + (across / radii_mm[2]) ** 2 < 1


def by_numpy(mask):
    """(center in mm, turn, size) from the eigenvectors of the covariance in the slices."""
    points = np.argwhere(mask) * SPACING_MM
    covariance = np.cov(points[:, 1:].T, bias=True)
    variances, vectors = np.linalg.eigh(covariance)
    row, column = vectors[:, 1] * np.sign(vectors[0, 1] or 1)
    return points.mean(axis=0), np.arctan2(column, row), np.sqrt(variances).prod() ** 0.5


@settings(max_examples=15)
@given(st.floats(-0.45, 0.45), st.floats(40, 50), st.floats(42, 56))
def test_center_axis_and_size_are_those_of_the_mask(turn, row_mm, column_mm):
    mask = ellipsoid((12.0, row_mm, column_mm), turn)
    pose = FIND(mask, SPACING_MM)
    center, angle, size = by_numpy(mask)
    np.testing.assert_allclose(pose.center_mm, center, atol=1e-3)
    assert float(pose.turn) == pytest.approx(angle, abs=1e-4) == pytest.approx(turn, abs=0.05)
    assert float(pose.size_mm) == pytest.approx(size, rel=1e-4)


def test_positions_are_the_same_for_the_same_place_in_a_turned_and_larger_brain():
    shift, turn = np.array([0.0, 3.0, -4.0]), 0.3
    small = FIND(ellipsoid((12.0, 44.0, 48.0), 0.0), SPACING_MM)
    large = FIND(ellipsoid(np.array([12.0, 44.0, 48.0]) + shift, turn, (14.0, 41.8, 30.8)), SPACING_MM)
    at_small = np.asarray(brain_pose.normalized(small, SPACING_MM, shape=SHAPE))[:, 2, 30, 24]
    along, across = (np.array([60.0, 60.0]) - [44.0, 48.0]) * 1.1  # of pixel (30, 24), in the larger brain
    row = 44.0 + shift[1] + np.cos(turn) * along - np.sin(turn) * across
    column = 48.0 + shift[2] + np.sin(turn) * along + np.cos(turn) * across
    places = np.asarray(brain_pose.normalized(large, SPACING_MM, shape=SHAPE))
    at_large = [ndimage.map_coordinates(place[2], [[row / 2.0], [column / 2.5]], order=1)[0] for place in places]
    np.testing.assert_allclose(at_large[1:], at_small[1:], atol=0.05)


def test_an_unturned_brain_is_mirrored_about_its_center():
    mask = ellipsoid((12.0, 44.0, 48.75), 0.0)
    pose = FIND(mask, SPACING_MM)
    values = np.random.default_rng(0).random(SHAPE, np.float32)
    mirrored = np.asarray(MIRROR(values, pose, SPACING_MM))
    column_sum = round(2 * 48.75 / 2.5)
    columns = np.clip(column_sum - np.arange(SHAPE[2]), 0, SHAPE[2] - 1)
    np.testing.assert_allclose(mirrored, values[:, :, columns], atol=1e-3)


def test_a_turned_brain_is_its_own_mirror_image():
    mask = ellipsoid((12.0, 47.0, 50.0), 0.3)
    mirrored = np.asarray(MIRROR(mask.astype(np.float32), FIND(mask, SPACING_MM), SPACING_MM))
    edge = ndimage.binary_dilation(mask, np.ones((1, 3, 3))) & ~ndimage.binary_erosion(mask, np.ones((1, 3, 3)))
    np.testing.assert_allclose(mirrored[~edge], mask[~edge], atol=1e-3)


def test_an_empty_mask_has_a_pose_and_other_masks_need_no_new_program():
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(brain_pose.find, n=1))
    for mask in (np.zeros(SHAPE, bool), ellipsoid((12.0, 44.0, 48.0), 1.2)):
        pose = traced(mask, SPACING_MM)
        chex.assert_tree_all_finite(pose)
        assert float(pose.turn) == 0.0  # none, or turned too far to be the axis from front to back
    assert float(FIND(np.zeros(SHAPE, bool), SPACING_MM).size_mm) == 1.0
