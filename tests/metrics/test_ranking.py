"""Mean ranks, Friedman's test and Nemenyi's critical difference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chi2

from ichjax.metrics import ranking

# Demsar 2006, Table 6: AUC of four decision trees on 14 data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_the_published_example():
    result = ranking.rank(DEMSAR)
    np.testing.assert_allclose(result.ranks, [3.143, 2.000, 2.893, 1.964], atol=1e-3)
    assert result.critical_difference == pytest.approx(1.25, abs=0.005)  # 2.569 sqrt(4 x 5 / (6 x 14))
    tied = (60 + 3 * 6) / (14 * 60)  # one row of four equal values, three rows of two
    assert result.friedman_p == pytest.approx(chi2.sf(9.28 / (1 - tied), 3), rel=0.01)  # 9.28 is without correction
    assert result.groups == ((3, 1, 2, 0),)
    assert result.n == 14


def test_groups_overlap_and_single_methods_have_none():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(200, 4)) * 0.1 + [0.0, 0.05, 0.1, 5.0]
    result = ranking.rank(scores)
    assert all(3 not in group for group in result.groups)
    for group in result.groups:
        assert np.ptp(result.ranks[list(group)]) < result.critical_difference


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(2, 8), st.integers(2, 5)), elements=st.sampled_from([0, 0.5, 1])))
def test_mean_ranks_sum_to_those_of_no_ties_and_groups_hold_all_that_do_not_differ(scores):
    result = ranking.rank(scores)
    k = scores.shape[1]
    assert result.ranks.sum() == pytest.approx(k * (k + 1) / 2)
    together = {pair for group in result.groups for pair in ((a, b) for a in group for b in group)}
    for a in range(k):
        for b in range(k):
            if a != b:
                assert ((a, b) in together) == (abs(result.ranks[a] - result.ranks[b]) < result.critical_difference)
    assert result.friedman_p is None or 0 <= result.friedman_p <= 1


def test_one_method_or_one_subject_is_refused():
    with pytest.raises(ValueError, match="1 methods on 3 subjects"):
        ranking.rank(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="3 methods on 1 subjects"):
        ranking.rank(np.zeros((1, 3)))
