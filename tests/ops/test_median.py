"""The 3 x 3 median against OpenCV and SciPy."""

import cv2
import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ichjax.ops import median

MEDIAN = jax.jit(median.median_3x3)


@given(st.integers(0, 2**31), st.sampled_from([np.int16, np.float32]))
def test_equals_opencv_and_scipy(seed, dtype):
    image = np.random.default_rng(seed).normal(30, 9, (3, 11, 14)).astype(dtype)
    ours = np.asarray(MEDIAN(image))
    np.testing.assert_array_equal(ours, [cv2.medianBlur(plane, 3) for plane in image])
    np.testing.assert_array_equal(ours, ndimage.median_filter(image, (1, 3, 3), mode="nearest"))
    assert ours.dtype == dtype
