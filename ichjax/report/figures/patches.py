"""The paper's Figure 4: input patches of the network, with the truth and the raw probability in color."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ichjax.data.subject import Dataset
from ichjax.errors import InputError
from ichjax.report.figures import case as cases
from ichjax.report.figures import contact_sheet, style
from ichjax.report.figures.case import Slice
from ichjax.report.units import units
from ichjax.report.workdir import Run

POSITIVE_PATCHES, NEGATIVE_PATCHES = 5, 1  # with and without a hemorrhage
PROBABILITY_ONE = 255  # in the files of probabilities/


@dataclasses.dataclass(frozen=True, eq=False)
class Patch:
    """A patch in the scan's own pixels."""

    subject: int
    index: int  # of the slice, 0 is the lowest
    hu: np.ndarray  # int16 [h, w]
    truth: np.ndarray  # bool [h, w]
    probability: np.ndarray  # float32 [h, w], 0 to 1
    pixel_mm: tuple[float, float]  # (row, column) spacing
    nominal_spacing: bool = False


def draw(run: Run, dataset: Dataset, slices: Sequence[Slice]) -> Figure | None:
    """Figure 4 of a run; None if the method is no network, or patches or probabilities are missing (with a warning).

    Args:
      run: a finished run.
      dataset: its scans.
      slices: every slice with a hemorrhage.
    """
    if not run.results.get("layers"):
        return None
    side, stride = (run.config.get("patch", {}).get(key) for key in ("side", "stride"))
    if not side or not stride:
        logging.warning("skipped the figure of patches: config.json has no patch side and stride")
        return None
    patches = _choose_patches(run, dataset, slices)
    return draw_patches(patches) if patches else None


def _choose_patches(run: Run, dataset: Dataset, slices: Sequence[Slice]) -> list[Patch]:
    """Patches of subjects with hemorrhages of all sizes, from the slice with the largest area of each.

    These are the patch with the most hemorrhage of each slice and, of all these slices, the hemorrhage-free patch
    with the highest mean probability.
    """
    largest: dict[int, Slice] = {}
    for s in sorted(slices, key=lambda s: -s.truth_px):
        largest.setdefault(s.subject, s)
    ordered = list(largest.values())
    chosen = np.unique(np.linspace(0, len(ordered) - 1, POSITIVE_PATCHES).round().astype(int))
    positive, negative = [], []
    for s in (ordered[n] for n in chosen):
        try:
            patches = _cut_patches(run, dataset, s)
        except InputError as error:
            logging.warning("the figure of patches skips subject %d: %s", s.subject, error)
            continue
        if not patches:  # the patch is larger than the slice: the masks were made elsewhere
            continue
        positive.append(max(patches, key=lambda p: p.truth.sum()))
        negative += [p for p in patches if not p.truth.any()]
    negative.sort(key=lambda p: -float(p.probability.mean()))
    return positive + negative[:NEGATIVE_PATCHES] if positive else []


def _cut_patches(run: Run, dataset: Dataset, s: Slice) -> list[Patch]:
    """Every patch of a slice."""
    case = cases.load_case(run, dataset, s.subject)
    stored = cases.load_on_grid(run, "probabilities", case.subject, case.volume)
    probability = stored[s.index].astype(np.float32) / PROBABILITY_ONE
    hu, truth = case.volume.hu[s.index], case.truth[s.index]
    grid, patch = run.config.get("grid", {}), run.config["patch"]
    boxes = patch_boxes(
        hu.shape, grid_side=grid.get("side", 0), border=grid.get("border", 0), side=patch["side"],
        stride=patch["stride"],
    )  # fmt: skip
    spacing = (case.volume.pixel_mm, case.volume.nominal_spacing)
    return [Patch(s.subject, s.index, hu[b], truth[b], probability[b], *spacing) for b in boxes]


def patch_boxes(
    shape: Sequence[int], *, grid_side: int, border: int, side: int, stride: int
) -> list[tuple[slice, slice]]:
    """The patches of the network's grid in a scan's own pixels.

    Args:
      shape: (H, W) of the scan's slice.
      grid_side: side of the network's grid in pixels; 0 for the scan's own grid.
      border: pixels that the grid excludes at each edge of the image.
      side, stride: of the patches, in pixels of the network's grid.

    Returns:
      Rows and columns of each patch, in reading order, rounded to whole pixels of the scan.
    """
    spans = []
    for size in shape:
        margin, inner = (border, grid_side) if grid_side else (0, size)
        ratio = size / (inner + 2 * margin)
        starts = range(margin, margin + inner - side + 1, stride)
        spans.append([slice(round(start * ratio), round((start + side) * ratio)) for start in starts])
    rows, columns = spans
    return [(row, column) for row in rows for column in columns]


def draw_patches(patches: Sequence[Patch]) -> Figure:
    """One column per patch: plain, with the outline of the truth, and its probability with the outline.

    Args:
      patches: at least one.
    """
    figure, grid = style.slice_grid(3, len(patches), cell_inches=(2.1, 2.2))
    for p, (plain, outlined, colored) in zip(patches, grid.T, strict=True):
        gray = cases.brain_window(p.hu)
        area_mm2 = p.truth.sum() * p.pixel_mm[0] * p.pixel_mm[1]
        area = f"{area_mm2:.0f} {units(p.nominal_spacing).mm2}" if p.truth.any() else "no hemorrhage"
        style.show_slice(plain, gray, p.pixel_mm, title=f"Subject {p.subject}, slice {p.index + 1}\n{area}")
        style.show_slice(outlined, gray, p.pixel_mm, {"truth": p.truth})
        image = style.show_slice(colored, p.probability, p.pixel_mm, {"truth": p.truth}, cmap="inferno", limits=(0, 1))
    bar = figure.colorbar(image, ax=list(grid[2]), shrink=0.9, pad=0.01, aspect=14)
    bar.set_label("probability", color=contact_sheet.LIGHT_INK, fontsize=8)
    bar.ax.tick_params(colors=contact_sheet.LIGHT_INK, labelsize=8)
    bar.outline.set_edgecolor(contact_sheet.DIM_INK)
    text = "Input patches of the network in the brain window; bottom row: raw probability. Research use only."
    style.caption(figure, text, ["truth"])
    return figure
