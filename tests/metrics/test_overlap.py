"""Dice and Jaccard of counts: by hand, against scikit-learn, and with empty masks."""

import ast
import pathlib
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ichjax.metrics import overlap

NAN = float("nan")
ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("empty", [NAN, 0.0, 1.0])
@pytest.mark.parametrize(
    ("counts", "dice", "jaccard"),
    [((0, 0, 0), None, None), ((0, 5, 0), 0, 0), ((5, 0, 0), 0, 0), ((1, 1, 1), 1, 1), ((4, 4, 2), 0.5, 1 / 3)],
)
def test_by_hand(counts, dice, jaccard, empty):
    for score, expected in ((overlap.dice, dice), (overlap.jaccard, jaccard)):
        for form in (counts, [np.array([count]) for count in counts], [np.array([float(count)]) for count in counts]):
            with warnings.catch_warnings(action="error"):
                got = score(*form, empty=empty)
            np.testing.assert_array_equal(np.ravel(got), [empty if expected is None else expected])


@pytest.mark.parametrize("score", [overlap.dice, overlap.jaccard])
def test_the_score_of_two_empty_masks_is_a_required_keyword(score):
    with pytest.raises(TypeError, match="empty"):
        score(1, 1, 1)
    with pytest.raises(TypeError):
        score(1, 1, 1, NAN)


@pytest.mark.parametrize("name", ["dice", "jaccard"])
def test_each_score_is_defined_once(name):
    where = [
        path.relative_to(ROOT).as_posix()
        for package in ("ichjax", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    assert where == [pathlib.Path(overlap.__file__).relative_to(ROOT).as_posix()]


@pytest.mark.parametrize("score", [overlap.dice, overlap.jaccard])
def test_score_positive_is_nan_on_slices_without_a_hemorrhage(score):
    counts = np.array([0, 0, 5, 4]), np.array([0, 5, 0, 4]), np.array([0, 0, 0, 4])
    np.testing.assert_array_equal(overlap.score_positive(score, *counts), [NAN, NAN, 0, 1])
    np.testing.assert_array_equal(score(*counts, empty=1.0), [1, 0, 0, 1])


@given(st.integers(0, 2**31))
def test_both_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.random((2, 63)) < rng.random((2, 1))
    counts = truth.sum(), predicted.sum(), (truth & predicted).sum()
    for score, theirs in ((overlap.dice, metrics.f1_score), (overlap.jaccard, metrics.jaccard_score)):
        expected = theirs(truth, predicted, zero_division=1.0) if truth.any() or predicted.any() else 0.25
        np.testing.assert_allclose(score(*counts, empty=0.25), expected, rtol=1e-12)
