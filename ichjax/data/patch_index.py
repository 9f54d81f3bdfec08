"""Which patches there are, and which of them an epoch visits, in which order (paper, section 4)."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError

ABOVE_AIR_HU = -500  # a patch without a voxel above it shows air alone and teaches nothing
NEGATIVE_CHOICES = ("matched", "one_slice", "none")
SLICE_CHOICES = ("all", "hemorrhage")
ONE_SLICE = 1  # sets the draw of those slices apart from that of an epoch


@dataclasses.dataclass(frozen=True, eq=False)
class PatchTable:
    """Every patch of some scans, one row a patch; a row's number is the example's index.

    Attributes:
      scan, slice, row, column: int32 [N]: which scan of the list, which slice, the patch's first pixel.
      positive: bool [N], at least one mask pixel inside.
      air: bool [N], nothing but air inside.
      side: P, in pixels.
    """

    scan: np.ndarray
    slice: np.ndarray
    row: np.ndarray
    column: np.ndarray
    positive: np.ndarray
    air: np.ndarray
    side: int

    def __len__(self) -> int:
        return len(self.scan)

    @functools.cached_property
    def slice_number(self) -> np.ndarray:
        """int64 [N]: the patch's slice, counted through all scans."""
        return np.unique(np.stack([self.scan, self.slice]), axis=1, return_inverse=True)[1].ravel()

    @functools.cached_property
    def bleeding_slice(self) -> np.ndarray:
        """bool [N]: whether the patch's slice has a hemorrhage anywhere (the patches cover it whole)."""
        return (np.bincount(self.slice_number, self.positive) > 0)[self.slice_number]


def patch_table(scans: Sequence[CachedScan], *, side: int, stride: int) -> PatchTable:
    """Lists the patches of every slice of every scan (49 a slice in the paper).

    Args:
      scans: with slices that the patches cover evenly, see `ops.patches.grid_shape`.
      side: P, in pixels, a whole number of strides.
      stride: in pixels.
    """
    columns = []
    for index, scan in enumerate(scans):
        positive = _any_in_patch(scan.mask > 0, side, stride)
        tissue = _any_in_patch(scan.volume.hu > ABOVE_AIR_HU, side, stride)
        slices, rows, cols = np.indices(positive.shape, dtype=np.int32).reshape(3, -1)
        columns.append(
            (
                np.full(slices.size, index, np.int32),
                slices,
                rows * stride,
                cols * stride,
                positive.ravel(),
                ~tissue.ravel(),
            )
        )
    return PatchTable(*(np.concatenate(parts) for parts in zip(*columns, strict=True)), side=side)


def _any_in_patch(voxels: np.ndarray, side: int, stride: int) -> np.ndarray:
    """bool [D, H, W] to bool [D, rows, columns]: whether any voxel of a patch is set."""
    depth, height, width = voxels.shape
    k = side // stride
    blocks = voxels.reshape(depth, height // stride, stride, width // stride, stride).any(axis=(2, 4))
    return np.lib.stride_tricks.sliding_window_view(blocks, (k, k), axis=(1, 2)).any(axis=(3, 4))


@dataclasses.dataclass(frozen=True)
class Epochs:
    """The order of examples, a function of (seed, fold, epoch) alone.

    Every positive patch is visited once an epoch. With `negatives` 'matched' as many negative patches (all, where
    there are fewer) are drawn anew each epoch, without replacement, from those that show more than air: the paper's
    undersampling of non-hemorrhage data to the level of hemorrhage data. With 'one_slice' they are all patches, air
    included, of one random hemorrhage-free slice of each subject that has one, the same in every epoch: the authors'
    code for the JPEG release. With 'none' there are positive patches only, as in their code for the NIfTI release.
    With `slices` 'hemorrhage' no negative patch is drawn from a slice without a hemorrhage (experiment 2).
    """

    table: PatchTable
    negatives: str
    seed: int
    fold: int
    limit: int = 0
    slices: str = "all"

    def __post_init__(self):
        if self.negatives not in NEGATIVE_CHOICES:
            raise InputError(f"negatives is {self.negatives!r}; expected one of {', '.join(NEGATIVE_CHOICES)}")
        if self.slices not in SLICE_CHOICES:
            raise InputError(f"slices is {self.slices!r}; expected one of {', '.join(SLICE_CHOICES)}")
        if self.negatives == "one_slice" and self.slices != "all":
            raise InputError("negatives 'one_slice' come from slices without a hemorrhage; expected slices 'all'")
        if not self.table.positive.any():
            raise InputError(f"fold {self.fold}: no patch with a hemorrhage to learn from; expected at least one")

    @property
    def examples(self) -> int:
        """Number of examples in an epoch."""
        positive = int(self.table.positive.sum())
        drawn = {"matched": min(positive, self._pool.size), "one_slice": self._pool.size, "none": 0}
        every = positive + drawn[self.negatives]
        return min(every, self.limit) if self.limit else every

    @functools.cached_property
    def _pool(self) -> np.ndarray:
        """Rows of the table from which negative patches are drawn."""
        table = self.table
        if self.negatives == "one_slice":
            return self._one_slice_each()
        wanted = ~table.positive & ~table.air
        return np.flatnonzero(wanted & table.bleeding_slice if self.slices == "hemorrhage" else wanted)

    def _one_slice_each(self) -> np.ndarray:
        """Rows of one random hemorrhage-free slice of each scan; a scan without such a slice has none."""
        table, free = self.table, ~self.table.bleeding_slice
        rng = np.random.default_rng([self.seed, self.fold, 0, ONE_SLICE])
        numbers, rows = np.unique(table.slice_number[free], return_index=True)
        scan = table.scan[free][rows]  # whose each of these slices is
        chosen = [rng.choice(numbers[scan == one]) for one in np.unique(scan)]
        return np.flatnonzero(np.isin(table.slice_number, chosen))

    def steps(self, batch_size: int) -> int:
        """Number of whole batches in an epoch; what does not fill one is left to another epoch's order.

        Raises:
          InputError: an epoch holds less than one batch.
        """
        steps = self.examples // batch_size
        if not steps:
            raise InputError(
                f"fold {self.fold}: an epoch has {self.examples} patches, fewer than batch_size {batch_size}"
            )
        return steps

    def order(self, epoch: int) -> np.ndarray:
        """int64 [examples], rows of the table in the order of one epoch."""
        rng = np.random.default_rng([self.seed, self.fold, epoch])
        rows = np.flatnonzero(self.table.positive)
        if self.negatives == "matched":
            drawn = rng.choice(self._pool, size=min(rows.size, self._pool.size), replace=False)
            rows = np.concatenate([rows, drawn])
        elif self.negatives == "one_slice":
            rows = np.concatenate([rows, self._pool])
        return rng.permutation(rows)[: self.examples]

    def fixed(self) -> np.ndarray:
        """int64 [examples], the first epoch's examples in table order: one unchanging set, for validation."""
        return np.sort(self.order(0))
