"""Contact sheet of a scan: all its slices in the brain window, with mask outlines, slice numbers and a scale bar."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.typing import LineStyleType

from ichjax.report.figures import case as cases
from ichjax.report.figures import contours
from ichjax.report.units import units
from ichjax.scan.volume import Volume

MAX_SLICES = 64
WIDTH_INCHES = 15.0
BAR_MM = 50
GAP_PX = 2  # black, between neighboring slices
BACKGROUND, LIGHT_INK, DIM_INK = "#0b0d10", "#e8ecf0", "#a9b3bd"
LABEL: dict[str, Any] = {
    "fontsize": 8, "color": LIGHT_INK, "path_effects": [withStroke(linewidth=1.5, foreground=BACKGROUND)],
}  # fmt: skip
OUTLINE_STYLES: dict[str, tuple[str, LineStyleType]] = {
    "truth": (contours.TRUTH_COLOR, "solid"),
    "prediction": (contours.PREDICTION_COLOR, (0, (3.0, 1.6))),
}


def draw(volume: Volume, prediction: np.ndarray, *, truth: np.ndarray | None = None, title: str = "") -> Figure:
    """Draws the sheet.

    Args:
      volume: the scan.
      prediction: bool or uint8 [D, H, W]; dashed orange.
      truth: bool or uint8 [D, H, W]; solid blue; None if there is none.
      title: plain text above the sheet.

    Returns:
      A figure with the slices in reading order, the lowest first; of more than `MAX_SLICES` slices, a selection
      (`choose_slices`).

    Raises:
      ValueError: the shape of a mask is not the scan's.
    """
    masks = {"prediction": prediction} if truth is None else {"truth": truth, "prediction": prediction}
    for name, mask in masks.items():
        if mask.shape != volume.shape:
            raise ValueError(f"{name} has shape {mask.shape}; expected the shape of its scan, {volume.shape}")
    masks = {name: np.asarray(mask) > 0 for name, mask in masks.items()}
    box = cases.body_box(volume.hu, *masks.values())
    shown = choose_slices(masks["prediction"])
    cells = cases.brain_window(volume.hu[(shown, *box)])
    columns = choose_columns(len(shown))
    figure, axes = _mosaic(cells, columns, aspect=volume.pixel_mm[0] / volume.pixel_mm[1])
    height, width = (size + GAP_PX for size in cells.shape[1:])
    for n, d in enumerate(shown.tolist()):
        x, y = (n % columns) * width, (n // columns) * height
        _label(axes, x, y, number=d + 1, width=width - GAP_PX, height=height - GAP_PX)
        for name, mask in masks.items():
            draw_outline(axes, mask[d][box], x, y, name)
    _scale_bar(axes, volume, height - GAP_PX)
    _title_and_caption(figure, title, caption(len(shown), volume.shape[0]), list(masks))
    return figure


def choose_slices(prediction: np.ndarray) -> np.ndarray:
    """int [N]: the slices to show, in order: all, or the ones with the largest prediction and evenly spaced ones.

    Args:
      prediction: bool [D, H, W].
    """
    depth = len(prediction)
    if depth <= MAX_SLICES:
        return np.arange(depth)
    area = prediction.sum(axis=(1, 2))
    largest = [k for k in np.argsort(-area, kind="stable")[: MAX_SLICES // 2] if area[k]]
    even = np.linspace(0, depth - 1, MAX_SLICES - len(largest)).round().astype(int)
    return np.unique([*even, *largest]).astype(int)


def choose_columns(count: int) -> int:
    """The number of columns that makes a sheet slightly wider than high with the fewest empty cells."""
    candidates = range(math.ceil(math.sqrt(1.1 * count)), math.ceil(math.sqrt(2.2 * count)) + 1)
    return min(candidates, key=lambda columns: -count % columns)


def caption(shown: int, depth: int) -> str:
    """The line below the sheet: which slices are shown, and how."""
    low, high = cases.BRAIN_WINDOW_HU
    selection = f"{shown} of {depth} slices (those with the largest predicted area, and evenly spaced ones)"
    which = "All slices" if shown == depth else selection
    return (
        f"{which}, numbered from the feet. Brain window, {low} to {high} HU. R, L: the patient's right and left. "
        "Research use only."
    )


def _mosaic(cells: np.ndarray, columns: int, *, aspect: float) -> tuple[Figure, Axes]:
    """A figure with one axes that shows all cells [N, h, w] in rows of `columns`."""
    rows = math.ceil(len(cells) / columns)
    height, width = (size + GAP_PX for size in cells.shape[1:])
    mosaic = np.zeros((rows * height, columns * width), dtype=np.uint8)
    for n, cell in enumerate(cells):
        y, x = (n // columns) * height, (n % columns) * width
        mosaic[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    width_inches = WIDTH_INCHES * min(columns, 7) / 7
    height_inches = width_inches * mosaic.shape[0] * aspect / mosaic.shape[1]
    figure = Figure(figsize=(width_inches, height_inches + 0.9), facecolor=BACKGROUND)
    axes = figure.add_axes((0, 0.4 / (height_inches + 0.9), 1, height_inches / (height_inches + 0.9)))
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=255, aspect=aspect, interpolation="bilinear",
                extent=(0, mosaic.shape[1], mosaic.shape[0], 0))  # fmt: skip
    axes.set_axis_off()
    return figure, axes


def draw_outline(axes: Axes, mask: np.ndarray, x: int, y: int, name: str, *, width_points: float = 1.1) -> None:
    """Draws the outline of a mask in the style of its name, on axes in pixels.

    Args:
      axes: pixel (row, column) covers the square from (column, row) to (column + 1, row + 1).
      mask: bool [H, W]; an empty one draws nothing.
      x, y: the corner of its first pixel.
      name: a key of `OUTLINE_STYLES`.
      width_points: of the line.
    """
    loops = [loop + np.array([x, y]) for loop in contours.trace(mask)]
    if not loops:
        return
    color, dashes = OUTLINE_STYLES[name]
    lines: list[tuple[float, str, LineStyleType]] = [(width_points, color, dashes)]
    if name != "prediction":  # its casing would hide the outline of the truth below it
        lines.insert(0, (width_points + 1.0, contours.CASING_COLOR, "solid"))
    for width, edge, style in lines:
        axes.add_collection(
            PolyCollection(loops, facecolors="none", edgecolors=edge, linewidths=width, linestyles=[style])
        )


def _label(axes: Axes, x: int, y: int, *, number: int, width: int, height: int) -> None:
    """The slice number and the sides R and L on one slice."""
    axes.text(x + 0.03 * width, y + 0.03 * height, str(number), ha="left", va="top", **LABEL)
    small = {**LABEL, "fontsize": 7, "color": DIM_INK}
    axes.text(x + 0.02 * width, y + 0.5 * height, "R", ha="left", va="center", **small)
    axes.text(x + 0.98 * width, y + 0.5 * height, "L", ha="right", va="center", **small)


def _scale_bar(axes: Axes, volume: Volume, height: int) -> None:
    """A bar of `BAR_MM` in the lower left corner of the first slice."""
    length = BAR_MM / volume.pixel_mm[1]
    y = 0.965 * height
    axes.plot([4, 4 + length], [y, y], color=LIGHT_INK, linewidth=2, solid_capstyle="butt")
    text = f"{BAR_MM} {units(volume.nominal_spacing).mm}"
    axes.text(4 + length / 2, y - 0.015 * height, text, ha="center", va="bottom", **LABEL)


def _title_and_caption(figure: Figure, title: str, text: str, names: list[str]) -> None:
    height = figure.get_figheight()
    figure.text(0.008, 1 - 0.25 / height, title, va="center", fontsize=11, color=LIGHT_INK, parse_math=False)
    figure.text(0.008, 0.2 / height, text, va="center", fontsize=8, color=LIGHT_INK, parse_math=False)
    legend(figure, names, height=1 - 0.25 / height, fontsize=9)


def legend(figure: Figure, names: Sequence[str], *, height: float, fontsize: float) -> Legend:
    """Adds a legend of outlines (keys of `OUTLINE_STYLES`) at the right edge, at a fraction of the figure's height."""
    styles = [(name, *OUTLINE_STYLES[name]) for name in names]
    lines = [Line2D([], [], color=color, linestyle=dashes, linewidth=1.6, label=name) for name, color, dashes in styles]
    return figure.legend(
        handles=lines, loc="center right", bbox_to_anchor=(0.995, height), ncols=len(lines), frameon=False,
        labelcolor=LIGHT_INK, fontsize=fontsize, borderpad=0, handlelength=3,
    )  # fmt: skip
