"""The mask of classes against SciPy's components and NumPy's counts."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ichjax.data.label_tables import SUBTYPES
from ichjax.ops import subtypes

VOTE, CLASS_MASK = jax.jit(subtypes.vote), jax.jit(subtypes.class_mask)
EDH, SDH = 1 + SUBTYPES.index("EDH"), 1 + SUBTYPES.index("SDH")


def vote_by_scipy(classes):
    voted = classes.copy()
    labels, count = ndimage.label((classes == EDH) | (classes == SDH), np.ones((3, 3, 3)))
    for number in range(1, count + 1):
        of = classes[labels == number]
        voted[labels == number] = EDH if (of == EDH).sum() >= (of == SDH).sum() else SDH
    return voted


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.floats(0.03, 0.6))
def test_a_vote_equals_scipys(seed, share):
    rng = np.random.default_rng(seed)
    drawn = rng.choice(6, (5, 8, 9), p=[0.2, 0.2, 0.1, 0.1, 0.2, 0.2])
    classes = np.where(rng.random(drawn.shape) < share, drawn, 0).astype(np.uint8)
    np.testing.assert_array_equal(VOTE(classes), vote_by_scipy(classes), strict=True)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_the_mask_holds_the_most_probable_sub_type_after_the_vote(seed):
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(6), (5, 8, 9)).astype(np.float32)
    mask = rng.random((5, 8, 9)) < 0.3
    expected = np.zeros(mask.shape, np.uint8)
    for at in zip(*np.nonzero(mask), strict=True):
        expected[at] = 1 + np.argmax(probability[at][1:])
    np.testing.assert_array_equal(CLASS_MASK(probability, mask), vote_by_scipy(expected), strict=True)


@pytest.mark.parametrize(("row", "expected"), [([4, 5, 5, 0, 4], [5, 5, 5, 0, 4]), ([5, 4, 1, 5, 5], [4, 4, 1, 5, 5])])
def test_by_hand(row, expected):
    """The majority decides, of a tie the lower class, and other sub-types part components and do not vote."""
    np.testing.assert_array_equal(VOTE(np.array(row, np.uint8).reshape(1, 1, 5)).ravel(), expected)


def test_components_connect_through_corners_and_slices():
    classes = np.zeros((2, 4, 4), np.uint8)
    classes[0, 0, 0], classes[1, 1, 1:3] = EDH, SDH
    assert (np.asarray(VOTE(classes))[classes > 0] == SDH).all()
