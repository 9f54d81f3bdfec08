"""Connected components of each slice, found on runs: the stretches of set pixels of a row.

A slice of a head has hundreds of thousands of pixels but only about a thousand runs, so that linking runs takes a
fraction of the time that a sweep over pixels does. The components are those of `scipy.ndimage.label`.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csgraph


class Sections(NamedTuple):
    """The runs of a mask [D, H, W] and the component that each belongs to.

    Attributes:
      start, stop: int64 [N], the first pixel of each run and the one behind its last, in the mask as one line.
      label: int [N], 0 to n - 1.
      n: how many components there are.
    """

    start: np.ndarray
    stop: np.ndarray
    label: np.ndarray
    n: int

    def of_pixels(self) -> np.ndarray:
        """int [P], the component of each set pixel, in the order of `array[mask]`."""
        return np.repeat(self.label, self.stop - self.start)


def sections(mask: np.ndarray) -> Sections:
    """Components of each slice: pixels are neighbours where they share a side.

    Args:
      mask: bool [D, H, W].
    """
    depth, height, width = mask.shape
    # An empty column behind each row and an empty row behind each slice: no run meets one that is not its neighbour.
    line = np.zeros(1 + depth * (height + 1) * (width + 1), np.int8)
    line[1:].reshape(depth, height + 1, width + 1)[:, :-1, :-1] = mask
    start, stop = np.flatnonzero(line[1:] != line[:-1]).reshape(-1, 2).T
    # A run of the next row touches this one where it ends behind its start and starts before its end.
    first = np.searchsorted(stop, start + width + 1, side="right")
    touching = np.searchsorted(start, stop + width + 1, side="left") - first
    one = np.repeat(np.arange(len(start)), touching)
    other = np.arange(len(one)) - np.repeat(touching.cumsum() - touching, touching) + first[one]
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(start),) * 2)
    n, label = csgraph.connected_components(links, directed=False)
    rows = start // (width + 1)
    empty = rows + rows // (height + 1) * width  # pixels that were put in before this row
    return Sections(start - empty, stop - empty, label, n)


def paint(shape: tuple[int, int, int], start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """bool [D, H, W]: the mask that holds these runs, in their order.

    Args:
      shape: (D, H, W).
      start, stop: int [N], as in `Sections`.
    """
    borders = np.concatenate([[0], np.stack([start, stop], axis=1).ravel(), [np.prod(shape)]])
    inside = np.arange(len(borders) - 1) % 2 == 1
    return np.repeat(inside, np.diff(borders)).reshape(shape)


def filled(mask: np.ndarray) -> np.ndarray:
    """bool [D, H, W]: the mask with the holes of each slice: what no path over pixels' sides joins to the edge.

    Args:
      mask: bool [D, H, W].
    """
    _, height, width = mask.shape
    outside = sections(~mask)
    row, column = np.divmod(outside.start, width)
    at_edge = (row % height == 0) | (row % height == height - 1)
    at_edge |= (column == 0) | (outside.stop - row * width == width)
    joined = np.zeros(outside.n, bool)
    joined[outside.label[at_edge]] = True
    chosen = joined[outside.label]
    return ~paint(mask.shape, outside.start[chosen], outside.stop[chosen])
