"""Figures of the methods of the literature: Dice against seconds, Dice by sub-type, and mean ranks."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics.ranking import Ranking
from ichjax.report.figures.detection_scores import auc_by_method, confusion_tables
from ichjax.report.figures.secondary import plain_log_ticks
from ichjax.report.figures.style import BLUE, DARK_SHARE, GRAY, INK, RED, chart, name_axes, save, white_figure
from ichjax.report.tables.detection_scores import confusions, detection_records
from ichjax.report.tables.literature import literature_records, rank_methods
from ichjax.report.tables.paper import CsvRecord
from ichjax.report.workdir import Run


def write_literature_figures(run: Run) -> list[pathlib.Path]:
    """Writes the figures that have data into figures/.

    They are dice_by_seconds, dice_by_method_and_subtype, auc_by_method, subtype_confusion and mean_ranks (.png).
    """
    records = literature_records(run)
    if not records:
        return []
    figures = {}
    if any(record["predict_s"] and record["dice"] is not None for record in records):
        figures["dice_by_seconds"] = dice_by_seconds(records, run.name)
    if any(record[subtype] is not None for record in records for subtype in SUBTYPES):
        figures["dice_by_method_and_subtype"] = subtype_heat_map(records)
    detected = [record for record in detection_records(run.methods) if record["detected"] == "any"]
    if any(record["auc"] is not None for record in detected):
        figures["auc_by_method"] = auc_by_method(detected, run.name)
    confused = confusions(run.methods, "scans")
    if any(confusion["right"]["n"] for confusion in confused.values()):
        figures["subtype_confusion"] = confusion_tables(confused, "scans")
    if ranked := rank_methods(run.methods):
        figures["mean_ranks"] = mean_ranks(*ranked)
    return [save(figure, run.path / "figures" / f"{name}.png") for name, figure in figures.items()]


def dice_by_seconds(records: Sequence[CsvRecord], main: str) -> Figure:
    """The paper's Dice with its interval against the seconds that the prediction of a scan takes.

    Args:
      records: of `literature_records`; those without seconds or Dice are left out.
      main: the run's main method, which has its own color.
    """
    shown = [record for record in records if record["predict_s"] and record["dice"] is not None]
    figure, (axes,) = chart(7.6, 4.6)
    for record in shown:
        color = RED if record["method"] == main else BLUE
        if record["dice_ci95_low"] is not None:
            bounds = [record["dice_ci95_low"], record["dice_ci95_high"]]
            axes.plot([record["predict_s"]] * 2, bounds, color=color, linewidth=1, alpha=0.5)
        axes.plot(record["predict_s"], record["dice"], "o", color=color, markersize=6)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    plain_log_ticks(axes.xaxis)
    heights = _apart([record["dice"] for record in shown], least=0.035)
    for record, height in zip(shown, heights, strict=True):
        axes.annotate(
            record["method"],
            (record["predict_s"], record["dice"]),
            (1.02, height),
            textcoords=axes.get_yaxis_transform(),
            fontsize=8,
            color=INK,
            va="center",
            # The line ends left of the middle of the name, so that it crosses no other.
            arrowprops={
                "arrowstyle": "-", "color": GRAY, "linewidth": 0.5, "shrinkA": 2, "shrinkB": 4, "relpos": (0.0, 0.5),
            },
        )  # fmt: skip
    axes.set_ylim(-0.02, max(0.6, *heights, *(record["dice_ci95_high"] or 0 for record in shown)) + 0.03)
    name_axes(axes, "seconds a scan (median)", "Dice (paper's convention, 95 % interval)")
    return figure


def _apart(values: Sequence[float], *, least: float) -> list[float]:
    """Heights of labels: near the values, in their order, and at least so far apart."""
    order = np.argsort(values, kind="stable")
    heights = np.asarray(values, np.float64)[order]
    for _ in range(200):
        gaps = np.maximum(0.0, least - np.diff(heights))
        if not gaps.any():
            break
        heights[:-1] -= gaps / 2
        heights[1:] += gaps / 2
    lifted = heights + max(0.0, -float(heights.min()))
    placed = np.empty_like(lifted)
    placed[order] = lifted
    return placed.tolist()


def subtype_heat_map(records: Sequence[CsvRecord]) -> Figure:
    """The mean Dice of each method on each sub-type; a dash where there is none."""
    values = np.array([[np.nan if r[key] is None else r[key] for key in SUBTYPES] for r in records], np.float64)
    figure = white_figure(5.6, 1.2 + 0.32 * len(records))
    axes = figure.subplots()
    top = max(float(np.nanmax(values)), 1e-3)
    axes.imshow(np.nan_to_num(values), cmap="Blues", vmin=0.0, vmax=top, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "-" if np.isnan(value) else f"{value:.2f}"
        color = "white" if value > DARK_SHARE * top else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
    axes.set_xticks(range(len(SUBTYPES)), SUBTYPES)
    axes.set_yticks(range(len(records)), [record["method"] for record in records])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.spines[:].set_visible(False)
    return figure


def mean_ranks(names: Sequence[str], ranking: Ranking) -> Figure:
    """Demsar's diagram: methods on the line of mean ranks, and bars below it over those that do not differ."""
    order = np.argsort(ranking.ranks, kind="stable")
    count, bars = len(order), 0.5 * len(ranking.groups)
    better, worse = order[: (count + 1) // 2], order[(count + 1) // 2 :][::-1]
    figure, (axes,) = chart(8.4, 1.3 + 0.26 * (len(better) + bars))
    axes.grid(False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_yticks([])
    axes.set(xlim=(0.9, count + 0.1), ylim=(bars + len(better) + 0.9, -0.9))
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    axes.spines["top"].set_visible(True)
    axes.plot([1, 1 + ranking.critical_difference], [-0.5, -0.5], color=RED, linewidth=2)
    label = f"  critical difference {ranking.critical_difference:.2f}"
    axes.text(1 + ranking.critical_difference, -0.5, label, fontsize=8, va="center", color=INK)
    for place, group in enumerate(ranking.groups):
        ends = ranking.ranks[group[0]] - 0.03, ranking.ranks[group[-1]] + 0.03
        axes.plot(ends, [0.3 + 0.5 * place] * 2, color=GRAY, linewidth=4, solid_capstyle="butt")
    # The outermost methods come first, so that no line crosses another's label.
    for side, methods, edge in (("right", better, 0.9), ("left", worse, count + 0.1)):
        for place, method in enumerate(methods):
            rank, height = ranking.ranks[method], bars + place + 0.6
            axes.plot([rank, rank, edge], [-0.1, height, height], color=BLUE, linewidth=0.8)
            text = f"{names[method]} {rank:.2f}"
            gap = -4 if side == "right" else 4
            axes.annotate(
                text, (edge, height), (gap, 0), textcoords="offset points", fontsize=8.5, ha=side, va="center",
                color=INK, parse_math=False,
            )  # fmt: skip
    axes.set_xlabel("mean rank by Dice; 1 is best", fontsize=9, color=INK)
    return figure
