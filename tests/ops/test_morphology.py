"""Morphology against OpenCV, bit for bit."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.ops import morphology
from tests.xla import AS_USERS

SIZES = st.sampled_from([(1, 1), (3, 40), (33, 29)])  # few shapes, since each is compiled
SIDES = st.sampled_from([1, 2, 3, 5, 10, 12])
JITTED = {
    name: jax.jit(getattr(morphology, name), static_argnames="side", compiler_options=AS_USERS)
    for name in ("dilate", "erode", "close", "open")
}
DISK_OPS = {
    "dilate_disk": cv2.MORPH_DILATE,
    "erode_disk": cv2.MORPH_ERODE,
    "open_disk": cv2.MORPH_OPEN,
    "white_top_hat": cv2.MORPH_TOPHAT,
}
WITH_DISK = {name: jax.jit(getattr(morphology, name), static_argnames="radius") for name in DISK_OPS}
CLEAN = jax.jit(lambda masks: morphology.clean(masks, closing=10, opening=5), compiler_options=AS_USERS)


def random_mask(size, density, seed):
    return np.random.default_rng(seed).random(size) < density


def opencv(name, mask, side):
    kernel = np.ones((side, side), np.uint8)
    image = mask.astype(np.uint8)
    if name in ("dilate", "erode"):
        return getattr(cv2, name)(image, kernel) > 0
    operation = {"close": cv2.MORPH_CLOSE, "open": cv2.MORPH_OPEN}[name]
    return cv2.morphologyEx(image, operation, kernel) > 0


@pytest.mark.parametrize("name", ["dilate", "erode", "close", "open"])
@given(SIZES, SIDES, st.floats(0.02, 0.98), st.integers(0, 2**31))
def test_masks_equal_opencv(name, size, side, density, seed):
    mask = random_mask(size, density, seed)
    result = JITTED[name](jnp.asarray(mask), side=side)
    np.testing.assert_array_equal(result, opencv(name, mask, side))


@pytest.mark.parametrize("name", ["dilate", "erode", "close", "open"])
@given(SIZES, SIDES, st.integers(0, 2**31))
def test_grey_levels_equal_opencv(name, size, side, seed):
    image, kernel = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8), np.ones((side, side), np.uint8)
    operation = {n: getattr(cv2, f"MORPH_{n.upper()}") for n in ("dilate", "erode", "close", "open")}[name]
    expected = cv2.morphologyEx(image, operation, kernel)
    np.testing.assert_array_equal(JITTED[name](jnp.asarray(image), side=side), expected)


@pytest.mark.parametrize("name", DISK_OPS)
@given(st.sampled_from([2.3, 6]), st.integers(0, 2**31))
def test_disks_equal_opencv(name, radius, seed):
    image = np.random.default_rng(seed).normal(30, 20, (2, 25, 31)).astype(np.float32)
    y, x = np.mgrid[-int(radius) : int(radius) + 1, -int(radius) : int(radius) + 1]
    disk = (np.hypot(x, y) <= radius).astype(np.uint8)
    expected = [cv2.morphologyEx(plane, DISK_OPS[name], disk) for plane in image]
    np.testing.assert_array_equal(WITH_DISK[name](image, radius=radius), expected)


def test_a_disk_of_a_mask_or_of_whole_numbers_keeps_the_dtype_and_a_negative_radius_is_refused():
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    cross = WITH_DISK["dilate_disk"](mask, radius=1)
    assert cross.dtype == bool
    assert cross.sum() == 5
    image = mask.astype(np.int16) * 7
    np.testing.assert_array_equal(WITH_DISK["white_top_hat"](image, radius=1), image)
    np.testing.assert_array_equal(WITH_DISK["erode_disk"](image, radius=0), image)
    with pytest.raises(ValueError, match=r"-0\.5"):
        morphology.erode_disk(image, radius=-0.5)


@given(st.floats(0.02, 0.9), st.integers(0, 2**31))
def test_the_papers_closing_and_opening_equal_opencv_on_a_stack(density, seed):
    masks = random_mask((3, 61, 47), density, seed)
    for mask, result in zip(masks, np.asarray(CLEAN(jnp.asarray(masks))), strict=True):
        np.testing.assert_array_equal(result, opencv("open", opencv("close", mask, 10), 5))


def test_a_point_dilates_to_a_square_and_back():
    point = np.zeros((7, 7), bool)
    point[3, 3] = True
    square = np.zeros((7, 7), bool)
    square[2:5, 2:5] = True
    np.testing.assert_array_equal(morphology.dilate(jnp.asarray(point), side=3), square)
    np.testing.assert_array_equal(morphology.erode(jnp.asarray(square), side=3), point)
    np.testing.assert_array_equal(morphology.open(jnp.asarray(point), side=2), np.zeros((7, 7), bool))
    full = np.ones((7, 7), bool)
    np.testing.assert_array_equal(morphology.erode(jnp.asarray(full), side=5), full)  # no erosion at the border


def test_side_zero_changes_nothing_and_a_negative_side_is_refused():
    mask = jnp.asarray(random_mask((9, 9), 0.5, 0))
    np.testing.assert_array_equal(morphology.clean(mask, closing=0, opening=0), mask)
    with pytest.raises(ValueError, match="-1"):
        morphology.dilate(mask, side=-1)
