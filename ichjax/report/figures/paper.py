"""The paper's figures from a run: samples of each sub-type, brain and bone window, best and worst slices."""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ichjax.data.label_tables import SUBTYPES
from ichjax.data.subject import Dataset, align_slice_labels, slice_numbers
from ichjax.errors import InputError
from ichjax.metrics import overlap
from ichjax.report.figures import case as cases
from ichjax.report.figures import patches as patch_figures
from ichjax.report.figures import style
from ichjax.report.figures.case import Slice
from ichjax.report.figures.contact_sheet import LIGHT_INK
from ichjax.report.figures.style import save
from ichjax.report.workdir import Run
from ichjax.scan.volume import BONE_WINDOW_HU, BRAIN_WINDOW_HU

MAX_EXTREMES = 4  # best slices, and worst slices
ORIENTATION_NOTE = "The patient's right is on the left. Slices are numbered from the feet. Research use only."


def write_paper_figures(run: Run) -> list[pathlib.Path]:
    """Writes figure2_samples, figure_s1_windows, figure5_slices and figure4_patches (.png) into figures/.

    Needs the data set that config.json names; without it, or without a readable scan, a warning reports that nothing
    is written. Figure 4 also needs probabilities/ and config.json's patch.

    Returns:
      The files written.
    """
    try:
        dataset = cases.open_dataset(run)
    except InputError as error:
        logging.warning("skipped the figures of the paper: %s", error)
        return []
    slices = survey(run, dataset)
    if not slices:
        logging.warning("skipped the figures of the paper: no slice with a hemorrhage could be read")
        return []
    folder = run.path / "figures"
    samples = choose_samples(slices)
    worst, best = choose_extremes(slices)
    largest = max(slices, key=lambda s: s.truth_px)
    views = load_views(run, dataset, [*filter(None, samples.values()), *worst, *best, largest])
    written = [
        save(draw_samples(samples, views), folder / "figure2_samples.png"),
        save(draw_windows(largest, views[largest]), folder / "figure_s1_windows.png"),
        save(draw_extremes(worst, best, views), folder / "figure5_slices.png"),
    ]
    patches = patch_figures.draw(run, dataset, slices)
    return written + ([save(patches, folder / "figure4_patches.png")] if patches is not None else [])


def survey(run: Run, dataset: Dataset) -> list[Slice]:
    """Every slice with a hemorrhage of the run's subjects; holds one scan in memory at a time."""
    slices = []
    subjects = {s.number: s for s in dataset.subjects}
    for number in (s["subject"] for s in run.results["subjects"] if s["positive_slices"]):
        try:
            case = cases.load_case(run, dataset, number)
        except InputError as error:
            logging.warning("the figures of the paper skip subject %d: %s", number, error)
            continue
        labels, _ = align_slice_labels(subjects[number], slice_numbers(case.volume))
        truth, predicted = (mask.sum(axis=(1, 2)) for mask in (case.truth, case.prediction))
        both = (case.truth & case.prediction).sum(axis=(1, 2))
        dice = overlap.dice(truth, predicted, both, empty=np.nan)
        for d in np.flatnonzero(truth):
            names = tuple(name for name, present in zip(SUBTYPES, labels[d], strict=True) if present)
            slices.append(Slice(number, int(d), float(dice[d]), int(truth[d]), names))
    return slices


def choose_samples(slices: Sequence[Slice]) -> dict[str, Slice | None]:
    """{sub-type: the slice that shows it best, or None}: preferably without another sub-type, and then the one with
    the largest hemorrhage."""
    return {
        name: max(
            (s for s in slices if name in s.subtypes), key=lambda s: (len(s.subtypes) == 1, s.truth_px), default=None
        )
        for name in SUBTYPES
    }


def choose_extremes(slices: Sequence[Slice]) -> tuple[list[Slice], list[Slice]]:
    """(worst, best) slices by Dice, at most one per subject each: worst first from the lower half, best first from
    the upper half.

    Of slices with equal Dice, such as those that were missed, the one with the largest hemorrhage comes first.
    """
    ordered = sorted(slices, key=lambda s: (s.dice, -s.truth_px))
    lower, upper = ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]
    best = sorted(upper, key=lambda s: (-s.dice, -s.truth_px))
    return _one_per_subject(lower)[:MAX_EXTREMES], _one_per_subject(best)[:MAX_EXTREMES]


def _one_per_subject(slices: Sequence[Slice]) -> list[Slice]:
    first: dict[int, Slice] = {}
    for s in slices:
        first.setdefault(s.subject, s)
    return list(first.values())


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A slice's pixels, cropped to the body."""

    hu: np.ndarray  # int16 [h, w]
    truth: np.ndarray  # bool [h, w]
    prediction: np.ndarray  # bool [h, w]
    pixel_mm: tuple[float, float]  # (row, column) spacing


def load_views(run: Run, dataset: Dataset, slices: Sequence[Slice]) -> dict[Slice, View]:
    """The pixels of slices; each scan is read once."""
    views = {}
    for number in sorted({s.subject for s in slices}):
        case = cases.load_case(run, dataset, number)
        box = cases.body_box(case.volume.hu, case.truth, case.prediction)
        for s in {s for s in slices if s.subject == number}:
            hu, truth, prediction = (x[(s.index, *box)].copy() for x in (case.volume.hu, case.truth, case.prediction))
            views[s] = View(hu, truth, prediction, case.volume.pixel_mm)
    return views


def _cell_inches(views: Sequence[View], width: float) -> tuple[float, float]:
    """(width, height) of a panel that fits each of the slices and a title."""
    proportion = max(v.hu.shape[0] * v.pixel_mm[0] / (v.hu.shape[1] * v.pixel_mm[1]) for v in views)
    return width, width * proportion + 0.25


def draw_samples(samples: Mapping[str, Slice | None], views: Mapping[Slice, View]) -> Figure:
    """Figure 2: one column per sub-type, the plain slice above the same slice with the outline of the truth."""
    shown = [views[s] for s in samples.values() if s] or list(views.values())
    figure, grid = style.slice_grid(2, len(samples), cell_inches=_cell_inches(shown, 2.5))
    for (name, s), (plain, outlined) in zip(samples.items(), grid.T, strict=True):
        if s is None:
            plain.set_title(name, fontsize=9, color=LIGHT_INK)
            style.explain_empty_panel(plain, f"no slice with {name}\nin this data set")
            continue
        view = views[s]
        gray = cases.brain_window(view.hu)
        title = f"{', '.join(s.subtypes)}: subject {s.subject}, slice {s.index + 1}"
        style.show_slice(plain, gray, view.pixel_mm, title=title)
        style.show_slice(outlined, gray, view.pixel_mm, {"truth": view.truth})
    style.caption(figure, f"Brain window, {_window_text(BRAIN_WINDOW_HU)}. {ORIENTATION_NOTE}", ["truth"])
    return figure


def _window_text(window_hu: tuple[int, int]) -> str:
    return f"{window_hu[0]} to {window_hu[1]} HU"


def draw_windows(s: Slice, view: View) -> Figure:
    """Figure S1: one slice in the brain window and in the bone window."""
    figure, grid = style.slice_grid(1, 2, cell_inches=_cell_inches([view], 4.2))
    for axes, name, window in zip(grid[0], ("Brain", "Bone"), (BRAIN_WINDOW_HU, BONE_WINDOW_HU), strict=True):
        style.show_slice(axes, view.hu, view.pixel_mm, title=f"{name} window, {_window_text(window)}", limits=window)
    style.caption(figure, f"Subject {s.subject}, slice {s.index + 1}. {ORIENTATION_NOTE}")
    return figure


def draw_extremes(worst: Sequence[Slice], best: Sequence[Slice], views: Mapping[Slice, View]) -> Figure:
    """Figure 5: the best slices above the worst, with the outlines of truth and prediction."""
    cell_inches = _cell_inches([views[s] for s in (*best, *worst)], 3.0)
    figure, grid = style.slice_grid(2, max(len(worst), len(best)), cell_inches=cell_inches)
    for row, slices in zip(grid, (best, worst), strict=True):
        for axes, s in zip(row, slices, strict=False):
            view = views[s]
            masks = {"truth": view.truth, "prediction": view.prediction}
            names = ", ".join(s.subtypes) or "no label"
            title = f"Dice {s.dice:.2f}: subject {s.subject}, slice {s.index + 1} ({names})"
            style.show_slice(axes, cases.brain_window(view.hu), view.pixel_mm, masks, title=title)
    text = f"Top: best slices by Dice. Bottom: worst. At most one slice per subject in each row. {ORIENTATION_NOTE}"
    style.caption(figure, text, ["truth", "prediction"])
    return figure
