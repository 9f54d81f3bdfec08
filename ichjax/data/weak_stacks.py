"""Stacks with masks, joined by stacks that have labels of slices alone: weak supervision."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from ichjax.data.hard_negatives import HardNegatives
from ichjax.data.labeled_stacks import LabeledStackReader
from ichjax.data.patch_index import Epochs
from ichjax.data.stacks import StackBatch, StackReader

WEAK_SEED = 4  # separates the draw of scans without masks from that of an epoch


class WeakStackReader:
    """Reads both kinds by one number: first the rows of the table of stacks with masks, then the windows of scans with
    labels."""

    def __init__(self, masked: StackReader, labeled: LabeledStackReader):
        """Both readers have stacks of one length and slices of one size."""
        self._masked, self._labeled = masked, labeled

    def empty_batch(self, *batch: int) -> StackBatch:
        """A batch of padding, as that of either reader."""
        return self._labeled.empty_batch(*batch)

    def read(self, rows: np.ndarray, *, size: int | None = None) -> StackBatch:
        """Reads one batch; arguments as those of `PatchReader.read`."""
        batch = self.empty_batch(len(rows) if size is None else size)
        arrays: dict[str, Any] = dict(batch)
        first_labeled = len(self._masked.table)
        has_mask = np.asarray(rows) < first_labeled
        for reader, chosen, first in ((self._masked, has_mask, 0), (self._labeled, ~has_mask, first_labeled)):
            for name, values in reader.read(np.asarray(rows)[chosen] - first).items():
                arrays[name][: len(rows)][chosen] = values
        batch["index"][: len(rows)] = rows
        batch["has_mask"][: len(rows)] = has_mask
        return batch


@dataclasses.dataclass(frozen=True, eq=False)
class WeakOrder:
    """The order of stacks with masks, and at most as many stacks with labels alone, drawn in each epoch.

    Attributes:
      epochs: of the stacks with masks.
      labeled: int64 [n], numbers of the stacks with labels.
      share: stacks with labels for each stack with a mask.
    """

    epochs: Epochs
    labeled: np.ndarray
    share: float = 1.0
    hard: ClassVar[HardNegatives | None] = None

    @property
    def drawn(self) -> int:
        """Stacks with labels in an epoch."""
        return min(len(self.labeled), round(self.share * self.epochs.examples))

    @property
    def examples(self) -> int:
        """Number of examples in an epoch."""
        return self.epochs.examples + self.drawn

    def steps(self, batch_size: int) -> int:
        """Number of full batches in an epoch; InputError if stacks with masks alone make none."""
        self.epochs.steps(batch_size)
        return self.examples // batch_size

    def order(self, epoch: int) -> np.ndarray:
        """int64 [examples], numbers as `WeakStackReader` reads them."""
        rng = np.random.default_rng([self.epochs.seed, self.epochs.fold, epoch, WEAK_SEED])
        drawn = len(self.epochs.table) + rng.choice(self.labeled, size=self.drawn, replace=False)
        return rng.permutation(np.concatenate([self.epochs.order(epoch), drawn]))

    def fixed(self) -> np.ndarray:
        """int64 [examples], in ascending order, of the first epoch."""
        return np.sort(self.order(0))
