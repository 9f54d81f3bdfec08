"""Connected components in 3-D against SciPy, and gates on lesions by hand."""

import functools

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ichjax.ops import components as ops

EVERYTHING = np.ones((3, 3, 3))
label = jax.jit(ops.components, static_argnames="capacity")


def same_partition(found, mask):
    """Whether labels group the true pixels as SciPy does, and name each group by its first pixel."""
    reference, count = ndimage.label(mask, EVERYTHING)
    used = int(mask.sum())
    pixel, labels = np.asarray(found.pixel)[:used], np.asarray(found.label)[:used]
    np.testing.assert_array_equal(pixel, np.flatnonzero(mask))
    assert (np.asarray(found.label)[used:] == len(found.label)).all()
    assert len(np.unique(labels)) == count
    theirs = reference.ravel()[pixel]
    assert len(np.unique(np.stack([labels, theirs]), axis=1).T) == count
    return all(labels[group := np.flatnonzero(theirs == k)].tolist() == [group[0]] * len(group) for k in set(theirs))


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 0.6), st.sampled_from([(1, 5, 7), (4, 6, 5), (6, 9, 9)]))
def test_components_are_those_of_scipy(seed, density, shape):
    mask = np.random.default_rng(seed).random(shape) < density
    found = label(mask)
    assert bool(found.complete)
    assert same_partition(found, mask)


def test_a_long_spiral_is_one_component():
    mask = np.zeros((3, 41, 41), bool)
    row, column = 20, 20
    for turn, length in enumerate(range(1, 40)):
        for _ in range(length):
            mask[1, row, column] = True
            row, column = row + (0, 1, 0, -1)[turn % 4], column + (1, 0, -1, 0)[turn % 4]
    found = label(mask)
    assert same_partition(found, mask)


def test_pixels_at_opposite_edges_are_not_neighbors():
    mask = np.zeros((2, 4, 4), bool)
    mask[0, 0, 3] = mask[0, 1, 0] = mask[0, 3, 3] = mask[1, 0, 0] = True
    assert same_partition(label(mask), mask)


def test_more_pixels_than_the_list_holds_are_reported():
    mask = np.ones((2, 3, 4), bool)
    assert not bool(label(mask, capacity=23).complete)
    assert bool(label(mask, capacity=24).complete)


@pytest.fixture
def lesions():
    """(probability, mL of a pixel by slice): a large weak lesion on 3 slices, a small strong one, a strong pixel."""
    probability = np.zeros((4, 8, 8), np.float32)
    probability[0:3, 0:2, 0:4] = 0.6  # 8 pixels on each of 3 slices
    probability[1, 5, 5:8] = (0.6, 0.95, 0.6)
    probability[3, 7, 0] = 0.99
    return probability, np.array([0.1, 0.2, 0.3, 0.4], np.float32)


def test_statistics_by_hand(lesions):
    probability, pixel_ml = lesions
    found = label(probability > 0.5)
    measured = jax.jit(ops.describe)(found, probability, pixel_ml)
    firsts = np.unique(np.asarray(found.label)[: int((probability > 0.5).sum())])
    volume_ml, highest, slices = (np.asarray(values)[firsts] for values in measured)
    np.testing.assert_allclose(volume_ml, [8 * (0.1 + 0.2 + 0.3), 3 * 0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(highest, [0.6, 0.95, 0.99])
    assert slices.tolist() == [3, 1, 1]


@pytest.mark.parametrize(
    ("gates", "kept"),
    [
        (ops.Gates(), (True, True, True)),
        (ops.Gates(high=0.9), (False, True, True)),
        (ops.Gates(min_ml=0.5), (True, True, False)),
        (ops.Gates(min_slices=2), (True, False, False)),
        (ops.Gates(high=0.9, min_ml=0.5), (False, True, False)),
    ],
)
def test_gates_by_hand(lesions, gates, kept):
    probability, pixel_ml = lesions
    gated = np.asarray(jax.jit(ops.gate)(probability, pixel_ml, 0.5, gates))
    boxes = (np.s_[0:3, 0:2, 0:4], np.s_[1, 5, 5:8], np.s_[3, 7, 0])
    for box, stays in zip(boxes, kept, strict=True):
        np.testing.assert_array_equal(gated[box], probability[box] if stays else np.minimum(probability[box], 0.5))
    assert (gated > 0.5).sum() == sum(
        int((probability[box] > 0.5).sum()) for box, s in zip(boxes, kept, strict=True) if s
    )


def test_where_half_a_head_is_positive_nothing_changes():
    probability = np.full((8, 64, 64), 0.6, np.float32)
    gated = jax.jit(ops.gate)(probability, np.ones(8, np.float32), 0.5, ops.Gates(high=0.9))
    np.testing.assert_array_equal(gated, probability)


def test_one_program_serves_all_gates(lesions):
    probability, pixel_ml = lesions
    chex.clear_trace_counter()
    gate = jax.jit(chex.assert_max_traces(ops.gate, n=1))
    for high, min_ml in ((0.0, 0.0), (0.9, 0.1), (0.5, 1.0)):
        gate(
            probability, pixel_ml, 0.5, functools.partial(ops.Gates, min_slices=2)(np.float32(high), np.float32(min_ml))
        )
