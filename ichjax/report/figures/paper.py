"""The paper's figures from a run: samples of each sub-type, the two windows, best and worst slices."""

import dataclasses
import logging
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ichjax.data.label_tables import SUBTYPES
from ichjax.data.subject import Dataset, align_slice_labels, slice_numbers
from ichjax.errors import InputError
from ichjax.metrics import overlap
from ichjax.report.figures import case as cases
from ichjax.report.figures import patches as patch_figures
from ichjax.report.figures import style
from ichjax.report.figures.style import save
from ichjax.report.workdir import Run
from ichjax.scan.volume import BONE_WINDOW_HU, BRAIN_WINDOW_HU

EACH = 4  # best and worst slices


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice with a hemorrhage, as far as choosing it needs.

    Attributes:
      subject: its number.
      index: 0 is the lowest.
      dice: of the prediction.
      truth_px: pixels of hemorrhage.
      subtypes: those that it carries.
    """

    subject: int
    index: int
    dice: float
    truth_px: int
    subtypes: tuple[str, ...]


def write_paper_figures(run: Run) -> list[pathlib.Path]:
    """Writes figure2_samples, figure_s1_windows, figure4_patches and figure5_slices (.png) into figures/.

    Needs the data set that config.json names; without it, or without a scan that can be read, nothing is written
    and a warning says why. Figure 4 also needs probabilities/ and config.json's patch.

    Returns:
      The files written.
    """
    try:
        dataset = cases.open_dataset(run)
    except InputError as error:
        logging.warning("no figures of the paper: %s", error)
        return []
    slices = survey(run, dataset)
    if not slices:
        logging.warning("no figures of the paper: no slice with a hemorrhage could be read")
        return []
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    samples = choose_samples(slices)
    worst, best = choose_extremes(slices)
    largest = max(slices, key=lambda s: s.truth_px)
    shown = _load(run, dataset, [*filter(None, samples.values()), *worst, *best, largest])
    written = [
        save(draw_samples(samples, shown), folder / "figure2_samples.png"),
        save(draw_windows(largest, shown), folder / "figure_s1_windows.png"),
        save(draw_extremes(worst, best, shown), folder / "figure5_slices.png"),
    ]
    patches = patch_figures.draw(run, dataset, slices)
    return written + ([save(patches, folder / "figure4_patches.png")] if patches is not None else [])


def survey(run: Run, dataset: Dataset) -> list[Slice]:
    """Every slice with a hemorrhage of the run's subjects, one scan in memory at a time."""
    found = []
    subjects = {s.number: s for s in dataset.subjects}
    for number in (s["subject"] for s in run.results["subjects"] if s["positive_slices"]):
        try:
            case = cases.load_case(run, dataset, number)
        except InputError as error:
            logging.warning("the figures of the paper leave out subject %d: %s", number, error)
            continue
        labels, _ = align_slice_labels(subjects[number], slice_numbers(case.volume))
        truth, predicted = (mask.sum(axis=(1, 2)) for mask in (case.truth, case.prediction))
        both = (case.truth & case.prediction).sum(axis=(1, 2))
        dice = overlap.dice(truth, predicted, both, empty=np.nan)
        for d in np.flatnonzero(truth):
            names = tuple(name for name, there in zip(SUBTYPES, labels[d], strict=True) if there)
            found.append(Slice(number, int(d), float(dice[d]), int(truth[d]), names))
    return found


def choose_samples(slices: Sequence[Slice]) -> dict[str, Slice | None]:
    """{sub-type: the slice that shows it best, or None}: with no other sub-type where there is such a slice, then
    the one with the largest hemorrhage."""
    return {
        name: max(
            (s for s in slices if name in s.subtypes), key=lambda s: (len(s.subtypes) == 1, s.truth_px), default=None
        )
        for name in SUBTYPES
    }


def choose_extremes(slices: Sequence[Slice]) -> tuple[list[Slice], list[Slice]]:
    """(worst, best) slices by Dice, worst first and best first, one a subject: of the lower and of the upper half.

    Where several have the same Dice, as all that were missed have, the one with the largest hemorrhage counts.
    """
    ordered = sorted(slices, key=lambda s: (s.dice, -s.truth_px))
    lower, upper = ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]
    best = sorted(upper, key=lambda s: (-s.dice, -s.truth_px))
    return _one_a_subject(lower)[:EACH], _one_a_subject(best)[:EACH]


def _one_a_subject(slices: Sequence[Slice]) -> list[Slice]:
    first: dict[int, Slice] = {}
    for s in slices:
        first.setdefault(s.subject, s)
    return list(first.values())


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A slice's pixels, cut to the body: hu int16 [h, w], masks bool [h, w], (row, column) spacing in mm."""

    hu: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    pixel_mm: tuple[float, float]


def _load(run: Run, dataset: Dataset, slices: Sequence[Slice]) -> dict[tuple[int, int], View]:
    views = {}
    for number in sorted({s.subject for s in slices}):
        case = cases.load_case(run, dataset, number)
        box = cases.body_box(case.volume.hu, case.truth, case.prediction)
        for d in {s.index for s in slices if s.subject == number}:
            at = (d, *box)
            views[number, d] = View(
                case.volume.hu[at].copy(), case.truth[at].copy(), case.prediction[at].copy(), case.volume.pixel_mm
            )
    return views


def _of(s: Slice, shown: dict[tuple[int, int], View]) -> View:
    return shown[s.subject, s.index]


def _cell(views: Sequence[View], width: float) -> tuple[float, float]:
    """Inches of a panel that holds each of the slices and a title."""
    tall = max(v.hu.shape[0] * v.pixel_mm[0] / (v.hu.shape[1] * v.pixel_mm[1]) for v in views)
    return width, width * tall + 0.25


def draw_samples(samples: dict[str, Slice | None], shown: dict[tuple[int, int], View]) -> Figure:
    """Figure 2: a column a sub-type, the plain slice above the one with the truth's outline."""
    views = [_of(s, shown) for s in samples.values() if s] or list(shown.values())
    figure, grid = style.board(2, len(samples), cell_inches=_cell(views, 2.5))
    for (name, s), (plain, outlined) in zip(samples.items(), grid.T, strict=True):
        if s is None:
            plain.set_title(name, fontsize=9, color="#e8ecf0")
            style.say_missing(plain, f"no slice with {name}\nin this data set")
            continue
        view = _of(s, shown)
        gray = cases.brain_window(view.hu)
        title = f"{', '.join(s.subtypes)}: subject {s.subject}, slice {s.index + 1}"
        style.show_slice(plain, gray, view.pixel_mm, title=title)
        style.show_slice(outlined, gray, view.pixel_mm, {"truth": view.truth})
    style.caption(figure, f"Brain window, {_window(BRAIN_WINDOW_HU)}. {ORIENTATION_NOTE}", ["truth"])
    return figure


ORIENTATION_NOTE = "The patient's right is at the left. Slices are numbered from the feet. Research use only."


def _window(window_hu: tuple[int, int]) -> str:
    return f"{window_hu[0]} to {window_hu[1]} HU"


def draw_windows(s: Slice, shown: dict[tuple[int, int], View]) -> Figure:
    """Figure S1: one slice through the brain window and the bone window."""
    view = _of(s, shown)
    figure, grid = style.board(1, 2, cell_inches=_cell([view], 4.2))
    for axes, name, window in zip(grid[0], ("Brain", "Bone"), (BRAIN_WINDOW_HU, BONE_WINDOW_HU), strict=True):
        style.show_slice(axes, view.hu, view.pixel_mm, title=f"{name} window, {_window(window)}", limits=window)
    style.caption(figure, f"Subject {s.subject}, slice {s.index + 1}. {ORIENTATION_NOTE}")
    return figure


def draw_extremes(worst: Sequence[Slice], best: Sequence[Slice], shown: dict[tuple[int, int], View]) -> Figure:
    """Figure 5: the best slices above the worst, with the outlines of truth and prediction."""
    views = [_of(s, shown) for s in (*best, *worst)]
    figure, grid = style.board(2, max(len(worst), len(best)), cell_inches=_cell(views, 3.0))
    for row, slices in zip(grid, (best, worst), strict=True):
        for axes, s in zip(row, slices, strict=False):
            view = _of(s, shown)
            masks = {"truth": view.truth, "prediction": view.prediction}
            names = ", ".join(s.subtypes) or "no label"
            title = f"Dice {s.dice:.2f}: subject {s.subject}, slice {s.index + 1} ({names})"
            style.show_slice(axes, cases.brain_window(view.hu), view.pixel_mm, masks, title=title)
    text = f"Above the best slices by Dice, below the worst, one a subject. {ORIENTATION_NOTE}"
    style.caption(figure, text, ["truth", "prediction"])
    return figure
