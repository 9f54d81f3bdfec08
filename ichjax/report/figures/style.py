"""What the figures share: plain axes on white, slices on black with their outlines, and how a figure becomes a PNG."""

import io
import pathlib
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ichjax.files import atomic
from ichjax.report.figures import contact_sheet

INK, GRID_GRAY = "#1d2733", "#d9dde2"
POINTS_A_LETTER = 4.2  # of a caption, on average
BLUE, RED, GREEN, GRAY = "#0072b2", "#d55e00", "#009e73", "#7b8794"  # Okabe and Ito's, and a gray


def white(width_inches: float, height_inches: float) -> Figure:
    """An empty white figure that lays itself out."""
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(axes) -> None:
    """Takes away what carries no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRAY)
    axes.grid(True, color=GRID_GRAY, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)


def chart(width_inches: float, height_inches: float, *, columns: int = 1) -> tuple[Figure, Sequence]:
    """A white figure and its plain axes in one row."""
    figure = white(width_inches, height_inches)
    row = figure.subplots(1, columns, squeeze=False)[0]
    for axes in row:
        plain(axes)
    return figure, row


def save(figure: Figure, path: pathlib.Path | str) -> pathlib.Path:
    """Writes a figure as PNG, atomically."""
    path = pathlib.Path(path)
    with atomic(path) as aside:
        aside.write_bytes(png(figure))
    return path


def png(figure: Figure) -> bytes:
    """A figure as PNG; the same figure gives the same bytes, whatever the time.

    The pixels are those of `figure.savefig`, which draws a figure that lays itself out twice.
    """
    figure.set_dpi(130)
    figure.canvas.draw()
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB").save(buffer, format="png")
    return buffer.getvalue()


def name_axes(axes, x: str, y: str, title: str = "") -> None:
    """Says what is drawn, with units."""
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    if title:
        axes.set_title(title, fontsize=9.5, color=INK, loc="left")


def board(rows: int, columns: int, *, cell_inches: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A black figure with rows x columns of axes for slices, (width, height) each, and room for a line below."""
    width, height = columns * cell_inches[0], rows * cell_inches[1] + 0.4
    figure = Figure(figsize=(width, height), facecolor=contact_sheet.BACKGROUND, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.06, rect=(0, 0.36 / height, 1, 1 - 0.36 / height))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    return figure, grid


def show_slice(
    axes,
    image: np.ndarray,
    pixel_mm: Sequence[float],
    masks: Mapping[str, np.ndarray] | None = None,
    *,
    title: str = "",
    cmap: str = "gray",
    limits: tuple[float, float] = (0, 255),
):
    """Shows one slice or a part of it in its true proportions, and outlines over it.

    Args:
      axes: where.
      image: [H, W], values that `limits` maps onto the colours of `cmap`.
      pixel_mm: (row, column) spacing.
      masks: {'truth' | 'prediction': bool [H, W]}.
      title: plain text above it.

    Returns:
      matplotlib's image, for a colour bar.
    """
    height, width = image.shape
    shown = axes.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], aspect=pixel_mm[0] / pixel_mm[1],
                        interpolation="nearest", extent=(0, width, height, 0))  # fmt: skip
    axes.set_anchor("N")  # titles of a row in one line, whatever the slices' proportions
    for name, mask in (masks or {}).items():
        contact_sheet.draw_outline(axes, mask, 0, 0, name, width_points=1.3)
    if title:
        axes.set_title(title, fontsize=9, color=contact_sheet.LIGHT_INK, parse_math=False)
    return shown


def say_missing(axes, text: str) -> None:
    """Writes into an empty panel why it is empty."""
    axes.text(
        0.5, 0.5, text, ha="center", va="center", fontsize=9, color=contact_sheet.DIM_INK, transform=axes.transAxes
    )


def caption(figure: Figure, text: str, names: Sequence[str] = ()) -> None:
    """Words below the slices, in two lines where one is too long, and what the outlines are, at their right."""
    tall = figure.get_figheight()
    room = 72 * figure.get_figwidth() - 100 * len(names)  # points left of the legend
    text = textwrap.fill(text, max(24, int(room / POINTS_A_LETTER)))
    figure.text(0.01, 0.2 / tall, text, va="center", fontsize=8, color=contact_sheet.LIGHT_INK, parse_math=False)
    if names:
        contact_sheet.legend(figure, names, height=0.2 / tall, fontsize=8).set_in_layout(False)
