"""Stacks of consecutive slices as training examples: whole scans in order, or parts of long ones."""

from collections.abc import Sequence
from typing import NotRequired

import numpy as np

from ichjax.data.examples import Batch
from ichjax.data.patch_index import AIR_THRESHOLD_HU, PatchTable
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.scan.volume import AIR_HU


class StackBatch(Batch):
    """A batch of stacks; 'image' is int16 HU [B, P, P, L], 'mask' uint8 [B, P, P, L].

    Attributes:
      slices: int32 [B], the slices of each stack that are not padding; these come first.
      labels: int8 [B, L, 6], the sub-types of each slice and any hemorrhage: 0, 1, or -1 where not known. Only from
        readers of scans with labels of slices and no masks.
      has_mask: uint8 [B], 0 for such a scan, whose mask is blank; only with `labels`.
    """

    slices: np.ndarray
    labels: NotRequired[np.ndarray]
    has_mask: NotRequired[np.ndarray]


def stack_table(scans: Sequence[CachedScan], *, length: int) -> PatchTable:
    """Lists the stacks of every scan; `slice` is the first one of each.

    A scan of at most `length` slices is one stack. A longer one is divided into stacks that overlap by about half, the
    last of which ends with the scan.

    Args:
      scans: with square slices, all of one size.
      length: L, the slices of a stack.

    Raises:
      InputError: a slice is not square, or slices differ in size.
    """
    if not scans:
        raise InputError("there is no scan to make stacks of slices from; expected at least one")
    shapes = {scan.volume.hu.shape[1:] for scan in scans}
    if len(shapes) > 1 or len(set(next(iter(shapes)))) > 1:
        found = ", ".join(f"{height} x {width}" for height, width in sorted(shapes))
        raise InputError(f"scans have slices of {found} pixels; expected one square size: set config.grid.side")
    rows = [(index, first) for index, scan in enumerate(scans) for first in first_slices(len(scan.volume.hu), length)]
    scan, first = np.array(rows, np.int32).T
    within = [slice(start, start + length) for start in first.tolist()]
    positive = [bool((scans[i].mask[part] > 0).any()) for i, part in zip(scan.tolist(), within, strict=True)]
    air = [
        not (scans[i].volume.hu[part] > AIR_THRESHOLD_HU).any() for i, part in zip(scan.tolist(), within, strict=True)
    ]
    zeros = np.zeros(len(rows), np.int32)
    side = next(iter(shapes))[0]
    return PatchTable(scan, first, zeros, zeros, np.array(positive), np.array(air), side)


def first_slices(depth: int, length: int) -> list[int]:
    """The first slice of each stack of a scan of `depth` slices."""
    if depth <= length:
        return [0]
    count = -(-(depth - length) // max(length // 2, 1)) + 1
    return np.unique(np.rint(np.linspace(0, depth - length, count)).astype(int)).tolist()


class StackReader:
    """Reads stacks by their row in the table; random access, stateless and thread-safe, as `loader.PatchReader`."""

    def __init__(self, scans: Sequence[CachedScan], table: PatchTable, *, length: int, classes: bool):
        """Makes a reader.

        Args:
          scans, table: of the stacks, from `stack_table`.
          length: L, the slices of a stack.
          classes: whether the masks are those of classes (`classes.class_mask`).
        """
        self.hu = [np.asarray(scan.volume.hu) for scan in scans]
        self.masks = [np.asarray(scan.classes if classes else scan.mask) for scan in scans]
        self.table, self.length = table, length

    def empty_batch(self, *batch: int) -> StackBatch:
        """A batch of padding with leading sizes [B] or [K, B]: air, no hemorrhage, weight 0."""
        shape = (*batch, self.table.side, self.table.side, self.length)
        return {
            "image": np.full(shape, AIR_HU, np.int16),
            "mask": np.zeros(shape, np.uint8),
            "index": np.zeros(batch, np.int32),
            "weight": np.zeros(batch, np.float32),
            "slices": np.zeros(batch, np.int32),
        }

    def read(self, rows: np.ndarray, *, size: int | None = None) -> StackBatch:
        """Reads one batch; arguments as those of `PatchReader.read`."""
        batch = self.empty_batch(len(rows) if size is None else size)
        batch["index"][: len(rows)], batch["weight"][: len(rows)] = rows, 1.0
        for i, (scan, first) in enumerate(zip(self.table.scan[rows], self.table.slice[rows], strict=True)):
            hu = self.hu[scan][first : first + self.length]
            batch["image"][i, ..., : len(hu)] = np.moveaxis(hu, 0, -1)
            batch["mask"][i, ..., : len(hu)] = np.moveaxis(self.masks[scan][first : first + self.length], 0, -1)
            batch["slices"][i] = len(hu)
        return batch
