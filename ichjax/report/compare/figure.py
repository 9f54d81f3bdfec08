"""Figure of a comparison: each subject's score under A against B, and the sorted differences."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ichjax.metrics.statistics import PairedDifference
from ichjax.report.figures.style import BLUE, GRAY, GRID_GRAY, INK, RED, name_axes, plain_axes, white_figure

# (legend, color, marker)
B_BETTER = ("B is better", BLUE, "o")
A_BETTER = ("A is better", RED, "^")
EQUAL = ("equal", GRAY, "s")
FIGURE_WIDTH_INCHES, ROW_INCHES = 10.5, 3.5
MAX_SUBJECT_TICKS = 82  # subjects in the whole data set; as many numbers fit below the axis


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """The paired values of one score."""

    title: str  # without the unit
    unit: str  # 'mL', 'nominal mL' or ''
    higher_is_better: bool
    subjects: np.ndarray  # int [N], their numbers in the data set
    a: np.ndarray  # float [N], all finite
    b: np.ndarray  # float [N], all finite
    difference: PairedDifference

    @property
    def axis(self) -> str:
        """The title with its unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


def draw(scores: Sequence[Pairs], name_a: str, name_b: str) -> Figure:
    """A row for each score that has a pair: A against B with the diagonal, and B - A in increasing order.

    Args:
      scores: at least one with a pair.
      name_a, name_b: of the runs, at most about 110 characters; plain text, '$' included.

    Raises:
      ValueError: no score has a pair.
    """
    scores = [pairs for pairs in scores if len(pairs.subjects)]
    if not scores:
        raise ValueError("no subject has a score in both runs; expected at least one pair")
    figure = white_figure(FIGURE_WIDTH_INCHES, 1.0 + ROW_INCHES * len(scores))
    parts = figure.subfigures(1 + len(scores), 1, height_ratios=[1.0, *[ROW_INCHES] * len(scores)], squeeze=False)
    head, *rows = parts[:, 0]
    _heading(head, name_a, name_b)
    for row, pairs in zip(rows, scores, strict=True):
        left, right = row.subplots(1, 2, width_ratios=[1, 2.1])
        _scatter(left, pairs)
        _differences(right, pairs)
    return figure


def _heading(head: SubFigure, name_a: str, name_b: str) -> None:
    """The names of A and B, and the legend."""
    for height, letter, name in ((0.8, "A", name_a), (0.55, "B", name_b)):
        head.text(0.012, height, f"{letter}: {name}", fontsize=10, color=INK, va="center", parse_math=False)
    marks = [
        Line2D([], [], color=color, marker=marker, linestyle="", markersize=6, label=label)
        for label, color, marker in (B_BETTER, A_BETTER, EQUAL)
    ]
    marks.append(Line2D([], [], color=INK, linestyle="--", linewidth=1.2, label="mean difference"))
    marks.append(Line2D([], [], color=GRID_GRAY, linewidth=7, label="95 % confidence interval"))
    head.legend(handles=marks, loc="lower left", bbox_to_anchor=(0.0, -0.02), ncols=5, fontsize=8.5, frameon=False)


def _marks(axes: Axes, x: np.ndarray, y: np.ndarray, pairs: Pairs) -> None:
    """A mark per subject that shows which run is better."""
    gain = (pairs.b - pairs.a) * (1 if pairs.higher_is_better else -1)
    for (_, color, marker), chosen in ((B_BETTER, gain > 0), (A_BETTER, gain < 0), (EQUAL, gain == 0)):
        style: dict[str, Any] = {"color": color, "markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
        axes.plot(x[chosen], y[chosen], marker, **style, zorder=3)


def _scatter(axes: Axes, pairs: Pairs) -> None:
    """A mark per subject; on the diagonal both runs are equal."""
    top = 1.0 if not pairs.unit else max(1.08 * float(max(pairs.a.max(), pairs.b.max())), 1e-3)
    axes.plot([0, top], [0, top], color=GRAY, linewidth=1.0, zorder=2)
    _marks(axes, pairs.a, pairs.b, pairs)
    axes.set_xlim(-0.03 * top, 1.02 * top)
    axes.set_ylim(-0.03 * top, 1.02 * top)
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    better = f"{pairs.title}: {'higher' if pairs.higher_is_better else 'lower'} is better"
    name_axes(axes, f"A: {pairs.axis}", f"B: {pairs.axis}", better)
    plain_axes(axes)


def _differences(axes: Axes, pairs: Pairs) -> None:
    """B - A of each subject in increasing order, the mean as a line and its confidence interval as a band."""
    difference = pairs.b - pairs.a
    order = np.argsort(difference, kind="stable")
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order))
    if pairs.difference["ci95"] is not None:
        axes.axhspan(*pairs.difference["ci95"], color=GRID_GRAY, zorder=0, linewidth=0)
    axes.axhline(0, color=GRAY, linewidth=1.0, zorder=1)
    axes.axhline(float(difference.mean()), color=INK, linewidth=1.2, linestyle="--", zorder=2)
    axes.vlines(rank, 0, difference, color="#b8c0c9", linewidth=1.0, zorder=2)
    _marks(axes, rank, difference, pairs)
    reach = max(abs(difference).max(), 1e-3)
    axes.set_ylim(min(difference.min(), 0) - 0.08 * reach, max(difference.max(), 0) + 0.08 * reach)
    axes.set_xlim(-0.8, len(order) - 0.2)
    name_axes(axes, f"subject, sorted by difference (n = {len(order)})", f"B - A: {pairs.axis}", _mean_text(pairs))
    plain_axes(axes)
    labeled = len(order) <= MAX_SUBJECT_TICKS
    axes.set_xticks(range(len(order)) if labeled else [], pairs.subjects[order] if labeled else [], rotation=90)
    axes.tick_params(axis="x", labelsize=float(np.clip(400 / len(order), 5.0, 8.0)))
    axes.grid(False, axis="x")


def _mean_text(pairs: Pairs) -> str:
    """'mean -0.302, 95 % CI -0.381 to -0.223'."""
    digits = 2 if pairs.unit else 3
    unit = f" {pairs.unit}" if pairs.unit else ""
    text = f"mean {pairs.difference['mean']:+.{digits}f}{unit}"
    if pairs.difference["ci95"] is None:
        return f"{text}; fewer than 8 subjects, no confidence interval"
    low, high = pairs.difference["ci95"]
    return f"{text}, 95 % CI {low:+.{digits}f} to {high:+.{digits}f}{unit}"
