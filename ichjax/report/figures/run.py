"""Figures: curves of training, Dice of each subject, and a scan's slices with outlines."""

import logging
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ichjax.errors import InputError
from ichjax.report.figures import case as cases
from ichjax.report.figures import contact_sheet
from ichjax.report.figures.style import INK, chart, plain, save, white
from ichjax.report.workdir import choose_subjects, read_run
from ichjax.scan.volume import Volume

# Okabe and Ito's palette, in an order whose neighbours differ most; a marker goes with each colour.
METHOD_STYLES = (("#0072b2", "o"), ("#d55e00", "^"), ("#009e73", "s"), ("#cc79a7", "D"), ("#000000", "v"))


def curves(metrics: Mapping[int, Sequence[Mapping]]) -> Figure:
    """Loss and validation Jaccard over the epochs, a column a fold; the best epoch is marked.

    Args:
      metrics: {fold: records of the epochs}, at least one fold; a value that is missing or None leaves a gap.
    """
    figure = white(1.2 + 2.1 * max(len(metrics), 2), 4.2)
    grid = figure.subplots(2, len(metrics), sharex=True, sharey="row", squeeze=False)
    for column, (fold, records) in enumerate(metrics.items()):
        epochs = _series(records, "epoch")
        loss, jaccard = grid[0, column], grid[1, column]
        loss.plot(epochs, _series(records, "loss"), color="#0072b2", linewidth=1.3, label="training")
        validation = _series(records, "validation_loss")
        loss.plot(epochs, validation, color="#d55e00", linewidth=1.3, linestyle="--", label="validation")
        scores = _series(records, "validation_jaccard")
        jaccard.plot(epochs, scores, color="#d55e00", linewidth=1.3, linestyle="--")
        if np.isfinite(scores).any():
            best = int(np.nanargmax(scores))
            jaccard.plot(epochs[best], scores[best], "o", color="#d55e00", markersize=5)
            jaccard.set_title(f"best {scores[best]:.3f}, epoch {epochs[best]:g}", fontsize=8, color=INK)
        loss.set_title(f"fold {fold}", fontsize=9, color=INK)
        jaccard.set_xlabel("epoch", fontsize=8, color=INK)
        jaccard.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for axes in (loss, jaccard):
            plain(axes)
    grid[0, 0].set_ylabel("loss", fontsize=8, color=INK)
    grid[1, 0].set_ylabel("validation Jaccard", fontsize=8, color=INK)
    grid[1, 0].set_ylim(bottom=0)
    grid[0, 0].legend(fontsize=7, frameon=False)
    return figure


def _series(records: Sequence[Mapping], key: str) -> np.ndarray:
    """float [epochs]; NaN where a record has no such value."""
    values = (record.get(key) for record in records)
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def dice_by_subject(methods: Mapping[str, Mapping]) -> Figure:
    """Dice of each subject with a hemorrhage (paper's convention), sorted by the first method; means as lines.

    Args:
      methods: {name: results.json}.
    """
    first = next(iter(methods.values()))
    order = [s["subject"] for s in sorted(_scored(first), key=lambda s: s["dice"])]
    place = {number: n for n, number in enumerate(order)}
    figure, (axes,) = chart(max(5.0, 2.4 + 0.22 * len(order)), 3.4)
    for n, (name, results) in enumerate(methods.items()):
        color, marker = METHOD_STYLES[n % len(METHOD_STYLES)]
        aside = 0.24 * (n / max(len(methods) - 1, 1) - 0.5)  # so that equal scores don't hide each other
        subjects = [s for s in _scored(results) if s["subject"] in place]
        mean = results["conventions"]["paper"]["dice"]["mean"]
        axes.plot(
            [place[s["subject"]] + aside for s in subjects],
            [s["dice"] for s in subjects],
            marker,
            color=color,
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=name if mean is None else f"{name}, mean {mean:.3f}",
        )
        if mean is not None:
            axes.axhline(mean, color=color, linewidth=1.0, linestyle=("--", ":", "-.")[n % 3])
    axes.set_ylim(-0.03, 1.0)
    axes.set_xlim(-0.7, max(len(order), 1) - 0.3)
    axes.set_xticks(range(len(order)), order, rotation=90)
    axes.set_xlabel("subject", fontsize=8, color=INK)
    axes.set_ylabel("Dice (paper's convention)", fontsize=8, color=INK)
    axes.grid(False, axis="x")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _scored(results: Mapping) -> list[Mapping]:
    return [s for s in results["subjects"] if s["dice"] is not None]


def overlay_sheet(
    path: pathlib.Path | str,
    volume: Volume,
    prediction_mask: np.ndarray,
    truth: np.ndarray | None = None,
    title: str = "",
) -> None:
    """Writes a PNG of a scan's slices in the brain window, with the outlines of masks.

    Args:
      path: the file, ends in .png.
      volume: the scan.
      prediction_mask: bool or uint8 [D, H, W]; dashed orange.
      truth: bool or uint8 [D, H, W]; solid blue; None for none.
      title: plain text above the sheet; never a patient's name.

    Raises:
      ValueError: a mask does not lie on the scan.
    """
    save(contact_sheet.draw(volume, prediction_mask, truth=truth, title=title), path)


def write_figures(workdir: pathlib.Path | str) -> list[pathlib.Path]:
    """Writes the figures of a work directory into figures/.

    Curves of training (where the method has epochs), Dice of each subject, and a sheet of slices for each of
    `workdir.choose_subjects` (where the data set is still there; a warning tells what is missing).

    Returns:
      The files written.

    Raises:
      InputError: as `workdir.read_run`.
    """
    run = read_run(workdir)
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    written = []
    if run.metrics:
        written.append(save(curves(run.metrics), folder / "curves.png"))
    written.append(save(dice_by_subject(run.methods), folder / "dice_by_subject.png"))
    try:
        dataset = cases.open_dataset(run)
    except InputError as error:
        logging.warning("no sheets of slices: %s", error)
        return written
    for why, number in choose_subjects(run.results):
        try:
            case = cases.load_case(run, dataset, number)
        except InputError as error:
            logging.warning("no sheet of slices: %s", error)
            continue
        path = folder / f"overlay_{number:03d}.png"
        overlay_sheet(path, case.volume, case.prediction, case.truth, title=f"Subject {number}: {why}")
        written.append(path)
    return written
