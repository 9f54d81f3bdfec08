"""Figures of every run: training curves, Dice of each subject, and contact sheets of chosen scans."""

import logging
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ichjax.errors import InputError
from ichjax.metrics.records import Results
from ichjax.report.figures import case as cases
from ichjax.report.figures import contact_sheet
from ichjax.report.figures.style import BLUE, GREEN, INK, RED, chart, plain_axes, save, white_figure
from ichjax.report.workdir import Epoch, Run, choose_subjects
from ichjax.scan.volume import Volume

# (color, marker) of each method; neighbors of Okabe and Ito's palette in this order differ most.
METHOD_STYLES = ((BLUE, "o"), (RED, "^"), (GREEN, "s"), ("#cc79a7", "D"), ("#000000", "v"))
LINE_STYLES = ("--", ":", "-.")


def curves(metrics: Mapping[int, Sequence[Epoch]]) -> Figure:
    """Loss and validation Jaccard over the epochs, one column per fold; the best epoch is marked.

    Args:
      metrics: {fold: records of the epochs}, at least one fold; a value that is missing or None leaves a gap.
    """
    figure = white_figure(1.2 + 2.1 * max(len(metrics), 2), 4.2)
    grid = figure.subplots(2, len(metrics), sharex=True, sharey="row", squeeze=False)
    for column, (fold, records) in enumerate(metrics.items()):
        epochs = _series(records, "epoch")
        loss, jaccard = grid[0, column], grid[1, column]
        loss.plot(epochs, _series(records, "loss"), color=BLUE, linewidth=1.3, label="training")
        validation = _series(records, "validation_loss")
        loss.plot(epochs, validation, color=RED, linewidth=1.3, linestyle="--", label="validation")
        scores = _series(records, "validation_jaccard")
        jaccard.plot(epochs, scores, color=RED, linewidth=1.3, linestyle="--")
        if np.isfinite(scores).any():
            best = int(np.nanargmax(scores))
            jaccard.plot(epochs[best], scores[best], "o", color=RED, markersize=5)
            jaccard.set_title(f"best {scores[best]:.3f}, epoch {epochs[best]:g}", fontsize=8, color=INK)
        loss.set_title(f"fold {fold}", fontsize=9, color=INK)
        jaccard.set_xlabel("epoch", fontsize=8, color=INK)
        jaccard.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for axes in (loss, jaccard):
            plain_axes(axes)
    grid[0, 0].set_ylabel("loss", fontsize=8, color=INK)
    grid[1, 0].set_ylabel("validation Jaccard", fontsize=8, color=INK)
    grid[1, 0].set_ylim(bottom=0)
    grid[0, 0].legend(fontsize=7, frameon=False)
    return figure


def _series(records: Sequence[Epoch], key: str) -> np.ndarray:
    """float [epochs]; NaN where a record has no such value."""
    values = (record.get(key) for record in records)
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def dice_by_subject(methods: Mapping[str, Results]) -> Figure:
    """Dice of each subject with a hemorrhage (paper's convention), sorted by the first method; means as lines.

    Args:
      methods: {display name: results.json}.
    """
    first = next(iter(methods.values()))
    order = sorted(_dice(first).items(), key=lambda item: item[1])
    rank = {subject: n for n, (subject, _) in enumerate(order)}
    figure, (axes,) = chart(max(5.0, 2.4 + 0.22 * len(order)), 3.4)
    for n, (name, results) in enumerate(methods.items()):
        color, marker = METHOD_STYLES[n % len(METHOD_STYLES)]
        shift = 0.24 * (n / max(len(methods) - 1, 1) - 0.5)  # so that equal scores do not hide each other
        points = [(rank[subject] + shift, dice) for subject, dice in _dice(results).items() if subject in rank]
        x, y = zip(*points, strict=True) if points else ((), ())
        mean = results["conventions"]["paper"]["dice"]["mean"]
        label = name if mean is None else f"{name}, mean {mean:.3f}"
        axes.plot(x, y, marker, color=color, markersize=5.5, markeredgecolor="white", markeredgewidth=0.5, label=label)
        if mean is not None:
            axes.axhline(mean, color=color, linewidth=1.0, linestyle=LINE_STYLES[n % len(LINE_STYLES)])
    axes.set_ylim(-0.03, 1.0)
    axes.set_xlim(-0.7, max(len(order), 1) - 0.3)
    axes.set_xticks(range(len(order)), [str(subject) for subject, _ in order], rotation=90)
    axes.set_xlabel("subject", fontsize=8, color=INK)
    axes.set_ylabel("Dice (paper's convention)", fontsize=8, color=INK)
    axes.grid(False, axis="x")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _dice(results: Results) -> dict[int, float]:
    """{subject: Dice} of the subjects that have one."""
    return {s["subject"]: s["dice"] for s in results["subjects"] if s["dice"] is not None}


def overlay_sheet(
    path: pathlib.Path | str,
    volume: Volume,
    prediction_mask: np.ndarray,
    truth: np.ndarray | None = None,
    title: str = "",
) -> None:
    """Writes the contact sheet of a scan as PNG (`contact_sheet.draw`); the title must not be a patient's name."""
    save(contact_sheet.draw(volume, prediction_mask, truth=truth, title=title), path)


def write_figures(run: Run) -> list[pathlib.Path]:
    """Writes curves, dice_by_subject and overlay_NNN (.png) into figures/.

    Training curves need epochs. The contact sheets of `workdir.choose_subjects` need the data set; a warning reports
    those that are skipped.

    Returns:
      The files written.
    """
    folder = run.path / "figures"
    written = [save(curves(run.metrics), folder / "curves.png")] if run.metrics else []
    written.append(save(dice_by_subject(run.methods), folder / "dice_by_subject.png"))
    try:
        dataset = cases.open_dataset(run)
    except InputError as error:
        logging.warning("skipped contact sheets: %s", error)
        return written
    for reason, number in choose_subjects(run.results):
        try:
            case = cases.load_case(run, dataset, number)
        except InputError as error:
            logging.warning("skipped a contact sheet: %s", error)
            continue
        path = folder / f"overlay_{number:03d}.png"
        overlay_sheet(path, case.volume, case.prediction, case.truth, title=f"Subject {number}: {reason}")
        written.append(path)
    return written
