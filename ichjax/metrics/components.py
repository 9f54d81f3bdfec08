"""Connected components of each slice by run-length encoding, and hole filling.

A slice of a head has hundreds of thousands of pixels but only about a thousand runs (stretches of true pixels in a
row), so linking runs takes a fraction of the time of a sweep over pixels. The components are those of
`scipy.ndimage.label`.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csgraph


class Runs(NamedTuple):
    """The runs of a mask [D, H, W] and the component of each.

    Attributes:
      start, stop: int64 [N], index of the first pixel of each run and of the one after its last, in the flat mask.
      label: int [N], its component, 0 to n - 1.
      n: number of components.
    """

    start: np.ndarray
    stop: np.ndarray
    label: np.ndarray
    n: int

    def pixel_labels(self) -> np.ndarray:
        """int [P], the component of each true pixel, in the order of `array[mask]`."""
        return np.repeat(self.label, self.stop - self.start)


def label_runs(mask: np.ndarray) -> Runs:
    """Connected components of each slice; pixels that share a side are neighbors.

    Args:
      mask: bool [D, H, W].
    """
    depth, height, width = mask.shape
    # An empty column after each row and an empty row after each slice keep runs apart that are not neighbors.
    line = np.zeros(1 + depth * (height + 1) * (width + 1), np.int8)
    line[1:].reshape(depth, height + 1, width + 1)[:, :-1, :-1] = mask
    start, stop = np.flatnonzero(line[1:] != line[:-1]).reshape(-1, 2).T
    # A run of the next row touches this one if it ends after this one's start and starts before its end.
    first = np.searchsorted(stop, start + width + 1, side="right")
    touching = np.searchsorted(start, stop + width + 1, side="left") - first
    one = np.repeat(np.arange(len(start)), touching)
    other = np.arange(len(one)) - np.repeat(touching.cumsum() - touching, touching) + first[one]
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(start),) * 2)
    n, label = csgraph.connected_components(links, directed=False)
    rows = start // (width + 1)
    empty = rows + rows // (height + 1) * width  # empty pixels inserted before this row
    return Runs(start - empty, stop - empty, label, n)


def paint_runs(shape: tuple[int, ...], start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """bool [D, H, W]: the mask of these runs.

    Args:
      shape: (D, H, W).
      start, stop: int [N] ascending, as in `Runs`.
    """
    borders = np.concatenate([[0], np.stack([start, stop], axis=1).ravel(), [np.prod(shape)]])
    inside = np.arange(len(borders) - 1) % 2 == 1
    return np.repeat(inside, np.diff(borders)).reshape(shape)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """bool [D, H, W]: the mask with the holes of each slice filled: background not connected to the edge by sides.

    Args:
      mask: bool [D, H, W].
    """
    _, height, width = mask.shape
    outside = label_runs(~mask)
    row, column = np.divmod(outside.start, width)
    at_edge = (row % height == 0) | (row % height == height - 1)
    at_edge |= (column == 0) | (outside.stop - row * width == width)
    open_to_edge = np.zeros(outside.n, bool)
    open_to_edge[outside.label[at_edge]] = True
    background = open_to_edge[outside.label]
    return ~paint_runs(mask.shape, outside.start[background], outside.stop[background])
