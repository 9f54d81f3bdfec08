"""Values that are no HU of a head CT: refused, reported, or read as what they are (padding)."""

import dataclasses
import pathlib

import numpy as np
import pytest

from ichjax.errors import InputError
from ichjax.inference import discover
from ichjax.phantom import subject
from ichjax.scan.hu_check import check_hu, offset_warnings, read_padding_as_air
from ichjax.scan.volume import AIR_HU, HU_RANGE, from_file_grid

REAL = pathlib.Path(__file__).parents[3] / "shared" / "data" / "ge_head_ct"
RAISED, LOWERED, OTHER = "HU are off by about +1024", "HU are off by about -1024", "the slope or the offset is wrong"


@pytest.mark.parametrize(
    ("low", "high", "hu_range", "message"),
    [
        (0, 255, HU_RANGE, "8-bit"),
        (0, 4095, HU_RANGE, "air below -200"),  # stored values without their intercept
        (-1024, 100, HU_RANGE, "bone above 200"),
        (7, 7, HU_RANGE, "every voxel is 7"),
        (-20, 101, (-20, 100), r"expected \(-20, 100\) HU of this source"),
        (-21, 100, (-20, 100), r"expected \(-20, 100\) HU of this source"),
    ],
)
def test_implausible_hu_are_rejected(low, high, hu_range, message):
    scan = _with_range(low, high, hu_range)
    with pytest.raises(InputError, match=message) as caught:
        check_hu(scan)
    assert "thing.nii" in str(caught.value)


@pytest.mark.parametrize(("low", "high", "hu_range"), [(-1024, 1700, HU_RANGE), (-20, 100, (-20, 100))])
def test_plausible_hu_are_accepted(low, high, hu_range):
    scan = _with_range(low, high, hu_range)
    assert check_hu(scan) is scan


def _with_range(low, high, hu_range):
    array = np.full((3, 3, 3), low, np.int16)
    array[1, 1, 1] = high
    return from_file_grid(array, np.diag([-1, -1, 5, 1.0]), name="thing.nii", hu_range=hu_range)


def phantom(number=50, preset="demo"):
    made = subject.make_subject(number, seed=43, preset=preset)
    array, affine = made.hu.transpose(2, 1, 0), made.affine[:, [2, 1, 0, 3]]
    return from_file_grid(array, affine, name="head.nii")


@pytest.fixture(scope="module", params=["adult", "newborn", "real"])
def head(request):
    if request.param == "real":
        if not REAL.is_dir():
            pytest.skip("the real series is missing")
        return discover.read_one(REAL)
    return phantom(57 if request.param == "newborn" else 50)


def changed(volume, change):
    """The scan read again after its HU, of a larger type, were changed."""
    array = volume.to_file_grid(change(volume.hu.astype(np.float64)))
    return read_padding_as_air(from_file_grid(array, volume.file_affine, name=volume.name))


def complaints(volume):
    """The reason why a scan is refused, or its warnings."""
    try:
        return offset_warnings(check_hu(volume))
    except InputError as error:
        return [str(error)]


def outside_circle(shape):
    """bool [H, W], beyond the circle in the image."""
    y, x = np.mgrid[: shape[1], : shape[2]]
    return np.hypot(y - (shape[1] - 1) / 2, x - (shape[2] - 1) / 2) > min(shape[1:]) / 2 - 1


def padded(hu, value):
    return np.where(outside_circle(hu.shape), value, hu)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda hu: hu, None),
        (lambda hu: padded(hu, -2000), None),
        (lambda hu: padded(hu, -2048), None),
        (lambda hu: padded(hu, -3024), None),
        (lambda hu: padded(hu, -32768), None),
        (lambda hu: hu + 15, None),  # a badly calibrated scanner
        (lambda hu: padded(hu + 1024, -2000), RAISED),
        (lambda hu: padded(hu + 1000, -1024), RAISED),
        (lambda hu: padded(hu + 1024, -32768), RAISED),
        (lambda hu: padded(hu + 1024, 32767), RAISED),
        (lambda hu: hu + 1024, RAISED),
        (lambda hu: hu - 1024, LOWERED),
        (lambda hu: padded(hu - 1000, -3024), LOWERED),
        (lambda hu: hu * 10, OTHER),
        (lambda hu: -hu, OTHER),
    ],
)
def test_an_offset_is_reported_whatever_the_padding(head, change, expected):
    warnings = complaints(changed(head, change))
    assert len(warnings) == (expected is not None)
    assert all(expected in text and "soft tissue is not where it belongs" in text for text in warnings)


@pytest.mark.parametrize(("shift", "expected"), [(0, None), (1024, RAISED), (-1024, LOWERED)])
def test_an_offset_of_a_single_slice_is_reported(head, shift, expected):
    array = head.hu[len(head.hu) // 2 :][:1].transpose(2, 1, 0).astype(np.int32) + shift
    row_mm, column_mm = head.pixel_mm
    warnings = complaints(from_file_grid(array, np.diag([-column_mm, -row_mm, 5, 1]), name="slice.nii"))
    assert [expected in text for text in warnings] == [True] * (expected is not None)


@pytest.mark.parametrize("value", [3071, 3072, 8191, 32767, 62512])
def test_padding_that_wrapped_around_is_air(head, value):
    same = changed(head, lambda hu: padded(hu, AIR_HU))
    np.testing.assert_array_equal(changed(head, lambda hu: padded(hu, value)).hu, same.hu)


def test_bright_voxels_that_no_corner_is_connected_to_are_kept(head):
    hu = head.hu.copy()
    hu[:, 100:110, 100:110] = 32767  # metal
    hu[:, 0, 50:60] = 3500  # at the edge
    volume = dataclasses.replace(head, hu=hu)
    assert read_padding_as_air(volume) is volume
    cornered = hu.copy()
    cornered[3, :5, :5] = 20000
    expected = hu.copy()
    expected[3, :5, :5] = AIR_HU
    np.testing.assert_array_equal(read_padding_as_air(dataclasses.replace(head, hu=cornered)).hu, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hu, brain: np.where(brain, hu.clip(0, 100), 0), "the skull is missing"),
        (lambda hu, brain: np.where(brain, hu.clip(-50, 150), -1024), "the skull is missing"),
        (lambda hu, brain: np.where(brain, np.where(hu > 75, 900, hu.clip(-100, 100)), 0), "the skull is missing"),
        (lambda hu, brain: (hu.clip(-20, 100) + 20) / 120 * 255, "an 8-bit image"),
        (lambda hu, brain: hu.clip(-40, 120), "an 8-bit image"),
        (lambda hu, brain: (hu - hu.min()) / np.ptp(hu), "a normalized image"),
        (lambda hu, brain: hu.clip(-1024, 3071) + 1024, "without their offset"),
    ],
    ids=["zero", "air", "calcified", "window", "window in HU", "normalized", "stored"],
)
def test_a_scan_without_air_or_bone_is_refused(head, change, message):
    _, rows, columns = head.shape
    brain = np.zeros(head.shape, bool)
    middle = len(brain) // 2
    center = (slice(2 * rows // 5, 3 * rows // 5), slice(2 * columns // 5, 3 * columns // 5))
    brain[middle : middle + 3, *center] = True
    with pytest.raises(InputError, match=message):
        check_hu(changed(head, lambda hu: change(hu, brain)))


@pytest.mark.gate
@pytest.mark.parametrize("number", [51, 52, 53])
def test_calibrated_phantoms_give_no_warning(number):
    assert offset_warnings(check_hu(phantom(number, "calibrated"))) == []


def test_an_offset_is_reported_where_padding_leaves_no_block_of_tissue(head):
    middle = np.zeros(head.shape, bool)
    middle[:, head.shape[1] // 2 - 3 :, head.shape[2] // 2 - 3 :][:, :6, :6] = True
    middle[0, head.shape[1] // 2, head.shape[2] // 2] = False
    hu = np.where(middle, 1059, -2000)
    hu[0, head.shape[1] // 2, head.shape[2] // 2] = 1700  # bone
    (text,) = complaints(changed(head, lambda _: hu))
    assert RAISED in text
