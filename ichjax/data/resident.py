"""The training scans as a few large arrays that devices keep in memory: their layout, their size and their bytes."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ichjax.data.loader import PatchReader

UINT8_LEVELS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """Where each scan lies in parts that have the same number of slices.

    Attributes:
      part: int32 [scans], the part that holds the scan.
      first: int32 [scans], the number of its first slice in that part.
      slices: of each part; those that are not filled are padding.
    """

    part: np.ndarray
    first: np.ndarray
    slices: int


def divide(depths: Sequence[int], parts: int) -> Layout:
    """Divides scans of so many slices into parts as evenly as is simple: the longest first, each to the emptiest."""
    part, first = np.zeros((2, len(depths)), np.int32)
    filled = np.zeros(parts, np.int32)
    for scan in np.argsort(-np.asarray(depths), kind="stable"):
        part[scan] = filled.argmin()
        first[scan] = filled[part[scan]]
        filled[part[scan]] += depths[scan]
    return Layout(part, first, int(filled.max()))


class ScanArrays:
    """The scans of a `PatchReader`, in arrays [slices, H, W].

    HU are stored as uint8 above the lowest, where they span at most 256 values: those of the 8-bit release without bone
    images. Slices of several sizes are padded to the largest.

    Attributes:
      reader: of the scans.
      lowest_hu: what is to be added to the stored HU.
    """

    def __init__(self, reader: PatchReader):
        self.reader = reader
        lowest, highest = (int(bound([bound(hu) for hu in reader.hu])) for bound in (np.min, np.max))
        narrow = highest - lowest < UINT8_LEVELS
        self.lowest_hu = lowest if narrow else 0
        self._dtypes = {"hu": np.dtype(np.uint8 if narrow else np.int16), "mask": np.dtype(np.uint8)}
        if reader.priors:
            self._dtypes["prior"] = np.dtype(np.uint8)
        self._plane = tuple(max(hu.shape[axis] for hu in reader.hu) for axis in (1, 2))
        self._depths = [len(hu) for hu in reader.hu]

    def layout(self, parts: int) -> Layout:
        """The layout of the scans in so many parts."""
        return divide(self._depths, parts)

    def shapes(self, layout: Layout) -> dict[str, tuple[tuple[int, int, int], np.dtype]]:
        """{name: (shape of a part, dtype)} of the arrays 'hu', 'mask' and, where there are priors, 'prior'."""
        return {name: ((layout.slices, *self._plane), dtype) for name, dtype in self._dtypes.items()}

    def bytes_of_part(self, parts: int) -> int:
        """Bytes that a device needs for one of so many parts, and for the table of all patches."""
        layout = self.layout(parts)
        arrays = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self.shapes(layout).values())
        return arrays + sum(column.nbytes for column in self.table(layout).values())

    def part(self, name: str, layout: Layout, number: int) -> np.ndarray:
        """The array `name` of one part."""
        shape, dtype = self.shapes(layout)[name]
        scans = {"hu": self.reader.hu, "mask": self.reader.masks, "prior": self.reader.priors}[name]
        array = np.zeros(shape, dtype)
        for scan in np.flatnonzero(layout.part == number):
            voxels, first = scans[scan], layout.first[scan]
            stored = voxels - np.int16(self.lowest_hu) if name == "hu" else voxels
            array[first : first + len(voxels), : voxels.shape[1], : voxels.shape[2]] = stored
        return array

    def table(self, layout: Layout) -> dict[str, np.ndarray]:
        """Where each patch of the reader's table lies: columns int32 [N].

        'part', the 'slice' in it, the 'lowest' and the 'highest' slice of its scan, the first 'row' and 'column'; for
        mirrored slices also the scan's 'column_sum' and 'width'.
        """
        table = self.reader.table
        first, depths = layout.first[table.scan], np.asarray(self._depths, np.int32)[table.scan]
        columns = {
            "part": layout.part[table.scan],
            "slice": first + table.slice,
            "lowest": first,
            "highest": first + depths - 1,
            "row": table.row,
            "column": table.column,
        }
        if self.reader.column_sums:
            columns["column_sum"] = np.asarray(self.reader.column_sums, np.int32)[table.scan]
            columns["width"] = np.array([hu.shape[2] for hu in self.reader.hu], np.int32)[table.scan]
        return columns
