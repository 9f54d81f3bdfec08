"""The figure of two runs compared: each subject's score under A against under B, and the differences, sorted."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ichjax.report.figures.style import BLUE, GRAY, GRID_GRAY, INK, RED, plain, white

# Okabe and Ito's palette, a marker with each: (what it means, colour, marker).
B_BETTER = ("B is better", BLUE, "o")
A_BETTER = ("A is better", RED, "^")
EQUAL = ("equal", GRAY, "s")
WIDTH_IN, ROW_IN = 10.5, 3.5
TITLE = {"fontsize": 9.5, "color": INK, "loc": "left"}
MAX_SUBJECT_TICKS = 82  # subjects of the whole data set: as many numbers as fit under the axis


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """One score of the subjects that both runs have it for.

    Attributes:
      title: what it is, without its unit.
      unit: 'mL', 'nominal mL' or nothing.
      higher_is_better: which way is good.
      subjects: int [N], their numbers in the data set.
      a, b: float [N], all finite.
      difference: `statistics.paired_difference` of them.
    """

    title: str
    unit: str
    higher_is_better: bool
    subjects: np.ndarray
    a: np.ndarray
    b: np.ndarray
    difference: Mapping

    @property
    def axis(self) -> str:
        """The title with its unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


def draw(scores: Sequence[Pairs], name_a: str, name_b: str) -> Figure:
    """A row for each score that has a pair: A against B with the diagonal, and B less A from low to high.

    Args:
      scores: at least one with a pair.
      name_a, name_b: of the runs, at most about 110 characters; shown as they are, '$' included.

    Raises:
      ValueError: no score has a pair.
    """
    scores = [pairs for pairs in scores if len(pairs.subjects)]
    if not scores:
        raise ValueError("no score that both runs have for any subject")
    figure = white(WIDTH_IN, 1.0 + ROW_IN * len(scores))
    head, *rows = figure.subfigures(1 + len(scores), 1, height_ratios=[1.0, *[ROW_IN] * len(scores)])
    _heading(head, name_a, name_b)
    for row, pairs in zip(rows, scores, strict=True):
        left, right = row.subplots(1, 2, width_ratios=[1, 2.1])
        _against(left, pairs)
        _differences(right, pairs)
    return figure


def _heading(head, name_a: str, name_b: str) -> None:
    """Which run is A and which B, and what the marks mean."""
    for height, letter, name in ((0.8, "A", name_a), (0.55, "B", name_b)):
        head.text(0.012, height, f"{letter}: {name}", fontsize=10, color=INK, va="center", parse_math=False)
    marks = [
        Line2D([], [], color=color, marker=marker, linestyle="", markersize=6, label=label)
        for label, color, marker in (B_BETTER, A_BETTER, EQUAL)
    ]
    marks.append(Line2D([], [], color=INK, linestyle="--", linewidth=1.2, label="mean difference"))
    marks.append(Line2D([], [], color=GRID_GRAY, linewidth=7, label="its 95 % interval"))
    head.legend(handles=marks, loc="lower left", bbox_to_anchor=(0.0, -0.02), ncols=5, fontsize=8.5, frameon=False)


def _marks(axes, x: np.ndarray, y: np.ndarray, pairs: Pairs) -> None:
    gain = (pairs.b - pairs.a) * (1 if pairs.higher_is_better else -1)
    for (_, color, marker), chosen in ((B_BETTER, gain > 0), (A_BETTER, gain < 0), (EQUAL, gain == 0)):
        style = {"color": color, "markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
        axes.plot(x[chosen], y[chosen], marker, **style, zorder=3)


def _against(axes, pairs: Pairs) -> None:
    """A dot a subject; the diagonal is where both are alike."""
    top = 1.0 if not pairs.unit else max(1.08 * float(max(pairs.a.max(), pairs.b.max())), 1e-3)
    axes.plot([0, top], [0, top], color=GRAY, linewidth=1.0, zorder=2)
    _marks(axes, pairs.a, pairs.b, pairs)
    axes.set_xlim(-0.03 * top, 1.02 * top)
    axes.set_ylim(-0.03 * top, 1.02 * top)
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(f"A: {pairs.axis}", fontsize=9, color=INK)
    axes.set_ylabel(f"B: {pairs.axis}", fontsize=9, color=INK)
    axes.set_title(f"{pairs.title}: {'higher' if pairs.higher_is_better else 'lower'} is better", **TITLE)
    plain(axes)


def _differences(axes, pairs: Pairs) -> None:
    """B less A of each subject from low to high, the mean as a line and its interval as a band."""
    difference = pairs.b - pairs.a
    order = np.argsort(difference, kind="stable")
    place = np.empty(len(order))
    place[order] = np.arange(len(order))
    mean, interval = pairs.difference["mean"], pairs.difference["ci95"]
    if interval is not None:
        axes.axhspan(*interval, color=GRID_GRAY, zorder=0, linewidth=0)
    axes.axhline(0, color=GRAY, linewidth=1.0, zorder=1)
    axes.axhline(mean, color=INK, linewidth=1.2, linestyle="--", zorder=2)
    axes.vlines(place, 0, difference, color="#b8c0c9", linewidth=1.0, zorder=2)
    _marks(axes, place, difference, pairs)
    reach = max(abs(difference).max(), 1e-3)
    axes.set_ylim(min(difference.min(), 0) - 0.08 * reach, max(difference.max(), 0) + 0.08 * reach)
    axes.set_xlim(-0.8, len(order) - 0.2)
    axes.set_xlabel(f"subject, from low to high (n = {len(order)})", fontsize=9, color=INK)
    axes.set_ylabel(f"B - A: {pairs.axis}", fontsize=9, color=INK)
    axes.set_title(_sentence(pairs), **TITLE)
    plain(axes)
    labelled = len(order) <= MAX_SUBJECT_TICKS
    axes.set_xticks(range(len(order)) if labelled else [], pairs.subjects[order] if labelled else [], rotation=90)
    axes.tick_params(axis="x", labelsize=float(np.clip(400 / len(order), 5.0, 8.0)))
    axes.grid(False, axis="x")


def _sentence(pairs: Pairs) -> str:
    """'mean -0.302, 95 % interval -0.381 to -0.223'."""
    digits = 2 if pairs.unit else 3
    unit = f" {pairs.unit}" if pairs.unit else ""
    text = f"mean {pairs.difference['mean']:+.{digits}f}{unit}"
    if pairs.difference["ci95"] is None:
        return f"{text}; fewer than 8 subjects: no interval"
    low, high = pairs.difference["ci95"]
    return f"{text}, 95 % interval {low:+.{digits}f} to {high:+.{digits}f}{unit}"
