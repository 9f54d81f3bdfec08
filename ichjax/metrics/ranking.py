"""Ranks of several methods on the same subjects: Friedman's test and Nemenyi's critical difference.

J. Demsar, 'Statistical comparisons of classifiers over multiple data sets', JMLR 7 (2006), with subjects in place of
data sets.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

ALPHA = 0.05


class Ranking(NamedTuple):
    """The mean ranks of k methods over n subjects.

    Attributes:
      ranks: float64 [k], 1 is best; equal scores share the mean of their ranks.
      critical_difference: mean ranks that differ by less do not differ at level `ALPHA` (Nemenyi).
      friedman_p: that all methods are the same; None for two methods, or where all scores of each subject are equal.
      groups: indices of methods that do not differ from each other, best first; only the largest of such groups, and
        none of a single method.
      n: number of subjects.
    """

    ranks: np.ndarray
    critical_difference: float
    friedman_p: float | None
    groups: tuple[tuple[int, ...], ...]
    n: int


def rank(scores: np.ndarray) -> Ranking:
    """Ranks methods by scores of which higher ones are better.

    Args:
      scores: float [n, k], without NaN.

    Raises:
      ValueError: fewer than two methods or subjects.
    """
    n, k = scores.shape
    if n < 2 or k < 2:
        raise ValueError(f"{k} methods on {n} subjects; expected at least two of each")
    ranks = stats.rankdata(-scores, axis=1).mean(axis=0)
    quantile = stats.studentized_range.ppf(1 - ALPHA, k, np.inf) / np.sqrt(2)
    critical = float(quantile * np.sqrt(k * (k + 1) / (6 * n)))
    differ = bool((scores != scores[:, :1]).any())
    p = float(stats.friedmanchisquare(*scores.T).pvalue) if k > 2 and differ else None
    return Ranking(ranks, critical, p, _groups(ranks, critical), n)


def _groups(ranks: np.ndarray, critical: float) -> tuple[tuple[int, ...], ...]:
    order = np.argsort(ranks, kind="stable")
    groups: list[tuple[int, ...]] = []
    for start in range(len(order)):
        group = _within(order[start:], ranks, critical)
        if len(group) > 1 and not (groups and group[-1] == groups[-1][-1]):
            groups.append(group)
    return tuple(groups)


def _within(order: np.ndarray, ranks: np.ndarray, critical: float) -> tuple[int, ...]:
    """The first of these methods, and those that do not differ from it."""
    return tuple(int(k) for k in order if ranks[k] - ranks[order[0]] < critical)
