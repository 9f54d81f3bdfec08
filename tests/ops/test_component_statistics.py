"""Statistics of components against SciPy and NumPy."""

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ichjax.ops import component_statistics as statistics

COUNT = 4
SPACING_MM = np.float32([5.0, 1.0, 0.7])
LARGEST = jax.jit(lambda mask, pixel_ml: statistics.largest(mask, pixel_ml, count=COUNT))
SHAPES = jax.jit(lambda number: statistics.shapes(number, SPACING_MM, count=COUNT))
VALUES = jax.jit(lambda number, image: statistics.values(number, image, count=COUNT))
TO_PIXELS = jax.jit(lambda number, of_component: statistics.to_pixels(number, of_component, outside=-1.0))


def random_scan(seed, share):
    rng = np.random.default_rng(seed)
    mask = rng.random((4, 9, 13)) < share
    return mask, rng.normal(40, 10, mask.shape).astype(np.float32), rng.uniform(0.001, 0.002, 4).astype(np.float32)


def shape_by_numpy(pixels):
    """(centroid, extent, SD along the principal axes, longest axis) of indices [N, 3], in mm."""
    at = (pixels - (np.array([4, 9, 13]) - 1) / 2) * SPACING_MM
    variance, vectors = np.linalg.eigh(np.cov(at.T, bias=True) + np.diag(SPACING_MM**2 / 12))
    return at.mean(axis=0), (np.ptp(pixels, axis=0) + 1) * SPACING_MM, np.sqrt(variance[::-1]), vectors[:, 2]


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.0, 0.15))
def test_the_largest_components_are_scipys_and_their_statistics_numpys(seed, share):
    mask, image, pixel_ml = random_scan(seed, share)
    found = jax.device_get(LARGEST(mask, pixel_ml))
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    volumes = ndimage.sum_labels(np.broadcast_to(pixel_ml[:, None, None], mask.shape), labels, np.arange(1, count + 1))
    expected = np.append(np.sort(volumes)[::-1], np.zeros(COUNT))[:COUNT]
    np.testing.assert_allclose(found.volume_ml, expected, rtol=1e-5)
    assert found.dropped == max(count - COUNT, 0)
    assert (found.number[~mask] == COUNT).all()
    shapes, values = jax.device_get((SHAPES(found.number), VALUES(found.number, image)))
    for k in range(COUNT):
        pixels = found.number == k
        assert pixels.sum() == shapes.pixels[k]
        if k >= count:
            assert not any(np.any(of_all[k]) for of_all in (*shapes, *values))
            continue
        assert len(np.unique(labels[pixels])) == 1
        assert (labels == labels[pixels][0]).sum() == pixels.sum()
        assert shapes.slices[k] == pixels.any(axis=(1, 2)).sum()
        measured = shapes.centroid_mm[k], shapes.extent_mm[k], shapes.axes_mm[k]
        *expected, longest = shape_by_numpy(np.argwhere(pixels))
        for ours, theirs in zip(measured, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        if expected[2][0] > 1.05 * expected[2][1]:  # otherwise the longest axis has no definite direction
            np.testing.assert_allclose(abs(shapes.longest_axis[k] @ longest), 1.0, rtol=1e-3)
        of = image[pixels]
        expected = of.mean(), of.std(), of.min(), of.max()
        np.testing.assert_allclose([of_all[k] for of_all in values], expected, rtol=1e-4, atol=1e-3)


def test_values_of_components_on_their_pixels():
    mask, _, pixel_ml = random_scan(3, 0.1)
    number = LARGEST(mask, pixel_ml).number
    of_component = np.float32([3, 1, 4, 2])
    painted = np.asarray(TO_PIXELS(number, of_component))
    np.testing.assert_array_equal(painted, np.append(of_component, -1)[np.asarray(number)])


def test_the_share_in_a_mask_is_its_mean_and_parts_are_measured_where_the_rest_has_no_number():
    number = np.full((1, 3, 6), COUNT, np.int32)
    number[0, 1, :4] = 0
    contact = np.zeros(number.shape, bool)
    contact[0, 1, 2:] = True
    assert VALUES(number, contact.astype(np.float32)).mean[0] == 0.5
    part = SHAPES(np.where(contact, number, COUNT))
    np.testing.assert_allclose(part.extent_mm[0], SPACING_MM * (1, 1, 2))


def test_a_mask_with_fewer_blocks_than_components_asked_for():
    found = LARGEST(np.ones((1, 2, 2), bool), np.ones(1, np.float32))
    np.testing.assert_array_equal(found.volume_ml, [4, 0, 0, 0])
    assert found.dropped == 0


def test_what_is_outside_components_may_be_infinite():
    image = np.full((1, 1, 4), np.inf, np.float32)
    image[0, 0, :2] = 1, 3
    number = np.where(np.isinf(image), COUNT, 1).astype(np.int32)
    assert [of_all[1] for of_all in VALUES(number, image)] == [2, 1, 1, 3]
