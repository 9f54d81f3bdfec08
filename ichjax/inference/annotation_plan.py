"""Which scans to annotate within a time: their value, the time that each takes, and the best set (Kuo et al., 2018)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

STEPS_PER_MINUTE = 10  # of the times that are added up
MIN_FITTED_TIMES = 4  # annotations, for the three coefficients
MAX_MINUTES = 2400.0  # a week of work; the estimate of a mask of thousands of specks is beyond any number


class Effort(NamedTuple):
    """What an annotator has to draw: the length of all contours in mm, and how many lesions."""

    boundary_mm: float
    lesions: int


class TimeModel(NamedTuple):
    """Minutes = exp(base + by_length x log(1 + boundary in mm) + by_lesion x lesions).

    The form is Kuo's. The default coefficients are a guess, as theirs are not published: a minute to look through a
    scan without a lesion, 13 to draw a contour of 400 mm in one lesion. `fit` replaces them by measured ones.
    """

    base: float = 0.0
    by_length: float = 0.41
    by_lesion: float = 0.1

    def minutes(self, effort: Effort) -> float:
        """Estimated minutes for a scan, at most `MAX_MINUTES`."""
        logarithm = self.base + self.by_length * math.log1p(effort.boundary_mm) + self.by_lesion * effort.lesions
        return math.exp(min(logarithm, math.log(MAX_MINUTES)))


def effort(mask: np.ndarray, pixel_mm: tuple[float, float]) -> Effort:
    """The effort of annotating what a mask shows.

    Args:
      mask: bool [D, H, W].
      pixel_mm: rows, columns.
    """
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    down, right = (int((np.diff(padded.astype(np.int8), axis=axis) != 0).sum()) for axis in (1, 2))
    lesions = int(ndimage.label(mask, np.ones((3, 3, 3)))[1])
    return Effort(down * pixel_mm[1] + right * pixel_mm[0], lesions)


def fit(efforts: Sequence[Effort], minutes: Sequence[float]) -> TimeModel:
    """The model with the least squared error of the logarithm, from measured times.

    Args:
      efforts: of annotated scans, at least `MIN_FITTED_TIMES`.
      minutes: that each took, above 0.
    """
    rows = np.array([[1.0, math.log1p(one.boundary_mm), one.lesions] for one in efforts])
    return TimeModel(*np.linalg.lstsq(rows, np.log(minutes), rcond=None)[0].tolist())


def choose(values: Sequence[float], minutes: Sequence[float], budget_minutes: float) -> list[int]:
    """The scans with the highest total value whose total time is within the budget (0-1 knapsack, solved exactly).

    Args:
      values: of each scan, 0 or more.
      minutes: of each scan, above 0; rounded up to tenths.
      budget_minutes: in all.

    Returns:
      Their indices, ascending.
    """
    costs = [math.ceil(one * STEPS_PER_MINUTE - 1e-9) for one in minutes]
    budget = math.floor(min(budget_minutes * STEPS_PER_MINUTE + 1e-9, sum(costs)))
    best = np.zeros(budget + 1)  # the highest value within each time, of the scans so far
    taken = np.zeros((len(costs), budget + 1), bool)
    for k, (value, cost) in enumerate(zip(values, costs, strict=True)):
        if cost <= budget:
            with_it = best[: budget + 1 - cost] + value
            taken[k, cost:] = with_it > best[cost:]
            best[cost:] = np.maximum(best[cost:], with_it)
    chosen, left = [], budget
    for k in reversed(range(len(costs))):
        if taken[k, left]:
            chosen.append(k)
            left -= costs[k]
    return chosen[::-1]
