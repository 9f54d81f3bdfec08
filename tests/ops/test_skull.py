"""The inside of the skull against SciPy (`scan.skull`), on random and on hand-made heads."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichjax.ops import skull
from ichjax.scan import skull as host
from tests.scan.phantom_skulls import make_posed_skull, remove_bone
from tests.scan.test_skull import SPACING, bony_ring, head
from tests.xla import AS_USERS

JITTED = jax.jit(skull.inside_skull, compiler_options=AS_USERS)


def assert_equal_to_host(hu, spacing_mm):
    inside, found = JITTED(jnp.asarray(hu), jnp.asarray(spacing_mm, jnp.float32))
    expected, expected_found = host.inside_skull(hu, spacing_mm)
    assert bool(found) == expected_found
    np.testing.assert_array_equal(inside, expected)
    return expected_found


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.floats(0.0, 0.15), st.floats(0.0, 0.05), st.sampled_from([2.5, 5.0, 10.0]))
def test_equals_scipy_on_heads_with_random_bone_and_air(seed, holes, specks, slice_mm):
    rng = np.random.default_rng(seed)
    hu = head().copy()
    radius = rng.integers(0, 4)
    hu[(rng.random(hu.shape) < holes) & (hu > 500)] = 30
    hu[rng.random(hu.shape) < specks] = rng.choice([-900, -80, 40, 900])
    k, r, c = (rng.integers(0, n) for n in hu.shape)
    hu[k : k + 2, r : r + 4 * radius, c : c + 4 * radius] = rng.choice([-900, 40, 900])
    assert_equal_to_host(hu, (slice_mm, *SPACING[1:]))


@settings(max_examples=8)
@given(st.integers(0, 2**31), st.floats(0.02, 0.5))
def test_equals_scipy_on_noise(seed, density):
    rng = np.random.default_rng(seed)
    hu = np.where(rng.random((3, 30, 26)) < density, 600, rng.choice([-900, 30], (3, 30, 26))).astype(np.int16)
    assert_equal_to_host(hu, (5.0, 8.0, 8.0))


@pytest.mark.parametrize(("axis", "reverse"), [(1, False), (1, True), (2, False)])
@pytest.mark.parametrize(("height", "width"), [(7, 12), (1, 1)])
def test_the_form_for_gpus_carries_the_same_values(height, width, axis, reverse):
    rng = np.random.default_rng(height)
    mask = rng.integers(0, 5, (20, height, width)).astype(np.int8)
    values = rng.integers(0, mask + 1).astype(np.int8)
    expected = np.moveaxis(values.copy(), axis, 0)[:: -1 if reverse else 1]
    limits = np.moveaxis(mask, axis, 0)[:: -1 if reverse else 1]
    for line in range(1, len(expected)):
        expected[line] = np.minimum(limits[line], np.maximum(expected[line], expected[line - 1]))
    expected = np.moveaxis(expected[:: -1 if reverse else 1], 0, axis)
    for form in (skull._line_by_line, skull._by_halves):
        np.testing.assert_array_equal(form(values, mask, axis=axis, reverse=reverse), expected)


@pytest.mark.parametrize("shape", [(1, 40, 40), (2, 131, 140)])
def test_one_slice_and_blocks_of_several_pixels(shape):
    mm = 200 / shape[2]
    assert assert_equal_to_host(np.stack([bony_ring(shape[1:], 70 / mm, 8 / mm)] * shape[0]), (5.0, mm, mm))


@pytest.mark.gate
def test_equals_scipy_on_a_phantom_after_a_craniectomy():
    skull = make_posed_skull(1, rotation_deg=(5.0, 5.0, 10.0), bottom_mm=-50.0, slice_mm=10.0)
    hu = remove_bone(skull, (12, 128, 210), 80.0)
    assert assert_equal_to_host(hu, skull.spacing_mm)


@pytest.mark.gate
def test_depths_and_pixel_sizes_need_no_new_program_and_air_behind_changes_nothing():
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(skull.inside_skull, n=1))
    hu = head()
    for mm in (3.0, 3.3):
        traced(hu, np.array([5.0, mm, mm], np.float32))
    inside, _ = JITTED(hu, np.array(SPACING, np.float32))
    longer, _ = JITTED(np.pad(hu, ((0, 3), (0, 0), (0, 0)), constant_values=-1000), np.array(SPACING, np.float32))
    np.testing.assert_array_equal(longer[: len(hu)], inside)
    assert not longer[len(hu) :].any()


def test_shapes_and_dtypes():
    hu = head()
    inside, found = JITTED(hu, np.array(SPACING, np.float32))
    chex.assert_shape(inside, hu.shape)
    chex.assert_shape(found, ())
    chex.assert_type([inside, found], bool)
    np.testing.assert_array_equal(inside, host.inside_skull(hu, SPACING)[0])
