"""Shared style of the figures: plain charts on white, slices with outlines on black, and figures saved as PNG."""

import io
import pathlib
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ichjax.files import atomic
from ichjax.report.figures import contact_sheet

INK, GRID_GRAY = "#1d2733", "#d9dde2"
DARK_SHARE = 0.55  # of a heat map's range, above which its numbers are white
POINTS_PER_LETTER = 4.2  # of a caption, on average
BLUE, RED, GREEN, GRAY = "#0072b2", "#d55e00", "#009e73", "#7b8794"  # of Okabe and Ito's palette, and a gray


def white_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty white figure with automatic layout."""
    return Figure(figsize=(width_inches, height_inches), layout="constrained")


def plain_axes(axes: Axes) -> None:
    """Removes the frame and draws a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRAY)
    axes.grid(True, color=GRID_GRAY, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)


def chart(width_inches: float, height_inches: float, *, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A white figure with one row of plain axes."""
    figure = white_figure(width_inches, height_inches)
    row = figure.subplots(1, columns, squeeze=False)[0]
    for axes in row:
        plain_axes(axes)
    return figure, row


def save(figure: Figure, path: pathlib.Path | str) -> pathlib.Path:
    """Writes a figure as PNG, atomically; creates the folder if missing."""
    path = pathlib.Path(path)
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_bytes(png(figure))
    return path


def png(figure: Figure) -> bytes:
    """A figure as PNG, the same bytes every time: no date or version is stored.

    The pixels are those of `figure.savefig`, which draws figures with automatic layout twice.
    """
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(130)
    canvas.draw()
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, format="png")
    return buffer.getvalue()


def name_axes(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Sets the axis labels, units included, and the title."""
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    if title:
        axes.set_title(title, fontsize=9.5, color=INK, loc="left")


def slice_grid(rows: int, columns: int, *, cell_inches: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A black figure with rows x columns axes for slices, (width, height) each, and room for a caption below."""
    width, height = columns * cell_inches[0], rows * cell_inches[1] + 0.4
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.06, rect=(0, 0.36 / height, 1, 1 - 0.36 / height))
    figure = Figure(figsize=(width, height), facecolor=contact_sheet.BACKGROUND, layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    return figure, grid


def show_slice(
    axes: Axes,
    image: np.ndarray,
    pixel_mm: Sequence[float],
    masks: Mapping[str, np.ndarray] | None = None,
    *,
    title: str = "",
    cmap: str = "gray",
    limits: tuple[float, float] = (0, 255),
) -> AxesImage:
    """Shows a slice, or a part of one, in its true proportions with mask outlines.

    Args:
      axes: to draw on.
      image: [H, W], values that `limits` maps to the colors of `cmap`.
      pixel_mm: (row, column) spacing.
      masks: {'truth' | 'prediction': bool [H, W]}.
      title: plain text above the slice.

    Returns:
      The image, for a color bar.
    """
    height, width = image.shape
    shown = axes.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], aspect=pixel_mm[0] / pixel_mm[1],
                        interpolation="nearest", extent=(0, width, height, 0))  # fmt: skip
    axes.set_anchor("N")  # aligns the titles of a row, whatever the slices' proportions
    for name, mask in (masks or {}).items():
        contact_sheet.draw_outline(axes, mask, 0, 0, name, width_points=1.3)
    if title:
        axes.set_title(title, fontsize=9, color=contact_sheet.LIGHT_INK, parse_math=False)
    return shown


def explain_empty_panel(axes: Axes, text: str) -> None:
    """Writes into an empty panel why it is empty."""
    axes.text(
        0.5, 0.5, text, ha="center", va="center", fontsize=9, color=contact_sheet.DIM_INK, transform=axes.transAxes
    )


def caption(figure: Figure, text: str, names: Sequence[str] = ()) -> None:
    """Adds a caption below the slices, wrapped where needed, and to its right the legend of the outlines `names`."""
    height = figure.get_figheight()
    width_points = 72 * figure.get_figwidth() - 100 * len(names)  # left of the legend
    text = textwrap.fill(text, max(24, int(width_points / POINTS_PER_LETTER)))
    figure.text(0.01, 0.2 / height, text, va="center", fontsize=8, color=contact_sheet.LIGHT_INK, parse_math=False)
    if names:
        contact_sheet.legend(figure, names, height=0.2 / height, fontsize=8).set_in_layout(False)
