"""Each quality check of a scan warns of its fault, and none warns of a normal head."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest

from ichjax.inference import discover, scan_warnings
from ichjax.metrics import calibration
from ichjax.phantom.subject import make_subject
from ichjax.scan.volume import from_file_grid

PIXEL_MM, GAP_MM = 1.0, 5.0
TURNED = "the head lies turned, its front to the back"
REAL = pathlib.Path(__file__).parents[3] / "shared" / "data" / "ge_head_ct"


def scan(hu, positions_mm=None):
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, GAP_MM, 1.0])
    origins = None if positions_mm is None else np.array([[0.0, 0.0, z] for z in positions_mm])
    return from_file_grid(hu.transpose(2, 1, 0), affine, name="head", slice_origins_mm=origins)


def head(depth=20, *, brain_hu=32.0):
    """float [depth, 220, 200]: a skull longer than wide, round above and cut below, in air."""
    z, y, x = np.mgrid[:depth, :220, :200].astype(np.float32)
    radius = np.sqrt(((z - 2) / (depth - 1)) ** 2 + ((y - 109.5) / 88) ** 2 + ((x - 99.5) / 72) ** 2)
    return np.select([radius < 0.88, radius < 0.96, radius < 1], [brain_hu, 1000.0, 20.0], -1000.0)


def head_with_nose(depth=20, *, rows=slice(30, 46), columns=slice(88, 112)):
    """The same with a nasal cavity, by default 19 mL of air between bones in front of the brain."""
    hu = head(depth)
    hu[2:12, rows.start - 3 : rows.stop + 3, columns.start - 3 : columns.stop + 3] = 1000
    hu[2:12, rows, columns] = -1000
    return hu


def resized(volume, factors):
    """The same voxels with other sizes (slices, rows, columns)."""
    affine = volume.affine * [*factors, 1]
    return from_file_grid(volume.hu, affine, name="head")


def turned(volume):
    return dataclasses.replace(volume, hu=np.ascontiguousarray(volume.hu[:, ::-1, ::-1]))


def find_warnings(volume, **options):
    return scan_warnings.find_warnings(volume, calibration.intracranial(volume), **options)


def test_a_normal_head_gives_no_warning():
    assert find_warnings(scan(head()), trained_pixel_mm=(1.1, 1.1)) == []


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda hu: hu[:, 40:], "bone reaches the edge of 1?\\d slices: the field of view may cut the head"),
        (lambda hu: hu[::-1], "the scan may be upside down"),
        (
            lambda hu: hu.swapaxes(1, 2),
            "the inside of the skull is 1\\d\\d mm wide and 1[12]\\d mm long: rows and columns may be swapped",
        ),
        (lambda hu: hu + np.where(hu == 32, 70, 0), "the median inside the skull is 102 HU; expected 15 to 50"),
        (lambda hu: np.where(hu > 100, 20, hu), "no closed skull was found"),
        (
            lambda hu: np.where(np.add.outer(np.arange(220), np.arange(200)) < 220, -1000, hu),
            "the head is asymmetric: Dice 0.\\d\\d with its mirror image",
        ),
    ],
    ids=["cut", "upside down", "swapped", "contrast", "no bone", "half"],
)
def test_each_fault_gives_its_warning(spoil, expected):
    warnings = find_warnings(scan(np.ascontiguousarray(spoil(head()))))
    assert any(re.search(expected, text) for text in warnings), warnings


def test_a_scan_from_a_slender_jaw_to_the_upper_brain_is_upright():
    hu = head()[:12]
    rows, columns = np.mgrid[:220, :200]
    hu[:3] = np.where(np.hypot(rows - 109.5, columns - 99.5) < 58, 40, -1000)  # no brain, and smaller than above
    assert find_warnings(scan(hu)) == []
    (warning,) = find_warnings(scan(head()[::-1]))  # the vertex is smaller still
    assert "the scan may be upside down" in warning


def test_a_missing_slice_is_reported_and_a_change_of_spacing_is_not():
    depth = 20
    even = np.arange(depth) * 5.0
    missing = even + np.where(np.arange(depth) >= 8, 5.0, 0)
    (warning,) = find_warnings(scan(head(), missing))
    assert warning == "10.0 mm between slices 8 and 9: slices may be missing"
    base_and_vault = np.cumsum([0.0, *[3.0] * 8, *[7.0] * 11])  # as many scanners do
    assert find_warnings(scan(head(), base_and_vault)) == []


@pytest.mark.parametrize(("trained_mm", "warns"), [(0.85, False), (1.15, False), (0.7, True), (1.5, True)])
def test_pixels_of_another_size_than_in_training_are_reported(trained_mm, warns):
    warnings = find_warnings(scan(head()), trained_pixel_mm=(trained_mm, trained_mm))
    expected = [f"pixels of 1.00 x 1.00 mm; the network was trained on {trained_mm:.2f} x {trained_mm:.2f} mm"]
    assert warnings == (expected if warns else [])


def test_a_head_holder_does_not_widen_the_head():
    hu = head()[:, 10:-10]
    hu[:, 150:170, [2, 3, -4, -3]] = 200
    assert find_warnings(scan(hu)) == []


@pytest.mark.parametrize("flip", [np.s_[:, ::-1, ::-1], np.s_[:, ::-1]], ids=["turned", "mirrored"])
def test_a_head_with_its_nose_behind_lies_turned(flip):
    assert find_warnings(scan(head_with_nose())) == []
    (warning,) = find_warnings(scan(head_with_nose()[flip]))
    assert warning.startswith(TURNED)
    assert "left and right may be swapped too" in warning
    assert ";" not in warning  # separates the warnings of worklist.csv


@pytest.mark.parametrize(
    "place",
    [
        {"rows": slice(170, 174), "columns": slice(98, 100)},  # 0.4 mL: too little
        {"rows": slice(160, 176), "columns": slice(42, 58)},  # mastoid cells
        {"rows": slice(95, 125)},  # in the middle
    ],
    ids=["little", "lateral", "middle"],
)
def test_other_air_between_bones_does_not_turn_the_head(place):
    assert not any(TURNED in text for text in find_warnings(scan(head_with_nose(**place))))


def test_air_in_the_brain_or_between_head_and_holder_does_not_turn_the_head():
    hu = head()
    hu[5:10, 150:175, 90:110] = -1000  # 12 mL, after surgery
    hu[:, 205:218, [20, 180]] = 800  # the rims of a holder
    assert find_warnings(scan(hu)) == []


@pytest.mark.gate
@pytest.mark.parametrize("preset", ["demo", "calibrated"])
def test_phantoms_lie_turned_only_when_they_are(preset):
    subject = make_subject(51, seed=3, preset=preset)
    volume = from_file_grid(subject.hu, subject.affine, name="phantom")
    assert not any(TURNED in text for text in find_warnings(volume))
    assert any(TURNED in text for text in find_warnings(turned(volume)))
    above_the_base = from_file_grid(subject.hu[len(subject.hu) * 2 // 3 :], subject.affine, name="phantom")
    assert not any(TURNED in text for text in find_warnings(above_the_base) + find_warnings(turned(above_the_base)))


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((0.28, 1.8, 1.8), "2\\d\\d mm wide, 2\\d\\d mm long and [23]\\d mm high"),
        ((1, 0.31, 0.31), "3\\d mm wide, 4\\d mm long"),
        ((3, 1, 1), "2\\d\\d mm high"),
        ((0.2, 1, 1), "1\\d mm high"),
        ((1, 1, 0.05), "the image is 10 mm wide and 220 mm long"),
    ],
    ids=["too large", "too small", "too high", "too low", "not an image of a head"],
)
def test_a_size_that_no_head_has_is_reported(factors, expected):
    air = np.full((1, 220, 200), -1000.0)
    volume = scan(np.concatenate([air, head(), air]))
    assert find_warnings(volume) == []
    (warning,) = (text for text in find_warnings(resized(volume, factors)) if "no head has this size" in text)
    assert re.search(expected, warning)
    assert ";" not in warning


@pytest.mark.parametrize("factor", [0.62, 0.8, 1.15], ids=["newborn", "child", "large adult"])
def test_small_and_large_heads_have_a_possible_size(factor):
    assert find_warnings(resized(scan(head_with_nose()), (factor,) * 3)) == []


def test_a_thin_slab_has_a_possible_size():
    assert find_warnings(resized(scan(head(100)[20:32]), (0.2, 1, 1))) == []


@pytest.mark.parametrize(("first", "factor"), [(0, 0.2), (4, 0.1), (4, 0.3)])
def test_a_dome_that_no_head_has_is_reported(first, factor):
    """The base of the skull is cut, so the height alone is possible: it may be a slab."""
    volume = scan(head()[first:])
    assert find_warnings(volume) == []
    (warning,) = find_warnings(resized(volume, (factor, 1, 1)))
    assert re.fullmatch("the skull narrows to half within [1-9]\\d? mm of height: .* may be wrong", warning)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda hu: np.where(hu > 100, -1000, hu),  # brain extraction
        lambda hu: np.where(hu > 100, 250, hu),  # clipped, or a rim of mixed voxels that brain extraction leaves
        lambda hu: hu.clip(-300, 300),
    ],
    ids=["stripped", "rim", "clipped"],
)
def test_a_missing_skull_is_reported(spoil):
    warnings = find_warnings(scan(spoil(head())))
    assert any(text.startswith("almost no bone (above 300 HU): the skull is missing") for text in warnings), warnings


def test_slices_along_the_first_axis_of_the_file_are_no_head():
    array = head()[:, ::-1, ::-1]  # [20, 220, 200] with an identity affine: 20 mm from left to right
    warnings = find_warnings(from_file_grid(np.ascontiguousarray(array), np.eye(4), name="head"))
    assert any("the image is 20 mm wide and 220 mm long: no head has this size" in text for text in warnings), warnings


@pytest.mark.skipif(not REAL.is_dir(), reason="the real series is missing")
def test_a_real_head_gives_no_warning_unless_it_is_swapped_turned_or_upside_down():
    volume = discover.read_one(REAL)
    assert find_warnings(volume) == []
    swapped = dataclasses.replace(volume, hu=volume.hu.swapaxes(1, 2))
    assert any("rows and columns may be swapped" in text for text in find_warnings(swapped))
    (warning,) = find_warnings(turned(volume))
    assert warning.startswith(TURNED)
    upside_down = dataclasses.replace(volume, hu=volume.hu[::-1])
    assert any("upside down" in text for text in find_warnings(upside_down))


def test_a_single_slice_gives_no_warning():
    assert find_warnings(scan(head()[5:6])) == []


def test_nominal_spacing_is_reported():
    volume = dataclasses.replace(scan(head()), nominal_spacing=True)
    assert find_warnings(volume) == [scan_warnings.NOMINAL_WARNING]
