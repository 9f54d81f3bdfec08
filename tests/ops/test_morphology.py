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
PAPERS = jax.jit(lambda masks: morphology.clean(masks, closing=10, opening=5), compiler_options=AS_USERS)


def random_mask(size, share, seed):
    return np.random.default_rng(seed).random(size) < share


def opencv(name, mask, side):
    kernel = np.ones((side, side), np.uint8)
    image = mask.astype(np.uint8)
    if name in ("dilate", "erode"):
        return getattr(cv2, name)(image, kernel) > 0
    operation = {"close": cv2.MORPH_CLOSE, "open": cv2.MORPH_OPEN}[name]
    return cv2.morphologyEx(image, operation, kernel) > 0


@pytest.mark.parametrize("name", ["dilate", "erode", "close", "open"])
@given(SIZES, SIDES, st.floats(0.02, 0.98), st.integers(0, 2**31))
def test_equals_opencv(name, size, side, share, seed):
    mask = random_mask(size, share, seed)
    ours = JITTED[name](jnp.asarray(mask), side=side)
    np.testing.assert_array_equal(ours, opencv(name, mask, side))


@pytest.mark.parametrize("name", ["dilate", "erode", "close", "open"])
@given(SIZES, SIDES, st.integers(0, 2**31))
def test_grey_levels_equal_opencv(name, size, side, seed):
    image, kernel = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8), np.ones((side, side), np.uint8)
    operation = {n: getattr(cv2, f"MORPH_{n.upper()}") for n in ("dilate", "erode", "close", "open")}[name]
    expected = cv2.morphologyEx(image, operation, kernel)
    np.testing.assert_array_equal(JITTED[name](jnp.asarray(image), side=side), expected)


@given(st.floats(0.02, 0.9), st.integers(0, 2**31))
def test_the_papers_closing_and_opening_equal_opencv_on_a_stack(share, seed):
    masks = random_mask((3, 61, 47), share, seed)
    for mask, mine in zip(masks, np.asarray(PAPERS(jnp.asarray(masks))), strict=True):
        np.testing.assert_array_equal(mine, opencv("open", opencv("close", mask, 10), 5))


def test_by_hand():
    point = np.zeros((7, 7), bool)
    point[3, 3] = True
    wide = np.zeros((7, 7), bool)
    wide[2:5, 2:5] = True
    np.testing.assert_array_equal(morphology.dilate(jnp.asarray(point), side=3), wide)
    np.testing.assert_array_equal(morphology.erode(jnp.asarray(wide), side=3), point)
    np.testing.assert_array_equal(morphology.open(jnp.asarray(point), side=2), np.zeros((7, 7), bool))
    everything = np.ones((7, 7), bool)
    np.testing.assert_array_equal(morphology.erode(jnp.asarray(everything), side=5), everything)  # the border


def test_side_zero_is_no_operation():
    mask = jnp.asarray(random_mask((9, 9), 0.5, 0))
    np.testing.assert_array_equal(morphology.clean(mask, closing=0, opening=0), mask)
    with pytest.raises(ValueError, match="-1"):
        morphology.dilate(mask, side=-1)
