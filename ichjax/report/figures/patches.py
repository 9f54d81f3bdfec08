"""The paper's Figure 4: patches as the network takes them, with the truth and the raw probability in colour."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ichjax.data.subject import Dataset
from ichjax.errors import InputError
from ichjax.report.figures import case as cases
from ichjax.report.figures import contact_sheet, style
from ichjax.report.units import units
from ichjax.report.workdir import Run
from ichjax.scan import nifti
from ichjax.scan import volume as volumes

WITH, WITHOUT = 5, 1  # patches with a hemorrhage, and without
FULL = 255  # what probability 1 is on disk


@dataclasses.dataclass(frozen=True, eq=False)
class Patch:
    """A patch on the scan's own pixels.

    Attributes:
      subject: its number.
      index: of the slice, 0 is the lowest.
      hu: int16 [h, w].
      truth: bool [h, w].
      probability: float32 [h, w], 0 to 1.
      pixel_mm: (row, column) spacing.
      nominal_spacing: whether it is.
    """

    subject: int
    index: int
    hu: np.ndarray
    truth: np.ndarray
    probability: np.ndarray
    pixel_mm: tuple[float, float]
    nominal_spacing: bool = False


def draw(run: Run, dataset: Dataset, slices: Sequence) -> Figure | None:
    """Figure 4 of a run; None where no network made it, or it has no patches or no probabilities (a warning says
    which of the two).

    Args:
      run: a finished run.
      dataset: its scans.
      slices: `paper.Slice` of every slice with a hemorrhage.
    """
    if not run.results.get("layers"):
        return None
    side, stride = (run.config.get("patch", {}).get(key) for key in ("side", "stride"))
    if not side or not stride:
        logging.warning("no figure of patches: config.json names no patch side and stride")
        return None
    patches = _choose(run, dataset, slices)
    return draw_patches(patches) if patches else None


def _choose(run: Run, dataset: Dataset, slices: Sequence) -> list[Patch]:
    """The fullest patch of the largest slice of subjects of all sizes, and, on these slices, the patch without a
    hemorrhage that looks most like one."""
    largest: dict[int, object] = {}
    for s in sorted(slices, key=lambda s: -s.truth_px):
        largest.setdefault(s.subject, s)
    ordered = list(largest.values())
    at = np.unique(np.linspace(0, len(ordered) - 1, WITH).round().astype(int))
    with_truth, without = [], []
    for s in (ordered[n] for n in at):
        try:
            cut = _cut(run, dataset, s)
        except InputError as error:
            logging.warning("the figure of patches leaves out subject %d: %s", s.subject, error)
            continue
        if not cut:  # the patch is larger than the slice: these masks come from elsewhere
            continue
        with_truth.append(max(cut, key=lambda p: p.truth.sum()))
        without += [p for p in cut if not p.truth.any()]
    without.sort(key=lambda p: -float(p.probability.mean()))
    return with_truth + without[:WITHOUT] if with_truth else []


def _cut(run: Run, dataset: Dataset, s) -> list[Patch]:
    """Every patch of a slice."""
    case = cases.load_case(run, dataset, s.subject)
    name = f"probabilities/{s.subject:03d}.nii.gz"
    array, affine = nifti.load_array(run.path / name, name=name)
    stored = volumes.from_file_grid(array, affine, name=name)
    if stored.shape != case.volume.shape:
        raise InputError(f"{name}: has the shape {stored.file_shape}; expected its scan's, {case.volume.file_shape}")
    probability = stored.hu[s.index].astype(np.float32) / FULL
    hu, truth = case.volume.hu[s.index], case.truth[s.index]
    grid = run.config.get("grid", {})
    boxes = patch_boxes(
        hu.shape, grid_side=grid.get("side", 0), border=grid.get("border", 0),
        side=run.config["patch"]["side"], stride=run.config["patch"]["stride"],
    )  # fmt: skip
    spacing = (case.volume.pixel_mm, case.volume.nominal_spacing)
    return [Patch(s.subject, s.index, hu[b], truth[b], probability[b], *spacing) for b in boxes]


def patch_boxes(
    shape: tuple[int, int], *, grid_side: int, border: int, side: int, stride: int
) -> list[tuple[slice, slice]]:
    """Where the patches of the network's grid lie on a scan's own pixels.

    Args:
      shape: (H, W) of the scan's slice.
      grid_side: pixels along the network's grid; 0 for the scan's own.
      border: pixels that the grid leaves out at each edge of the image.
      side, stride: of the patches, in pixels of the network's grid.

    Returns:
      Rows and columns of each patch, in reading order, rounded to whole pixels of the scan.
    """
    places = []
    for size in shape:
        whole = grid_side + 2 * border if grid_side else size
        margin, inner = (border, grid_side) if grid_side else (0, size)
        ratio = size / whole
        starts = range(margin, margin + inner - side + 1, stride)
        places.append([slice(round(start * ratio), round((start + side) * ratio)) for start in starts])
    rows, columns = places
    return [(row, column) for row in rows for column in columns]


def draw_patches(patches: Sequence[Patch]) -> Figure:
    """A column a patch: plain, with the truth's outline, and its probability with the truth's outline.

    Args:
      patches: at least one.
    """
    figure, grid = style.board(3, len(patches), cell_inches=(2.1, 2.2))
    for p, (plain, outlined, coloured) in zip(patches, grid.T, strict=True):
        gray = cases.brain_window(p.hu)
        area_mm2 = p.truth.sum() * p.pixel_mm[0] * p.pixel_mm[1]
        what = f"{area_mm2:.0f} {units(p.nominal_spacing).mm2}" if p.truth.any() else "no hemorrhage"
        style.show_slice(plain, gray, p.pixel_mm, title=f"Subject {p.subject}, slice {p.index + 1}\n{what}")
        style.show_slice(outlined, gray, p.pixel_mm, {"truth": p.truth})
        image = style.show_slice(coloured, p.probability, p.pixel_mm, {"truth": p.truth}, cmap="inferno", limits=(0, 1))
    bar = figure.colorbar(image, ax=list(grid[2]), shrink=0.9, pad=0.01, aspect=14)
    bar.set_label("probability", color=contact_sheet.LIGHT_INK, fontsize=8)
    bar.ax.tick_params(colors=contact_sheet.LIGHT_INK, labelsize=8)
    bar.outline.set_edgecolor(contact_sheet.DIM_INK)
    text = "Patches as the network takes them, brain window; below, the raw probability. Research use only."
    style.caption(figure, text, ["truth"])
    return figure
