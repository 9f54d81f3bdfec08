"""The mid-plane of drawn heads, wherever they are, and patches of slices that are mirrored about it."""

import numpy as np
import pytest

from ichjax.scan import midplane


def head(center, *, depth=3, width=64):
    """int16 [D, 48, W]: an oval skull around `center` (a column, or half way to the next), with a bleed, noise, a table
    that is off its center, and calcifications on one side."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :width]
    radius = np.hypot((y - 20) / 1.2, x - center)
    plane = np.select([radius < 12, radius < 14, radius < 15], [30, 900, 20], -1000)
    hu = np.repeat(plane[None], depth, axis=0)
    hu[1][np.hypot(y - 20, x - center - 6) < 4] = 70
    hu[:, 42:44, 5:40] = 150
    hu[:, 18:20, int(center) + 5 : int(center) + 7] = 400
    return (hu + rng.normal(0, 5, hu.shape)).round().clip(-1024).astype(np.int16)


@pytest.mark.parametrize("center", [17, 24.5, 31.5, 38, 45])
def test_the_plane_is_that_of_the_skull(center):
    assert midplane.column_sum(head(center)) == 2 * center


def test_without_bone_the_brightest_pixels_count():
    """As in the 8-bit release, which ends at 100 HU."""
    assert midplane.column_sum(np.minimum(head(24.5), 100)) == 49


def test_air_is_mirrored_about_the_middle_of_the_image():
    assert midplane.column_sum(np.full((2, 8, 11), -1024, np.int16)) == 10


@pytest.mark.parametrize("column_sum", [0, 3, 7, 12, 14])
@pytest.mark.parametrize("left", [0, 2, 4])
def test_a_mirrored_patch_by_hand(column_sum, left):
    rows = np.arange(16, dtype=np.int16).reshape(2, 8)
    patch = midplane.mirrored_patch(rows, column_sum, left, 4, outside=-9)
    assert patch.dtype == np.int16
    for row in range(2):
        expected = [8 * row + column_sum - x if 0 <= column_sum - x < 8 else -9 for x in range(left, left + 4)]
        assert patch[row].tolist() == expected
