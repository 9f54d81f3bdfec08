"""Outlines of masks along pixel edges: what they enclose is exactly the mask."""

import numpy as np

TRUTH_COLOR = "#56b4e9"  # sky blue of Okabe and Ito's colour-blind-safe palette; drawn solid
PREDICTION_COLOR = "#e69f00"  # its orange; drawn dashed
CASING_COLOR = "#000000"  # a thin dark edge under both, for contrast on any gray

_HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # (x, y) steps; each is a right turn from the one before


def trace(mask: np.ndarray) -> list[np.ndarray]:
    """Closed outlines of a mask, holes included.

    Args:
      mask: bool [H, W].

    Returns:
      One int [N, 2] of (x, y) corners an outline, the last not repeating the first. Pixel (row, column) covers the
      square from (column, row) to (column + 1, row + 1); every corner is a turn, and the mask lies to the right
      of the way. Filled by the even-odd rule they give the mask back. Pixels that only touch at a corner have
      outlines of their own.
    """
    steps = _edges(np.asarray(mask, dtype=bool))
    outlines = []
    while steps:
        outlines.append(np.array(_walk(steps, next(iter(steps)))))
    return outlines


def _edges(mask: np.ndarray) -> dict[tuple[int, int, int], None]:
    """The directed unit edges (x, y, heading) between mask and background, in a fixed order."""
    padded = np.pad(mask, 1)
    edges = {}
    # (heading, background's place beside the pixel as (row, column), start corner of the edge as (x, y))
    for heading, (row, column), (x, y) in (
        (0, (-1, 0), (0, 0)),
        (1, (0, 1), (1, 0)),
        (2, (1, 0), (1, 1)),
        (3, (0, -1), (0, 1)),
    ):
        beside = padded[1 + row : 1 + row + mask.shape[0], 1 + column : 1 + column + mask.shape[1]]
        rows, columns = np.nonzero(mask & ~beside)
        edges.update(
            dict.fromkeys(zip((columns + x).tolist(), (rows + y).tolist(), [heading] * len(rows), strict=True))
        )
    return edges


def _walk(edges: dict[tuple[int, int, int], None], first: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Takes the closed way that holds the edge `first` out of `edges`; returns its corners."""
    corners = []
    edge = first
    while True:
        del edges[edge]
        x, y, heading = edge
        x, y = x + _HEADINGS[heading][0], y + _HEADINGS[heading][1]
        # The right turn first: it keeps pixels apart that touch at a corner only.
        following = [(x, y, (heading + turn) % 4) for turn in (1, 0, 3)]
        edge = next(e for e in following if e in edges or e == first)
        if edge[2] != heading:
            corners.append((x, y))
        if edge == first:
            return corners


def svg_path(mask: np.ndarray) -> str:
    """The outlines of a mask as the `d` of an SVG path, in pixels; '' for an empty mask.

    Args:
      mask: bool [H, W].
    """
    parts = []
    for outline in trace(mask):
        x, y = outline[0]
        parts.append(f"M{x} {y}")
        for dx, dy in np.diff(outline, axis=0).tolist():
            parts.append(f"h{dx}" if dx else f"v{dy}")
        parts.append("z")
    return "".join(parts)
