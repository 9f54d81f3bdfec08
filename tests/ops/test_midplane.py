"""The mid-plane of heads that were turned, shifted and rolled by known amounts."""

import chex
import jax
import numpy as np
import pytest

from ichjax.ops import midplane
from ichjax.phantom import plan, scene, subject

FIND = jax.jit(midplane.find)
MIRROR = jax.jit(lambda slices, plane: midplane.mirror(slices, plane, outside=-1.0))
SIDE, DEPTH = 128, 6


def bone(turn_degrees, shift_px, roll_px):
    """bool [DEPTH, SIDE, SIDE]: an egg-shaped ring, smaller in higher slices."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    turn, planes = np.deg2rad(turn_degrees), []
    for height in np.linspace(-1, 1, DEPTH):
        across = y * np.sin(turn) + x * np.cos(turn) - shift_px - roll_px * height
        along = y * np.cos(turn) - x * np.sin(turn)
        size = 1 - 0.3 * max(height, 0) ** 2
        planes.append(abs(np.hypot(across / (40 + 0.08 * along), along / 50) - size) < 0.06)
    return np.array(planes)


@pytest.mark.parametrize(("turn", "shift", "roll"), [(0, 0, 0), (5, 3, 0), (-12.3, 8.6, 5), (18, -7.5, -12)])
def test_finds_turn_shift_and_roll(turn, shift, roll):
    head = bone(turn, shift, roll)
    plane = FIND(head)
    assert abs(plane.turn_degrees - turn) < 1
    np.testing.assert_allclose(plane.shift_px, shift + roll * np.linspace(-1, 1, DEPTH), atol=1)
    np.testing.assert_allclose(FIND(head[:, :, ::-1]).shift_px, -plane.shift_px, atol=0.1)
    mirrored = MIRROR(head.astype(np.float32), plane)
    assert (mirrored[head] > 0.5).mean() > 0.95


def test_a_point_and_its_mirror_image_are_as_far_from_the_plane():
    plane = midplane.Midplane(np.float32(30), np.float32([2.5]))
    offset = np.asarray(midplane.offset_px(plane, shape=(64, 64)))
    along = np.asarray(midplane.along_px(plane, shape=(64, 64)))
    np.testing.assert_allclose(
        (offset[0] + 2.5) ** 2 + along**2, np.hypot(*(np.mgrid[:64, :64] - 31.5)) ** 2, rtol=1e-4
    )
    mirrored = np.asarray(MIRROR(offset, plane))
    inside = mirrored != -1
    assert inside.mean() > 0.5
    np.testing.assert_allclose(mirrored[inside], -offset[inside], atol=1e-4)


def test_no_bone_and_one_slice():
    plane = FIND(np.zeros((DEPTH, SIDE, SIDE), bool))
    assert plane.turn_degrees == 0
    assert not plane.shift_px.any()
    one = jax.jit(midplane.find)(bone(4, -6, 0)[2:3])
    assert abs(one.turn_degrees - 4) < 1
    assert abs(one.shift_px[0] + 6) < 1


def test_finds_the_plane_of_a_phantom():
    number, kind = 52, subject.PRESETS["demo"]
    made = subject.make_subject(number)
    traits = plan.make_plan(number, seed=0, share=kind.share, mix=kind.mix)
    sizes = {"slices": len(made.hu), "slice_mm": kind.slice_mm, "top_mm": kind.top_mm, "fov_mm": kind.field_of_view_mm}
    grid = scene.head_in_scanner(np.random.default_rng([0, number, 0]), traits, **sizes)
    left_mm = grid.x.reshape(len(made.hu), 3, *grid.x.shape[1:]).mean(axis=1)  # of a head that is warped, too
    plane = FIND(made.hu[:, ::2, ::2] > 200)
    offset_mm = np.asarray(midplane.offset_px(plane, shape=left_mm.shape[1:])) * grid.pixel_mm
    assert np.median(np.abs(offset_mm[np.abs(left_mm) < 1])) < 2


def test_one_program_for_all_scans():
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(midplane.find, n=1))
    for turn in (0, 3):
        traced(bone(turn, 0, 0))
