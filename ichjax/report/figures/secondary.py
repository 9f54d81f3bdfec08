"""Figures of what the paper does not measure, drawn from results['beyond']."""

import functools
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ichjax.report.figures.style import BLUE, GRAY, GREEN, INK, RED, chart, name_axes, save
from ichjax.report.units import MEASURED, Units, units_of
from ichjax.report.workdir import Run

SMALL = {"fontsize": 8, "frameon": False, "labelcolor": INK}
NOTE = {"fontsize": 8, "color": INK}


def write_secondary_figures(run: Run) -> list[pathlib.Path]:
    """Writes the figures of results['beyond'] into figures/; none where the key, or what a figure shows, is missing.

    Returns:
      The files written, of roc_pr, froc, bland_altman, reliability, lesion_size, dice_by_diameter and
      false_positives_to_bone (.png).
    """
    figures = draw(run.results.get("beyond") or {}, units_of(run.results))
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    folder = run.path / "figures"
    if drawn:
        folder.mkdir(exist_ok=True)
    return [save(figure, folder / f"{name}.png") for name, figure in drawn.items()]


def draw(beyond: Mapping, units: Units = MEASURED) -> dict[str, Figure | None]:
    """{name of the file: figure}, None for what cannot be drawn; `units`: what to write behind mm and mL."""
    curves = {"slices": beyond.get("slice_roc"), "scans": beyond.get("scan_roc")}
    makers = {
        "froc": (froc, beyond.get("froc"), "curve"),
        "bland_altman": (functools.partial(bland_altman, units=units), beyond.get("volume_agreement"), "limits_ml"),
        "reliability": (reliability, beyond.get("calibration"), "bins"),
        "lesion_size": (functools.partial(lesion_size, units=units), beyond.get("lesion_size"), "points"),
        "dice_by_diameter": (functools.partial(dice_by_diameter, units=units), beyond.get("diameter"), "points"),
        "false_positives_to_bone": (
            functools.partial(false_positives_to_bone, units=units), beyond.get("false_positives_to_bone"), "share",
        ),
    }  # fmt: skip
    bone = beyond.get("false_positives_to_bone")
    if bone and not sum(bone["share"]):  # no false positive
        makers.pop("false_positives_to_bone")
    drawn = {"roc_pr": roc_pr(curves) if any(curves.values()) else None}
    return drawn | {name: make(part) if part and part[key] else None for name, (make, part, key) in makers.items()}


def roc_pr(curves: Mapping[str, Mapping | None]) -> Figure:
    """ROC and precision-recall curves side by side.

    Args:
      curves: {what is detected: 'slice_roc' or 'scan_roc' of results['beyond']}, one at least not None.
    """
    figure, (roc, precision) = chart(8.4, 5.1, columns=2)
    roc.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=":", label="chance")
    for (name, curve), color, dashes in zip(curves.items(), (BLUE, RED), ("-", "--"), strict=True):
        if not curve:
            continue
        line = {"color": color, "linestyle": dashes, "linewidth": 1.6}
        roc.plot(*np.transpose(curve["roc"]), **line, label=f"{name}, area {curve['area']:.3f}")
        share = curve["positives"] / (curve["positives"] + curve["negatives"])
        average = f"{name}, average precision {curve['average_precision']:.3f}"
        precision.plot(*np.transpose(curve["precision_recall"]), **line, label=average)
        precision.axhline(share, color=color, linewidth=1, linestyle=":", label=f"chance: {share:.2f} of {name} bleed")
    name_axes(roc, "1 - specificity", "sensitivity", "ROC")
    name_axes(precision, "recall (sensitivity)", "precision", "Precision and recall")
    for axes in (roc, precision):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.set_aspect("equal", anchor="N")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), **SMALL)  # below, where no curve can be
    return figure


def froc(part: Mapping) -> Figure:
    """Free-response curve: lesions found against false positives a scan, with the figures at 0.5, 1, 2 and 4."""
    figure, (axes,) = chart(5.6, 3.9)
    points = np.array(sorted(part["curve"]), dtype=float)
    axes.plot(*points.T, color=BLUE, linewidth=1.6, drawstyle="steps-post")
    found = [(float(at), value) for at, value in part["at"].items() if value is not None]
    for at, value in found:
        axes.plot(at, value, "D", color=RED, markersize=6, markeredgecolor="white")
        axes.annotate(f"{value:.2f}", (at, value), (4, -12), textcoords="offset points", **NOTE)
    widest = max([*points[:, 0], *(at for at, _ in found), 0.5])
    axes.set(xlim=(-0.02 * widest, 1.08 * widest), ylim=(-0.01, 1.05))
    name_axes(axes, "false positives a scan", "share of lesions found", f"Lesions: {part['lesions']} in all")
    return figure


def bland_altman(part: Mapping, units: Units = MEASURED) -> Figure:
    """Volumes: predicted less true against their mean, with bias and limits of agreement."""
    figure, (axes,) = chart(6.8, 3.9)
    truth, predicted = np.array(part["points"], dtype=float).T
    axes.plot((truth + predicted) / 2, predicted - truth, "o", color=BLUE, markersize=5, markeredgecolor="white")
    low, high = part["limits_ml"]
    span = max(high - low, 1e-9)
    lines = ((high, "upper limit", "--"), (part["bias_ml"], "bias", "-"), (low, "lower limit", "--"))
    for value, name, dashes in lines:
        axes.axhline(value, color=RED, linewidth=1.3, linestyle=dashes)
        axes.text(
            1.01, value, f"{name} {value:+.1f} {units.ml}", va="center", transform=axes.get_yaxis_transform(), **NOTE
        )
    axes.axhline(0, color=GRAY, linewidth=0.8)
    differences = predicted - truth
    axes.set_ylim(min(low, differences.min()) - 0.1 * span, max(high, differences.max()) + 0.1 * span)
    title = f"{part['n']} scans, concordance {part['concordance']:.3f}" if part["concordance"] is not None else ""
    name_axes(axes, f"mean of true and predicted volume ({units.ml})", f"predicted - true volume ({units.ml})", title)
    return figure


def reliability(part: Mapping) -> Figure:
    """Observed frequency against predicted probability, and how many pixels each bin holds."""
    figure, (axes, counts) = chart(8.4, 3.9, columns=2)
    bins = [b for b in part["bins"] if b["n"]]
    axes.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=":", label="perfect")
    error = part["expected_calibration_error"]
    axes.plot(
        [b["probability"] for b in bins], [b["frequency"] for b in bins], "o-", color=BLUE, markersize=5,
        markeredgecolor="white", label=f"observed, ECE {error:.3f}" if error is not None else "observed",
    )  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_aspect("equal")
    axes.legend(loc="upper left", **SMALL)
    name_axes(axes, "predicted probability", "share that is hemorrhage", "Calibration")
    edges = [b["low"] for b in bins]
    counts.bar(edges, [b["n"] for b in bins], [b["high"] - b["low"] for b in bins], align="edge", color=BLUE,
               edgecolor="white")  # fmt: skip
    counts.set_yscale("log")
    counts.set_xlim(-0.02, 1.02)
    counts.grid(False, axis="x")
    name_axes(counts, "predicted probability", "pixels", "Pixels in each bin")
    return figure


def lesion_size(part: Mapping, units: Units = MEASURED) -> Figure:
    """Dice of each lesion against its volume; the step is the mean of each bin."""
    figure, (axes,) = chart(6.4, 4.1)
    ml, dice = np.array(part["points"], dtype=float).T
    missed = dice <= 0
    axes.plot(ml[~missed], dice[~missed], "o", color=BLUE, markersize=5, markeredgecolor="white",
              label=f"overlapped ({(~missed).sum()})")  # fmt: skip
    axes.plot(ml[missed], dice[missed], "x", color=RED, markersize=6, label=f"missed, Dice 0 ({missed.sum()})")
    axes.set_xscale("log")
    plain_numbers(axes.xaxis)
    left, right = ml.min() / 1.5, ml.max() * 1.5
    first = True
    for b in part["bins"]:
        if not b["n"] or b["dice"] is None:
            continue
        low, high = max(b["low_ml"] or left, left), min(b["high_ml"] or right, right)
        axes.hlines(b["dice"], low, high, color=GREEN, linewidth=2.2, label="mean of the bin" if first else None)
        words = {"ha": "center", "va": "bottom", "transform": axes.get_xaxis_transform(), **NOTE}
        axes.text(np.sqrt(low * high), 1.01, f"{b['found']}/{b['n']}", **words)
        axes.axvline(high, color=GRAY, linewidth=0.6, linestyle=":")
        first = False
    axes.set(xlim=(left, right), ylim=(-0.05, 1.0))
    name_axes(axes, f"volume of the lesion ({units.ml})", "Dice of the lesion")
    axes.set_title("Above each bin: lesions found / all", fontsize=9.5, color=INK, loc="left", pad=18)
    below(figure)
    return figure


def dice_by_diameter(part: Mapping, units: Units = MEASURED) -> Figure:
    """Dice of each slice against the largest in-plane diameter of its hemorrhage, with the paper's line."""
    figure, (axes,) = chart(6.8, 4.1)
    points = part["points"]
    for called, marker, color, name in ((True, "o", BLUE, "called positive"), (False, "x", RED, "not called")):
        chosen = [(mm, dice) for mm, dice, detected in points if bool(detected) is called]
        if chosen:
            axes.plot(*np.transpose(chosen), marker, color=color, markersize=5.5, markeredgewidth=1.2 if marker == "x"
                      else 0.5, markeredgecolor="white" if marker == "o" else color,
                      label=f"{name} ({len(chosen)})")  # fmt: skip
    line = part["line_mm"]
    axes.axvline(line, color=INK, linewidth=1.2, linestyle="--")
    axes.set(xlim=(0, 1.05 * max([line, *(p[0] for p in points)])), ylim=(-0.05, 1.02))
    name_axes(axes, f"largest in-plane diameter of the hemorrhage ({units.mm})", "Dice of the slice")
    sides = [
        f"{name} {line:g} {units.mm}: {side['slices']} slices, Dice {_text(side['dice'])}, "
        f"called positive {_text(side['detected'], 100)}"
        for name, side in (("below", part["below"]), ("from", part["above"]))
    ]
    axes.set_title("\n".join(sides), fontsize=9, color=INK, loc="left")
    below(figure)
    return figure


def _text(value: float | None, factor: int = 1) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.0f} %" if factor == 100 else f"{value:.2f}"


def false_positives_to_bone(part: Mapping, units: Units = MEASURED) -> Figure:
    """Share of false positives by their distance to the inner table, beside that of all intracranial pixels."""
    figure, (axes,) = chart(6.8, 3.9)
    edges = part["edges_mm"]
    share, brain = np.array(part["share"], dtype=float), np.array(part["share_of_brain"], dtype=float)
    place = np.arange(len(share))
    axes.bar(place - 0.2, 100 * share, 0.38, color=RED, label="false-positive pixels")
    axes.bar(place + 0.2, 100 * brain, 0.38, color=BLUE, hatch="//", edgecolor="white", label="intracranial space")
    ends = [*edges[1:], None][: len(share)]  # the last bin may be open
    open_or_not = zip(edges, ends, strict=False)
    names = [f"over {a:g}" if b is None or not np.isfinite(b) else f"{a:g} to {b:g}" for a, b in open_or_not]
    axes.set_xticks(place, names)
    axes.grid(False, axis="x")
    name_axes(axes, f"distance to the inner table of the skull ({units.mm})", "share (%)")
    below(figure)
    return figure


def below(figure: Figure) -> None:
    """Puts the legend below the axes, where it cannot hide data."""
    figure.legend(loc="outside lower center", ncols=3, **SMALL)


def plain_numbers(axis) -> None:
    """0.1, 1, 10 on a log axis in place of powers."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
