"""Whether slices show a head, its vertex, and vessels with contrast."""

import numpy as np
import pytest

from ichjax.scan.head_check import check_head
from tests.scan.phantom_skulls import make_skull
from tests.simple_heads import PIXEL_MM, SIDE, TOP_MM, head, neck

Z_MM = np.arange(-40.0, 95.0, 6.0)  # from the base to above the vertex


def check(hu, z_mm=Z_MM, pixel_mm=(PIXEL_MM, PIXEL_MM)):
    return check_head(hu, z_mm, pixel_mm)


def test_a_plain_head_is_one_with_a_vertex_and_without_vessels():
    found = check(head(Z_MM))
    assert (found.is_head, found.has_vertex, found.has_vessels) == (True, True, False)
    # The cavity reaches from the lowest slice, which stands for 3 mm below it, to 7 mm below the top of the skull.
    assert found.height_mm == pytest.approx(TOP_MM - 7 + 43, abs=8)


@pytest.mark.parametrize("hu", [200, 400])
def test_enhanced_vessels_are_seen(hu):
    assert check(head(Z_MM, vessel_hu=hu)).has_vessels
    assert check(head(Z_MM, vessel_hu=hu, noise=20)).has_vessels


@pytest.mark.parametrize("hu", [60, 80, 95])
def test_blood_is_not_taken_for_contrast(hu):
    found = check(head(Z_MM, blood_hu=hu))
    assert (found.is_head, found.has_vessels) == (True, False)


def test_calcifications_in_two_slices_are_not_taken_for_vessels():
    hu, calcified = head(Z_MM), head(Z_MM, vessel_hu=250)
    hu[10:12] = calcified[10:12]
    assert not check(hu).has_vessels


def test_metal_in_all_slices_is_not_taken_for_vessels():
    assert not check(head(Z_MM, vessel_hu=2500)).has_vessels


@pytest.mark.parametrize("noise", [30, 60])
def test_noise_is_neither_bone_nor_vessels(noise):
    found = check(head(Z_MM, noise=noise))
    assert (found.is_head, found.has_vessels) == (True, False)


def test_a_head_without_its_upper_part_has_no_vertex():
    lower = Z_MM[Z_MM < 20]
    found = check(head(lower), lower)
    assert (found.is_head, found.has_vertex) == (True, False)


def test_a_neck_is_no_head():
    assert not check(neck(Z_MM)).is_head


@pytest.mark.parametrize("scale", [0.4, 1.7])
def test_a_skull_of_another_size_is_no_head(scale):
    """A wrist or an animal, a barrel: the inside of the skull measures 23 and 415 cm2."""
    assert not check(head(Z_MM), Z_MM, (scale * PIXEL_MM,) * 2).is_head


def test_a_ring_that_is_higher_than_a_head_is_none():
    assert not check(head(np.zeros(40)), np.arange(40) * 7.0).is_head


def test_a_small_ring_in_a_large_body_is_no_head():
    """A pelvis: a ring of bone of a head's size, with most of the body outside it."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    plane = np.select(
        [np.hypot(y, x) * 4 < 60, np.hypot(y, x) * 4 < 72, np.hypot(y, x) * 4 < 180], [40, 700, 50], -1000
    )
    hu = plane[None].repeat(20, axis=0).astype(np.int16)
    assert not check(hu, np.arange(20) * 5.0, (4.0, 4.0)).is_head


def test_padding_of_the_highest_value_is_air():
    hu = head(Z_MM)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    hu[:, np.hypot(y, x) > SIDE / 2] = 3071
    assert check(hu) == check(head(Z_MM))


def test_too_small_an_image_tells_nothing():
    assert check(np.zeros((5, 8, 8), np.int16), np.arange(5.0), (6.0, 6.0)) is None


def test_one_slice_can_be_a_head():
    assert check(head([0.0]), np.zeros(1)).is_head


@pytest.mark.parametrize("preset", ["demo", pytest.param("calibrated", marks=pytest.mark.gate)])
def test_a_phantom_is_a_plain_head_until_vessels_are_painted(preset):
    made = make_skull(51, seed=63, preset=preset)
    z_mm = np.arange(len(made.hu)) * made.spacing_mm[0]
    plain = check_head(made.hu, z_mm, made.spacing_mm[1:])
    assert (plain.is_head, plain.has_vessels) == (True, False)
    painted = made.hu.copy()
    rows, columns = (int(np.mean(index)) for index in np.nonzero(made.cavity.any(axis=0)))
    y, x = np.mgrid[: painted.shape[1], : painted.shape[2]]
    for back_mm, left_mm in ((0, 25), (0, -25), (30, 0)):
        off = np.hypot((y - rows) * made.spacing_mm[1] - back_mm, (x - columns) * made.spacing_mm[2] - left_mm)
        painted[(off < 2.5) & made.cavity] = 300
    assert check_head(painted, z_mm, made.spacing_mm[1:]).has_vessels
