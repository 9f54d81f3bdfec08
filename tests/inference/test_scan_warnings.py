"""What speaks against a scan is said, and nothing of one that is as it should be."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest

from ichjax.inference import discover, scan_warnings
from ichjax.scan.volume import from_file_grid

PIXEL_MM, GAP_MM = 1.0, 5.0
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


def test_nothing_is_said_of_a_head_as_it_should_be():
    assert scan_warnings.warnings(scan(head()), trained_pixel_mm=(1.1, 1.1)) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
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
            "the head is not alike on both sides",
        ),
    ],
    ids=["cut", "upside down", "swapped", "contrast", "no bone", "half"],
)
def test_what_is_odd_is_said(spoil, said):
    found = scan_warnings.warnings(scan(np.ascontiguousarray(spoil(head()))))
    assert any(re.search(said, text) for text in found), found


def test_a_missing_slice_is_said_and_another_spacing_is_not():
    depth = 20
    even = np.arange(depth) * 5.0
    missing = even + np.where(np.arange(depth) >= 8, 5.0, 0)
    (found,) = scan_warnings.warnings(scan(head(), missing))
    assert found == "10.0 mm between slices 8 and 9: slices may be missing"
    base_and_vault = np.cumsum([0.0, *[3.0] * 8, *[7.0] * 11])  # as many scanners do
    assert scan_warnings.warnings(scan(head(), base_and_vault)) == []


@pytest.mark.parametrize(("trained_mm", "told"), [(0.85, False), (1.15, False), (0.7, True), (1.5, True)])
def test_pixels_unlike_the_trainings_are_said(trained_mm, told):
    found = scan_warnings.warnings(scan(head()), trained_pixel_mm=(trained_mm, trained_mm))
    expected = [f"pixels of 1.00 x 1.00 mm; the network was trained on {trained_mm:.2f} x {trained_mm:.2f} mm"]
    assert found == (expected if told else [])


def test_a_head_holder_is_not_the_heads_width():
    hu = head()[:, 10:-10]
    hu[:, 150:170, [2, 3, -4, -3]] = 200
    assert scan_warnings.warnings(scan(hu)) == []


@pytest.mark.skipif(not REAL.is_dir(), reason="the real series is not here")
def test_the_real_head_is_as_it_should_be_and_swapped_it_is_not():
    volume = discover.read_one(REAL)
    assert scan_warnings.warnings(volume) == []
    swapped = dataclasses.replace(volume, hu=volume.hu.swapaxes(1, 2))
    assert any("rows and columns may be swapped" in text for text in scan_warnings.warnings(swapped))
    upside_down = dataclasses.replace(volume, hu=volume.hu[::-1])
    assert any("upside down" in text for text in scan_warnings.warnings(upside_down))


def test_a_single_slice_is_not_judged_by_others():
    assert scan_warnings.warnings(scan(head()[5:6])) == []
