"""The training scans as a few large arrays that devices keep in memory: their layout, their size and their bytes."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ichjax.data.patch_index import PatchTable

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
    """Scans as `loader.PatchReader` has them, in arrays [slices, H, W].

    HU are stored as uint8 above the lowest, where they span at most 256 values: those of the 8-bit release without bone
    images. Slices of several sizes are padded to the largest.

    Attributes:
      lowest_hu: what is to be added to the stored HU.
    """

    def __init__(
        self,
        hu: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        priors: Sequence[np.ndarray],
        column_sums: Sequence[int],
        patches: PatchTable,
    ):
        """Looks at the values and sizes of scans.

        Args:
          hu, masks: int16 and uint8 [D, H, W] of each scan.
          priors: uint8 [D, H, W] of each scan; empty if there are none.
          column_sums: of each scan if mirrored slices are cut, see `scan.midplane`; else empty.
          patches: of these scans.
        """
        self._voxels = {"hu": hu, "mask": masks, **({"prior": priors} if priors else {})}
        self._column_sums, self._patches = column_sums, patches
        lowest, highest = (int(bound([bound(one) for one in hu])) for bound in (np.min, np.max))
        narrow = highest - lowest < UINT8_LEVELS
        self.lowest_hu = lowest if narrow else 0
        self._hu_dtype = np.dtype(np.uint8) if narrow else np.dtype(np.int16)
        self._depths, heights, self._widths = (np.array([one.shape[axis] for one in hu], np.int32) for axis in range(3))
        self._plane = (int(heights.max()), int(self._widths.max()))

    def layout(self, parts: int) -> Layout:
        """The layout of the scans in so many parts."""
        return divide(self._depths.tolist(), parts)

    def shapes(self, layout: Layout) -> dict[str, tuple[tuple[int, int, int], np.dtype]]:
        """{name: (shape of a part, dtype)} of the arrays 'hu', 'mask' and, where there are priors, 'prior'."""
        shape, one_byte = (layout.slices, *self._plane), np.dtype(np.uint8)
        return {name: (shape, self._hu_dtype if name == "hu" else one_byte) for name in self._voxels}

    def bytes_of_part(self, parts: int) -> int:
        """Bytes that a device needs for one of so many parts, and for the table of all patches."""
        layout = self.layout(parts)
        arrays = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self.shapes(layout).values())
        return arrays + sum(column.nbytes for column in self.table(layout).values())

    def part(self, name: str, layout: Layout, number: int) -> np.ndarray:
        """The array `name` of one part."""
        shape, dtype = self.shapes(layout)[name]
        array = np.zeros(shape, dtype)
        for scan in np.flatnonzero(layout.part == number).tolist():
            voxels, first = self._voxels[name][scan], layout.first[scan]
            stored = voxels - np.int16(self.lowest_hu) if name == "hu" else voxels
            array[first : first + len(voxels), : voxels.shape[1], : voxels.shape[2]] = stored
        return array

    def table(self, layout: Layout) -> dict[str, np.ndarray]:
        """Where each patch lies: columns int32 [N].

        'part', the 'slice' in it, the 'lowest' and the 'highest' slice of its scan, the first 'row' and 'column'; for
        mirrored slices also the scan's 'column_sum' and 'width'.
        """
        table = self._patches
        first = layout.first[table.scan]
        columns = {
            "part": layout.part[table.scan],
            "slice": first + table.slice,
            "lowest": first,
            "highest": first + self._depths[table.scan] - 1,
            "row": table.row,
            "column": table.column,
        }
        if self._column_sums:
            columns["column_sum"] = np.asarray(self._column_sums, np.int32)[table.scan]
            columns["width"] = self._widths[table.scan]
        return columns
