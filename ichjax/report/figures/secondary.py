"""Figures of the secondary metrics: ROC, FROC, volume agreement, calibration, and Dice by lesion size and diameter."""

import itertools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ichjax.metrics import secondary_records as records
from ichjax.report.figures.style import BLUE, GRAY, GREEN, INK, RED, chart, name_axes, save
from ichjax.report.tables.summary import number_text
from ichjax.report.units import MEASURED, Units, units_of
from ichjax.report.workdir import Run

LEGEND: dict[str, Any] = {"fontsize": 8, "frameon": False, "labelcolor": INK}
NOTE: dict[str, Any] = {"fontsize": 8, "color": INK}


def write_secondary_figures(run: Run) -> list[pathlib.Path]:
    """Writes the figures of results['beyond'] into figures/; skips those without data.

    Returns:
      The files written, of roc_pr, froc, bland_altman, reliability, lesion_size, dice_by_diameter and
      false_positives_to_bone (.png).
    """
    beyond = run.results.get("beyond")
    figures = draw(beyond, units_of(run.results)) if beyond else {}
    return [save(figure, run.path / "figures" / f"{name}.png") for name, figure in figures.items()]


def draw(beyond: records.SecondaryMetrics, units: Units = MEASURED) -> dict[str, Figure]:
    """{file name without '.png': figure}, of those that have data.

    Args:
      beyond: results['beyond']; parts may be missing or None.
      units: to display.
    """
    figures = {}
    curves = {"slices": beyond.get("slice_roc"), "scans": beyond.get("scan_roc")}
    if any(curves.values()):
        figures["roc_pr"] = roc_pr(curves)
    if (lesions := beyond.get("froc")) and lesions["curve"]:
        figures["froc"] = froc(lesions)
    if (volumes := beyond.get("volume_agreement")) and volumes["limits_ml"]:
        figures["bland_altman"] = bland_altman(volumes, units)
    if (calibration := beyond.get("calibration")) and calibration["bins"]:
        figures["reliability"] = reliability(calibration)
    if (sizes := beyond.get("lesion_size")) and sizes["points"]:
        figures["lesion_size"] = lesion_size(sizes, units)
    if (diameters := beyond.get("diameter")) and diameters["points"]:
        figures["dice_by_diameter"] = dice_by_diameter(diameters, units)
    if (to_bone := beyond.get("false_positives_to_bone")) and sum(to_bone["share"]):
        figures["false_positives_to_bone"] = false_positives_to_bone(to_bone, units)
    return figures


def roc_pr(curves: Mapping[str, records.DetectionCurves | None]) -> Figure:
    """ROC and precision-recall curves side by side.

    Args:
      curves: {what is detected: 'slice_roc' or 'scan_roc' of results['beyond']}, at least one not None.
    """
    figure, (roc, precision) = chart(8.4, 5.1, columns=2)
    roc.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=":", label="chance")
    for (name, curve), color, dashes in zip(curves.items(), (BLUE, RED), ("-", "--"), strict=True):
        if not curve:
            continue
        line: dict[str, Any] = {"color": color, "linestyle": dashes, "linewidth": 1.6}
        roc.plot(*np.transpose(curve["roc"]), **line, label=f"{name}, AUC {curve['area']:.3f}")
        prevalence = curve["positives"] / (curve["positives"] + curve["negatives"])
        label = f"{name}, average precision {curve['average_precision']:.3f}"
        precision.plot(*np.transpose(curve["precision_recall"]), **line, label=label)
        label = f"{name}, chance (prevalence {prevalence:.2f})"
        precision.axhline(prevalence, color=color, linewidth=1, linestyle=":", label=label)
    name_axes(roc, "1 - specificity", "sensitivity", "ROC")
    name_axes(precision, "recall (sensitivity)", "precision", "Precision and recall")
    for axes in (roc, precision):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.set_aspect("equal", anchor="N")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), **LEGEND)  # below, where it hides no curve
    return figure


def froc(part: records.Froc) -> Figure:
    """Free-response curve: lesion sensitivity against false positives per scan, marked at 0.5, 1, 2 and 4."""
    figure, (axes,) = chart(5.6, 3.9)
    points = np.array(sorted(part["curve"]), dtype=float)
    axes.plot(*points.T, color=BLUE, linewidth=1.6, drawstyle="steps-post")
    marked = [(float(at), value) for at, value in part["at"].items() if value is not None]
    for at, value in marked:
        axes.plot(at, value, "D", color=RED, markersize=6, markeredgecolor="white")
        axes.annotate(f"{value:.2f}", (at, value), (4, -12), textcoords="offset points", **NOTE)
    right = max([*points[:, 0], *(at for at, _ in marked), 0.5])
    axes.set(xlim=(-0.02 * right, 1.08 * right), ylim=(-0.01, 1.05))
    name_axes(axes, "false positives per scan", "lesion sensitivity", f"FROC, {part['lesions']} lesions")
    return figure


def bland_altman(part: records.VolumeAgreement, units: Units = MEASURED) -> Figure:
    """Bland-Altman plot: predicted minus true volume against their mean, with bias and limits of agreement."""
    figure, (axes,) = chart(6.8, 3.9)
    truth, predicted = np.array(part["points"], dtype=float).T
    difference = predicted - truth
    axes.plot((truth + predicted) / 2, difference, "o", color=BLUE, markersize=5, markeredgecolor="white")
    low, high = part["limits_ml"] or (0.0, 0.0)
    lines = ((high, "upper limit", "--"), (part["bias_ml"] or 0.0, "bias", "-"), (low, "lower limit", "--"))
    for value, name, dashes in lines:
        axes.axhline(value, color=RED, linewidth=1.3, linestyle=dashes)
        axes.text(
            1.01, value, f"{name} {value:+.1f} {units.ml}", va="center", transform=axes.get_yaxis_transform(), **NOTE
        )
    axes.axhline(0, color=GRAY, linewidth=0.8)
    margin = 0.1 * max(high - low, 1e-9)
    axes.set_ylim(min(low, difference.min()) - margin, max(high, difference.max()) + margin)
    concordance = part["concordance"]
    title = f"{part['n']} scans, concordance {concordance:.3f}" if concordance is not None else ""
    name_axes(axes, f"mean of true and predicted volume ({units.ml})", f"predicted - true volume ({units.ml})", title)
    return figure


def reliability(part: records.Reliability) -> Figure:
    """Observed frequency against predicted probability, and the number of pixels in each bin."""
    figure, (axes, counts) = chart(8.4, 3.9, columns=2)
    bins = [b for b in part["bins"] if b["n"]]
    axes.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=":", label="perfect calibration")
    error = part["expected_calibration_error"]
    probability, frequency = np.array([(b["probability"], b["frequency"]) for b in bins], dtype=float).reshape(-1, 2).T
    axes.plot(probability, frequency, "o-", color=BLUE, markersize=5, markeredgecolor="white",
              label=f"observed, ECE {error:.3f}" if error is not None else "observed")  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_aspect("equal")
    axes.legend(loc="upper left", **LEGEND)
    name_axes(axes, "predicted probability", "observed frequency of hemorrhage", "Calibration")
    edges, widths = [b["low"] for b in bins], [b["high"] - b["low"] for b in bins]
    counts.bar(edges, [b["n"] for b in bins], widths, align="edge", color=BLUE, edgecolor="white")
    counts.set_yscale("log")
    counts.set_xlim(-0.02, 1.02)
    counts.grid(False, axis="x")
    name_axes(counts, "predicted probability", "pixels", "Pixels in each bin")
    return figure


def lesion_size(part: records.LesionSize, units: Units = MEASURED) -> Figure:
    """Dice of each lesion against its volume, and the mean of each bin of volumes."""
    figure, (axes,) = chart(6.4, 4.1)
    ml, dice = np.array(part["points"], dtype=float).T
    missed = dice <= 0
    axes.plot(ml[~missed], dice[~missed], "o", color=BLUE, markersize=5, markeredgecolor="white",
              label=f"overlap ({(~missed).sum()})")  # fmt: skip
    axes.plot(ml[missed], dice[missed], "x", color=RED, markersize=6, label=f"no overlap, Dice 0 ({missed.sum()})")
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis)
    left, right = ml.min() / 1.5, ml.max() * 1.5
    label = "mean of the bin"
    for b in part["bins"]:
        if not b["n"] or b["dice"] is None:
            continue
        low, high = max(b["low_ml"] or left, left), min(b["high_ml"] or right, right)
        axes.hlines(b["dice"], low, high, color=GREEN, linewidth=2.2, label=label)
        label = "_"  # one entry in the legend
        count: dict[str, Any] = {"ha": "center", "va": "bottom", "transform": axes.get_xaxis_transform(), **NOTE}
        axes.text(np.sqrt(low * high), 1.01, f"{b['found']}/{b['n']}", **count)
        axes.axvline(high, color=GRAY, linewidth=0.6, linestyle=":")
    axes.set(xlim=(left, right), ylim=(-0.05, 1.0))
    name_axes(axes, f"lesion volume ({units.ml})", "Dice of the lesion")
    axes.set_title("Above each bin: lesions detected / all lesions", fontsize=9.5, color=INK, loc="left", pad=18)
    legend_below(figure)
    return figure


def dice_by_diameter(part: records.Diameter, units: Units = MEASURED) -> Figure:
    """Dice of each slice against the largest in-plane diameter of its hemorrhage, with the paper's 10 mm line."""
    figure, (axes,) = chart(6.8, 4.1)
    points = np.array(part["points"], dtype=float)  # [[mm, Dice, predicted positive]]
    for value, marker, color, edge_color, edge_width, name in (
        (1, "o", BLUE, "white", 0.5, "predicted positive"),
        (0, "x", RED, RED, 1.2, "predicted negative"),
    ):
        mm, dice, _ = points[points[:, 2] == value].T
        if len(mm):
            axes.plot(mm, dice, marker, color=color, markersize=5.5, markeredgecolor=edge_color,
                      markeredgewidth=edge_width, label=f"{name} ({len(mm)})")  # fmt: skip
    line = part["line_mm"]
    axes.axvline(line, color=INK, linewidth=1.2, linestyle="--")
    axes.set(xlim=(0, 1.05 * max(line, points[:, 0].max())), ylim=(-0.05, 1.02))
    name_axes(axes, f"largest in-plane diameter of the hemorrhage ({units.mm})", "Dice of the slice")
    sides = [
        f"{name} {line:g} {units.mm}: n = {side['slices']}, mean Dice {number_text(side['dice'])}, "
        f"predicted positive {number_text(side['detected'], '%')}"
        for name, side in (("below", part["below"]), ("at least", part["above"]))
    ]
    axes.set_title("\n".join(sides), fontsize=9, color=INK, loc="left")
    legend_below(figure)
    return figure


def false_positives_to_bone(part: records.ToBone, units: Units = MEASURED) -> Figure:
    """Share of the false positives by distance to the inner table, next to that of the intracranial space."""
    figure, (axes,) = chart(6.8, 3.9)
    share, brain = np.array(part["share"], dtype=float), np.array(part["share_of_brain"], dtype=float)
    x = np.arange(len(share))
    axes.bar(x - 0.2, 100 * share, 0.38, color=RED, label="false-positive pixels")
    axes.bar(x + 0.2, 100 * brain, 0.38, color=BLUE, hatch="//", edgecolor="white", label="intracranial space")
    axes.set_xticks(x, [f"{low:g} to {high:g}" for low, high in itertools.pairwise(part["edges_mm"])])
    axes.grid(False, axis="x")
    name_axes(axes, f"distance to the inner table of the skull ({units.mm})", "share of pixels (%)")
    legend_below(figure)
    return figure


def legend_below(figure: Figure) -> None:
    """Puts the legend below the axes, where it hides no data."""
    figure.legend(loc="outside lower center", ncols=3, **LEGEND)


def plain_log_ticks(axis: Axis) -> None:
    """Labels a log axis 0.1, 1, 10 in place of powers."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
