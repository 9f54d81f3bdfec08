"""Components in 3-D and the gates on them, against SciPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ichjax.ops import components

LABEL = jax.jit(components.label)
GATE = jax.jit(components.gate)
ALL_NEIGHBORS = np.ones((3, 3, 3))


def assert_same_components(mask):
    labels = np.asarray(LABEL(mask))
    expected, count = ndimage.label(mask, ALL_NEIGHBORS)
    assert (labels[~mask] == -1).all()
    assert (labels[mask] >= 0).all()
    assert len(np.unique(labels[mask])) == len(set(zip(labels[mask], expected[mask], strict=True))) == count


def gate_by_scipy(probability, pixel_ml, low, *, high, min_ml, min_slices):
    labels, count = ndimage.label(probability > low, ALL_NEIGHBORS)
    gated = probability.copy()
    for number in range(1, count + 1):
        pixels = labels == number
        volume_ml = (pixels.sum(axis=(1, 2)) * pixel_ml).sum()
        slices = pixels.any(axis=(1, 2)).sum()
        if volume_ml < min_ml or slices < min_slices or probability[pixels].max() <= high:
            gated[pixels] = low
    return gated


def spiral(side):
    """bool [side, side]: one line of pixels, with gaps of one pixel, from the edge to the center."""
    mask, (r, c), (dr, dc) = np.zeros((side + 4, side + 4), bool), (2, 2), (0, 1)
    inside = np.zeros_like(mask)
    inside[2:-2, 2:-2] = True
    mask[r, c] = True
    for _ in range(4 * side):
        while inside[r + dr, c + dc] and not mask[r + 2 * dr, c + 2 * dc]:
            r, c = r + dr, c + dc
            mask[r, c] = True
        dr, dc = dc, -dr
    return mask[2:-2, 2:-2]


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_random_masks_have_scipys_components(seed, share):
    assert_same_components(np.random.default_rng(seed).random((5, 9, 13)) < share)


@pytest.mark.parametrize("turn", range(4))
def test_long_winding_components_are_one(turn):
    line = np.rot90(spiral(41), turn)
    assert line.sum() > 41 * 41 / 3
    assert_same_components(np.stack([line, np.zeros_like(line), line[::-1]]))
    snake = np.zeros((9, 12, 12), bool)
    snake[::2, ::2] = True
    snake[::2, 1::4, -1] = snake[::2, 3::4, 0] = True
    snake[1::4, 0, 0] = snake[3::4, -2, 0] = True
    assert_same_components(np.ascontiguousarray(np.rot90(snake, turn, axes=(1, 2))))


def test_pixels_that_touch_at_a_corner_are_connected():
    for step in components.DIRECTIONS:
        for start in components.CORNERS:
            mask = np.zeros((6, 6, 6), bool)
            one = np.array(start) + 2
            mask[tuple(one)] = mask[tuple(one + step)] = True
            assert len(np.unique(np.asarray(LABEL(mask))[mask])) == 1
            mask[tuple(one + step)] = False
            if any(abs(s) == 1 for s in step):
                mask[tuple(one + 2 * np.array(step))] = True
                assert len(np.unique(np.asarray(LABEL(mask))[mask])) == 2


@settings(max_examples=40)
@given(
    st.integers(0, 2**31), st.sampled_from([0.0, 0.8, 0.95]), st.sampled_from([0.0, 0.0045, 0.02]), st.integers(0, 3)
)
def test_gates_equal_scipys(seed, high, min_ml, min_slices):
    rng = np.random.default_rng(seed)
    probability = (rng.random((5, 9, 13)) ** rng.choice([1, 3])).astype(np.float32)
    pixel_ml = rng.choice([0.001, 0.002], 5).astype(np.float32)
    low, gates = np.float32(0.6), {"high": np.float32(high), "min_ml": np.float32(min_ml), "min_slices": min_slices}
    gated = np.asarray(GATE(probability, pixel_ml, low, **gates))
    np.testing.assert_array_equal(gated, gate_by_scipy(probability, pixel_ml, low, **gates))
    if not high and not min_ml and min_slices < 2:
        np.testing.assert_array_equal(gated, probability)


class Variants(chex.TestCase):
    """The op with and without jit, and one program for all values of the gates."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_shapes_and_types(self):
        probability = jnp.zeros((3, 5, 7)).at[1, 2, 3].set(0.9)
        gate = self.variant(components.gate)
        gated = gate(probability, jnp.ones(3), 0.5, high=0.0, min_ml=2.0, min_slices=1)
        chex.assert_shape(gated, (3, 5, 7))
        chex.assert_type(gated, jnp.float32)
        assert gated.max() == 0.5
        labels = self.variant(components.label)(probability > 0.5)
        chex.assert_type(labels, jnp.int32)
        assert (labels >= 0).sum() == 1

    @parameterized.parameters({"high": 0.95}, {"min_ml": 1.5}, {"min_slices": 2})
    def test_each_gate_alone_drops_a_component_in_the_same_program(self, **gates):
        chex.clear_trace_counter()
        probability = np.zeros((3, 5, 7), np.float32)
        probability[1, 2, 3] = 0.9
        traced = jax.jit(chex.assert_max_traces(components.gate, n=1))
        off = {"high": 0.0, "min_ml": 0.0, "min_slices": 1}
        assert traced(probability, np.ones(3, np.float32), 0.5, **off).max() == np.float32(0.9)
        assert traced(probability, np.ones(3, np.float32), 0.5, **{**off, **gates}).max() == 0.5
