"""All slices of a scan on one sheet: brain window, outlines of masks, slice numbers, sides, a scale bar."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ichjax.report.figures import case as cases
from ichjax.report.figures import contours
from ichjax.report.units import units
from ichjax.scan.volume import Volume

MOST_SLICES = 64
WIDTH_INCHES = 15.0
BAR_MM = 50
GAP_PX = 2  # black, between neighbours
BACKGROUND, LIGHT_INK, DIM_INK = "#0b0d10", "#e8ecf0", "#a9b3bd"
LABEL = {"fontsize": 8, "color": LIGHT_INK, "path_effects": [withStroke(linewidth=1.5, foreground=BACKGROUND)]}
STYLES = {
    "truth": (contours.TRUTH_COLOR, "solid"),
    "prediction": (contours.PREDICTION_COLOR, (0, (3.0, 1.6))),
}


def draw(volume: Volume, prediction: np.ndarray, *, truth: np.ndarray | None = None, title: str = "") -> Figure:
    """Draws the sheet.

    Args:
      volume: the scan.
      prediction: bool or uint8 [D, H, W]; dashed orange.
      truth: bool or uint8 [D, H, W]; solid blue; None for none.
      title: plain text above the sheet.

    Returns:
      A figure with the slices in reading order, the lowest first; of more than `MOST_SLICES` slices evenly
      spaced ones, and the one with the largest prediction.

    Raises:
      ValueError: a mask does not lie on the scan.
    """
    masks = {"prediction": prediction} if truth is None else {"truth": truth, "prediction": prediction}
    for name, mask in masks.items():
        if mask.shape != volume.shape:
            raise ValueError(f"{name} of shape {mask.shape} does not lie on a scan of shape {volume.shape}")
    masks = {name: np.asarray(mask) > 0 for name, mask in masks.items()}
    box = cases.body_box(volume.hu, *masks.values())
    shown = choose_slices(masks["prediction"])
    cells = cases.brain_window(volume.hu[(shown, *box)])
    columns = choose_columns(len(shown))
    figure, axes = _canvas(cells, columns, aspect=volume.pixel_mm[0] / volume.pixel_mm[1])
    height, width = (size + GAP_PX for size in cells.shape[1:])
    corners = [((n % columns) * width, (n // columns) * height) for n in range(len(shown))]
    for d, (x, y) in zip(shown, corners, strict=True):
        _label(axes, x, y, number=int(d) + 1, width=width - GAP_PX, height=height - GAP_PX)
        for name, mask in masks.items():
            draw_outline(axes, mask[d][box], x, y, name)
    _scale_bar(axes, volume, height - GAP_PX)
    _words(figure, title, caption(len(shown), volume.shape[0]), list(masks))
    return figure


def choose_slices(prediction: np.ndarray) -> np.ndarray:
    """int [N]: the slices to show, in order; of many, those with the most prediction, and evenly spaced ones.

    Args:
      prediction: bool [D, H, W].
    """
    depth = len(prediction)
    if depth <= MOST_SLICES:
        return np.arange(depth)
    area = prediction.sum(axis=(1, 2))
    most = [k for k in np.argsort(-area, kind="stable")[: MOST_SLICES // 2] if area[k]]
    even = np.linspace(0, depth - 1, MOST_SLICES - len(most)).round().astype(int)
    return np.unique([*even, *most]).astype(int)


def choose_columns(count: int) -> int:
    """Columns of a sheet a little wider than high that leaves the fewest places empty."""
    candidates = range(math.ceil(math.sqrt(1.1 * count)), math.ceil(math.sqrt(2.2 * count)) + 1)
    return min(candidates, key=lambda columns: -count % columns)


def caption(shown: int, depth: int) -> str:
    """What is to be seen, in words."""
    low, high = cases.BRAIN_WINDOW_HU
    thinned = f"{shown} of {depth} slices: those with most prediction, and others evenly spaced"
    which = "All slices" if shown == depth else thinned
    return (
        f"{which}, numbered from the feet. Brain window {low} to {high} HU. R, L: the patient's right and left. "
        "Research use only."
    )


def _canvas(cells: np.ndarray, columns: int, *, aspect: float):
    """A figure with one axes that shows all cells [N, h, w] in rows of `columns`."""
    rows = math.ceil(len(cells) / columns)
    height, width = (size + GAP_PX for size in cells.shape[1:])
    mosaic = np.zeros((rows * height, columns * width), dtype=np.uint8)
    for n, cell in enumerate(cells):
        y, x = (n // columns) * height, (n % columns) * width
        mosaic[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    inches = WIDTH_INCHES * min(columns, 7) / 7
    tall = inches * mosaic.shape[0] * aspect / mosaic.shape[1]
    figure = Figure(figsize=(inches, tall + 0.9), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0.4 / (tall + 0.9), 1, tall / (tall + 0.9)))
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=255, aspect=aspect, interpolation="bilinear",
                extent=(0, mosaic.shape[1], mosaic.shape[0], 0))  # fmt: skip
    axes.set_axis_off()
    return figure, axes


def draw_outline(axes, mask: np.ndarray, x: int, y: int, name: str, *, width_points: float = 1.1) -> None:
    """Draws the outline of a mask on an axes whose unit is the pixel, in the style that `name` has everywhere.

    Args:
      axes: matplotlib's; pixel (row, column) covers the square from (column, row) to (column + 1, row + 1).
      mask: bool [H, W]; an empty one draws nothing.
      x, y: where its first pixel lies.
      name: a key of `STYLES`.
      width_points: of the line.
    """
    loops = [loop + np.array([x, y]) for loop in contours.trace(mask)]
    if not loops:
        return
    color, dashes = STYLES[name]
    for width, edge, style in ((width_points + 1.0, contours.CASING_COLOR, "solid"), (width_points, color, dashes)):
        # The casing of the prediction would hide the truth below it.
        if edge == contours.CASING_COLOR and name == "prediction":
            continue
        axes.add_collection(
            PolyCollection(loops, facecolors="none", edgecolors=edge, linewidths=width, linestyles=[style])
        )


def _label(axes, x: int, y: int, *, number: int, width: int, height: int) -> None:
    axes.text(x + 0.03 * width, y + 0.03 * height, str(number), ha="left", va="top", **LABEL)
    small = {**LABEL, "fontsize": 7, "color": DIM_INK}
    axes.text(x + 0.02 * width, y + 0.5 * height, "R", ha="left", va="center", **small)
    axes.text(x + 0.98 * width, y + 0.5 * height, "L", ha="right", va="center", **small)


def _scale_bar(axes, volume: Volume, height: int) -> None:
    """A bar of `BAR_MM` in the lower left corner of the first slice."""
    length = BAR_MM / volume.pixel_mm[1]
    y = 0.965 * height
    axes.plot([4, 4 + length], [y, y], color=LIGHT_INK, linewidth=2, solid_capstyle="butt")
    text = f"{BAR_MM} {units(volume.nominal_spacing).mm}"
    axes.text(4 + length / 2, y - 0.015 * height, text, ha="center", va="bottom", **LABEL)


def _words(figure: Figure, title: str, text: str, names: list[str]) -> None:
    tall = figure.get_figheight()
    figure.text(0.008, 1 - 0.25 / tall, title, va="center", fontsize=11, color=LIGHT_INK, parse_math=False)
    figure.text(0.008, 0.2 / tall, text, va="center", fontsize=8, color=LIGHT_INK, parse_math=False)
    legend(figure, names, height=1 - 0.25 / tall, fontsize=9)


def legend(figure: Figure, names: Sequence[str], *, height: float, fontsize: float) -> Legend:
    """Says at the right, at a share of the figure's height, what the outlines are; `names` are keys of `STYLES`."""
    lines = [Line2D([], [], color=STYLES[n][0], linestyle=STYLES[n][1], linewidth=1.6, label=n) for n in names]
    return figure.legend(
        handles=lines, loc="center right", bbox_to_anchor=(0.995, height), ncols=len(lines), frameon=False,
        labelcolor=LIGHT_INK, fontsize=fontsize, borderpad=0, handlelength=3,
    )  # fmt: skip
