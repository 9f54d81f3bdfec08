"""Figures of detection by several methods: areas under ROC curves with intervals, and sub-types mistaken for others."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics.detection_records import Confusion
from ichjax.report.figures.style import BLUE, DARK_SHARE, GRAY, INK, RED, chart, name_axes, white_figure
from ichjax.report.tables.paper import CsvRecord

PANELS_IN_A_ROW = 4  # of confusion tables


def auc_by_method(records: Sequence[CsvRecord], main: str) -> Figure:
    """The area under the ROC curve of each method with its 95 % interval, of scans and of slices; best scans on top.

    Dots are filled where a method has scores of its own, and open where its probability ranks.

    Args:
      records: of `detection_records`, of any hemorrhage, at least one with an area.
      main: the run's main method, which has its own color.
    """
    by_unit = {
        unit: {r["method"]: r for r in records if r["unit"] == unit and r["auc"] is not None}
        for unit in ("scans", "slices")
    }
    names = list(dict.fromkeys(record["method"] for record in records))
    order = sorted(names, key=lambda name: [by_unit[unit].get(name, {"auc": -1.0})["auc"] for unit in by_unit])
    lows = [r[key] for rows in by_unit.values() for r in rows.values() for key in ("auc", "auc_ci95_low")]
    left = min(0.45, *(math.floor(20 * low) / 20 for low in lows if low is not None))
    figure, panels = chart(8.8, 1.2 + 0.27 * len(order), columns=2)
    for axes, (unit, rows) in zip(panels, by_unit.items(), strict=True):
        axes.axvline(0.5, color=GRAY, linewidth=1, linestyle=":")
        for height, name in enumerate(order):
            if name in rows:
                _dot(axes, height, rows[name], RED if name == main else BLUE)
        axes.set(xlim=(left, 1.09), ylim=(-0.6, len(order) - 0.4))
        axes.set_xticks([tick for tick in np.arange(0, 1.01, 0.1).round(1) if tick >= left])
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_yticks(range(len(order)), order if unit == "scans" else [""] * len(order), parse_math=False)
        name_axes(axes, "AUC (95 % interval; 0.5 is chance)", "", _title(unit, rows))
    return figure


def _dot(axes: Axes, height: int, record: CsvRecord, color: str) -> None:
    if record["auc_ci95_low"] is not None:
        axes.plot(
            [record["auc_ci95_low"], record["auc_ci95_high"]], [height] * 2, color=color, linewidth=1.6, alpha=0.6
        )
    own = record["ranked_by"] != "probability"
    axes.plot(record["auc"], height, "o", color=color, markersize=6, markerfacecolor=color if own else "white")
    axes.text(1.02, height, f"{record['auc']:.2f}", fontsize=8, va="center", color=INK)


def _title(unit: str, rows: Mapping[str, CsvRecord]) -> str:
    """'Scans: 9 with, 6 without a hemorrhage'; without numbers where methods scored different ones."""
    numbers = {(record["positives"], record["negatives"]) for record in rows.values()}
    if len(numbers) != 1:
        return unit.capitalize()
    positives, negatives = numbers.pop()
    return f"{unit.capitalize()}: {positives} with, {negatives} without a hemorrhage"


def confusion_tables(confusions: Mapping[str, Confusion], unit: str) -> Figure:
    """A table for each method: the true sub-type in rows, the sub-type with the highest score in columns.

    Args:
      confusions: {method: counts}, at least one.
      unit: 'scans' or 'slices'.
    """
    columns = min(PANELS_IN_A_ROW, len(confusions))
    rows = math.ceil(len(confusions) / columns)
    figure = white_figure(0.6 + 2.5 * columns, 0.4 + 2.55 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.ravel()[len(confusions) :]:
        axes.set_axis_off()
    for axes, (name, confusion) in zip(grid.ravel(), confusions.items(), strict=False):
        undecided = list(confusion["undecided"].values())
        counts = np.array([list(row.values()) for row in confusion["counts"].values()])
        _confusion_table(axes, np.column_stack([counts, undecided]))
        right = confusion["right"]
        axes.set_title(
            f"{name}\n{int(counts.trace())} of {right['n']} right", fontsize=9, color=INK, loc="left", parse_math=False
        )
    figure.supxlabel(
        f"sub-type with the highest score (tie: several share it), number of {unit}", fontsize=9, color=INK
    )
    figure.supylabel("only true sub-type", fontsize=9, color=INK)
    return figure


def _confusion_table(axes: Axes, counts: np.ndarray) -> None:
    """Draws int [5, 6]: colors are shares of a row, numbers are counts."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="equal")
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > DARK_SHARE else INK
        axes.text(
            column, row, str(count) if count else "\N{MIDDLE DOT}", ha="center", va="center", fontsize=8, color=color
        )
    for diagonal in range(len(counts)):
        axes.add_patch(Rectangle((diagonal - 0.5, diagonal - 0.5), 1, 1, fill=False, color=GRAY, linewidth=0.8))
    axes.set_xticks(range(len(SUBTYPES) + 1), [*SUBTYPES, "tie"])
    axes.set_yticks(range(len(SUBTYPES)), SUBTYPES)
    axes.tick_params(length=0, labelsize=7.5, colors=INK, labelbottom=True)
    axes.spines[:].set_visible(False)
