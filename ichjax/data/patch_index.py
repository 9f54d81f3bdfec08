"""Index of all patches of the scans, and the patches and order of each training epoch (paper, section 4)."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from ichjax.data.hard_negatives import HardNegatives
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError

AIR_THRESHOLD_HU = -500  # a patch without a voxel above it shows only air and is useless for training
NEGATIVE_CHOICES = ("matched", "one_slice", "none")
SLICE_CHOICES = ("all", "hemorrhage")
ONE_SLICE_SEED, CANDIDATE_SEED = 1, 2  # separate the random draw of these slices, or patches, from that of an epoch


@dataclasses.dataclass(frozen=True, eq=False)
class PatchTable:
    """All patches of a list of scans, one row per patch; the row number is the example's index.

    Attributes:
      scan, slice, row, column: int32 [N]: the scan's index in the list, the slice, and the patch's first pixel.
      positive: bool [N], whether the patch has at least one mask pixel.
      air: bool [N], whether the patch shows only air.
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
        """int64 [N]: the patch's slice, numbered across all scans."""
        return np.unique(np.stack([self.scan, self.slice]), axis=1, return_inverse=True)[1].ravel()

    @functools.cached_property
    def bleeding_slice(self) -> np.ndarray:
        """bool [N]: whether the patch's slice has a hemorrhage anywhere (the patches cover it completely)."""
        return (np.bincount(self.slice_number, self.positive) > 0)[self.slice_number]


def patch_table(scans: Sequence[CachedScan], *, side: int, stride: int) -> PatchTable:
    """Lists the patches of every slice of every scan (49 per slice in the paper).

    Args:
      scans: slices must be covered evenly by the patches, see `ops.patches.grid_shape`.
      side: P, in pixels, a multiple of the stride.
      stride: in pixels.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    for index, scan in enumerate(scans):
        positive = any_in_patch(scan.mask > 0, side, stride)
        tissue = any_in_patch(scan.volume.hu > AIR_THRESHOLD_HU, side, stride)
        slices, rows, columns = np.indices(positive.shape, dtype=np.int32).reshape(3, -1)
        scan_index = np.full(slices.size, index, np.int32)
        parts.append((scan_index, slices, rows * stride, columns * stride, positive.ravel(), ~tissue.ravel()))
    scan_, slice_, row, column, positive, air = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return PatchTable(scan_, slice_, row, column, positive, air, side)


def any_in_patch(voxels: np.ndarray, side: int, stride: int) -> np.ndarray:
    """Reduces bool [D, H, W] to bool [D, rows, columns]: whether any voxel of each patch is set."""
    depth, height, width = voxels.shape
    k = side // stride
    blocks = voxels.reshape(depth, height // stride, stride, width // stride, stride).any(axis=(2, 4))
    return np.any(np.lib.stride_tricks.sliding_window_view(blocks, (k, k), axis=(1, 2)), axis=(3, 4))


@dataclasses.dataclass(frozen=True, eq=False)
class Epochs:
    """The order of examples, a function of (seed, fold, epoch) only.

    Every positive patch is visited once per epoch, unless there are `weights`. With `negatives` 'matched', the same
    number of negative patches (or all, if there are fewer) is drawn again each epoch, without replacement, from
    those that show more than air: the paper's undersampling of non-hemorrhage data to the level of hemorrhage data.
    With 'one_slice' they are all patches, including air, of one random hemorrhage-free slice per subject, the same
    in every epoch: the authors' code for the JPEG release. With 'none' there are only positive patches, as in their
    code for the NIfTI release. With `slices` 'hemorrhage', negative patches are only drawn from slices with a
    hemorrhage (experiment 2). `limit` is the maximum number of examples per epoch, 0 for no limit. With `weights`
    (float64 [N], by row of the table) the positive patches are as many draws with these probabilities instead, or more,
    so that the epoch has `limit` examples. With `hard`, a share of 'matched' negatives are hard ones: the order then
    depends on their scores, too.
    """

    table: PatchTable
    negatives: str
    seed: int
    fold: int
    limit: int = 0
    slices: str = "all"
    weights: np.ndarray | None = None
    hard: HardNegatives | None = None

    def __post_init__(self) -> None:
        if self.negatives not in NEGATIVE_CHOICES:
            raise InputError(f"negatives is {self.negatives!r}; expected one of {', '.join(NEGATIVE_CHOICES)}")
        if self.slices not in SLICE_CHOICES:
            raise InputError(f"slices is {self.slices!r}; expected one of {', '.join(SLICE_CHOICES)}")
        if self.negatives == "one_slice" and self.slices != "all":
            raise InputError("negatives 'one_slice' come from slices without a hemorrhage; expected slices 'all'")
        if not self.table.positive.any():
            raise InputError(f"fold {self.fold}: no patch with a hemorrhage to train on; expected at least one")

    @property
    def examples(self) -> int:
        """Number of examples in an epoch."""
        positive = self._positive
        drawn = {"matched": min(positive, self._pool.size), "one_slice": self._pool.size, "none": 0}
        total = positive + drawn[self.negatives]
        return min(total, self.limit) if self.limit else total

    @functools.cached_property
    def _positive(self) -> int:
        """Number of patches with a hemorrhage, before the limit."""
        count = int(self.table.positive.sum())
        if self.weights is None:
            return count
        negative = {"matched": min(self.limit // 2, self._pool.size), "one_slice": self._pool.size, "none": 0}
        return max(count, self.limit - negative[self.negatives])

    @functools.cached_property
    def _pool(self) -> np.ndarray:
        """Rows of the table from which negative patches are drawn."""
        table = self.table
        if self.negatives == "one_slice":
            return self._one_slice_per_scan()
        negative = ~table.positive & ~table.air
        return np.flatnonzero(negative & table.bleeding_slice if self.slices == "hemorrhage" else negative)

    def _one_slice_per_scan(self) -> np.ndarray:
        """Rows of one random hemorrhage-free slice of each scan that has such a slice."""
        table, free = self.table, ~self.table.bleeding_slice
        rng = np.random.default_rng([self.seed, self.fold, 0, ONE_SLICE_SEED])
        numbers, rows = np.unique(table.slice_number[free], return_index=True)
        scan = table.scan[free][rows]
        chosen = [rng.choice(numbers[scan == one]) for one in np.unique(scan)]
        return np.flatnonzero(np.isin(table.slice_number, chosen))

    def steps(self, batch_size: int) -> int:
        """Number of full batches in an epoch; the remaining examples are dropped, different ones in each epoch.

        Raises:
          InputError: an epoch has fewer examples than a batch.
        """
        steps = self.examples // batch_size
        if not steps:
            raise InputError(
                f"fold {self.fold}: an epoch has {self.examples} patches, fewer than batch_size {batch_size}"
            )
        return steps

    def order(self, epoch: int) -> np.ndarray:
        """int64 [examples], rows of the table in the order of an epoch."""
        rng = np.random.default_rng([self.seed, self.fold, epoch])
        rows = np.flatnonzero(self.table.positive)
        if self.weights is not None:
            rows = rng.choice(len(self.table), size=self._positive, p=self.weights)
        if self.negatives == "matched":
            rows = np.concatenate([rows, *self._matched(rng, epoch, min(rows.size, self._pool.size))])
        elif self.negatives == "one_slice":
            rows = np.concatenate([rows, self._pool])
        return rng.permutation(rows)[: self.examples]

    def _matched(self, rng: np.random.Generator, epoch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """`count` rows without a hemorrhage, all different: hard ones, and others."""
        hard = np.zeros(0, np.int64) if self.hard is None else self.hard.draw(rng, epoch, count)
        others = np.setdiff1d(self._pool, hard) if hard.size else self._pool
        return hard, rng.choice(others, size=count - hard.size, replace=False)

    def candidates(self, limit: int) -> np.ndarray:
        """int64 [M], ascending: the rows from which negatives are drawn, or a fixed random `limit` of them."""
        if self._pool.size <= limit:
            return self._pool
        rng = np.random.default_rng([self.seed, self.fold, 0, CANDIDATE_SEED])
        return np.sort(rng.choice(self._pool, size=limit, replace=False))

    def fixed(self) -> np.ndarray:
        """int64 [examples], the first epoch's examples in table order: a fixed set, for validation."""
        return np.sort(self.order(0))
