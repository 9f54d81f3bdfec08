"""Stacks of slices with labels and no masks, streamed from an RSNA 2019 set, as examples of a training."""

import dataclasses
from typing import ClassVar

import numpy as np

from ichjax.data.hard_negatives import HardNegatives
from ichjax.data.rsna_reader import ExampleOrder, ScanReader
from ichjax.data.stacks import StackBatch
from ichjax.scan.volume import AIR_HU


class LabeledStackReader:
    """Reads the windows of a `ScanReader` as `stacks.StackReader` reads stacks; nothing is kept.

    A slice that cannot be read is air, and its labels unknown.
    """

    def __init__(self, scans: ScanReader):
        """`scans`: reads them; its `depth` is L, the slices of a stack."""
        self.scans = scans

    def empty_batch(self, *batch: int) -> StackBatch:
        """A batch of padding with leading sizes [B] or [K, B]: air, no labels, weight 0."""
        side, depth = self.scans.side, self.scans.depth
        return {
            "image": np.full((*batch, side, side, depth), AIR_HU, np.int16),
            "mask": np.zeros((*batch, side, side, depth), np.uint8),
            "index": np.zeros(batch, np.int32),
            "weight": np.zeros(batch, np.float32),
            "slices": np.zeros(batch, np.int32),
            "labels": np.full((*batch, depth, 6), -1, np.int8),
            "has_mask": np.zeros(batch, np.uint8),
        }

    def read(self, rows: np.ndarray, *, size: int | None = None) -> StackBatch:
        """Reads one batch; arguments as those of `PatchReader.read`."""
        scans, batch = self.scans.read(rows, size=size), self.empty_batch(len(rows) if size is None else size)
        batch["image"][:] = np.moveaxis(scans["image"], 1, -1)
        batch["index"][:], batch["weight"][:] = scans["index"], scans["weight"]
        batch["slices"][: len(rows)] = [len(self.scans.slice_numbers(row)) for row in np.asarray(rows).tolist()]
        batch["labels"][:] = np.where(scans["slice_weight"][..., None] > 0, scans["label"], -1)
        return batch


@dataclasses.dataclass(frozen=True, eq=False)
class LabeledOrder(ExampleOrder):
    """All examples in a random order, as `patch_index.Epochs` gives that of patches.

    Attributes:
      limit: examples of an epoch at most; 0 for no limit.
    """

    limit: int = 0
    hard: ClassVar[HardNegatives | None] = None

    @property
    def examples(self) -> int:
        """Number of examples in an epoch."""
        return min(len(self.rows), self.limit) if self.limit else len(self.rows)

    def steps(self, batch_size: int) -> int:
        """Number of full batches in an epoch; InputError if there is none."""
        super().steps(batch_size)
        return max(1, self.examples // batch_size)

    def fixed(self) -> np.ndarray:
        """int64 [examples]: a fixed set, for validation."""
        return np.sort(self.order(0)[: self.examples])
