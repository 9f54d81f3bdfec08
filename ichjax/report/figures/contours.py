"""Traces the outlines of masks along pixel edges, so that an outline encloses exactly the mask."""

import numpy as np

TRUTH_COLOR = "#56b4e9"  # sky blue of Okabe and Ito's color-blind-safe palette; drawn solid
PREDICTION_COLOR = "#e69f00"  # its orange; drawn dashed
CASING_COLOR = "#000000"  # a thin dark edge under both, for contrast on any gray

Edge = tuple[int, int, int]  # (x, y, heading) of a unit edge: its start corner and its direction

_HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # (x, y) steps; each is a right turn from the previous one


def trace(mask: np.ndarray) -> list[np.ndarray]:
    """Closed outlines of a mask, holes included.

    Args:
      mask: bool [H, W].

    Returns:
      One int [N, 2] array of (x, y) corners per outline, without repeating the first. Pixel (row, column) covers the
      square from (column, row) to (column + 1, row + 1); every corner is a turn, and the mask lies to the right of
      the path. Filling the outlines by the even-odd rule restores the mask. Pixels that touch only at a corner get
      separate outlines.
    """
    edges = _edges(np.asarray(mask, dtype=bool))
    outlines = []
    while edges:
        outlines.append(np.array(_walk(edges, next(iter(edges)))))
    return outlines


def _edges(mask: np.ndarray) -> dict[Edge, None]:
    """The directed edges between mask and background, in a fixed order."""
    padded = np.pad(mask, 1)
    edges: dict[Edge, None] = {}
    # (heading, offset of the neighboring pixel as (row, column), start corner of the edge as (x, y))
    for heading, (row, column), (x, y) in (
        (0, (-1, 0), (0, 0)),
        (1, (0, 1), (1, 0)),
        (2, (1, 0), (1, 1)),
        (3, (0, -1), (0, 1)),
    ):
        neighbor = padded[1 + row : 1 + row + mask.shape[0], 1 + column : 1 + column + mask.shape[1]]
        rows, columns = np.nonzero(mask & ~neighbor)
        edges.update(
            dict.fromkeys(zip((columns + x).tolist(), (rows + y).tolist(), [heading] * len(rows), strict=True))
        )
    return edges


def _walk(edges: dict[Edge, None], first: Edge) -> list[tuple[int, int]]:
    """Removes from `edges` the closed path that contains the edge `first`; returns its corners."""
    corners = []
    edge = first
    while True:
        del edges[edge]
        x, y, heading = edge
        x, y = x + _HEADINGS[heading][0], y + _HEADINGS[heading][1]
        # The right turn first: it separates pixels that touch only at a corner.
        candidates = [(x, y, (heading + turn) % 4) for turn in (1, 0, 3)]
        edge = next(e for e in candidates if e in edges or e == first)
        if edge[2] != heading:
            corners.append((x, y))
        if edge == first:
            return corners


def svg_path(mask: np.ndarray) -> str:
    """The outlines of a mask as the `d` attribute of an SVG path, in pixels; '' for an empty mask.

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
