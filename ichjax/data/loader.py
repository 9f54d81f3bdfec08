"""Load batches of patches with grain from memory-mapped scans; the order depends only on (seed, fold, step)."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

import grain
import numpy as np

from ichjax.data.examples import Batch, Examples
from ichjax.data.patch_index import PatchTable
from ichjax.data.scan_cache import PRIOR_LEVELS, CachedScan
from ichjax.scan import midplane
from ichjax.scan.volume import AIR_HU

PRIOR_STEP = 1000 // PRIOR_LEVELS  # of a prior in a batch, where 1000 is a probability of 1


Read = TypeVar("Read", bound=Examples)
ReadAs = TypeVar("ReadAs", bound=Examples, covariant=True)


class Reader(Protocol[ReadAs]):
    """What `training_batches` reads from."""

    def read(self, rows: np.ndarray) -> ReadAs:
        """Reads the batch of these rows of the patch table, int [n]."""


class PaddingReader(Protocol[ReadAs]):
    """What `fixed_batches` reads from."""

    def read(self, rows: np.ndarray, *, size: int | None = None) -> ReadAs:
        """Reads the batch of these rows, int [n], padded to `size` with weight 0."""


class Order(Protocol):
    """The order of examples: `patch_index.Epochs`, or that of whole slices or scans."""

    def steps(self, batch_size: int) -> int:
        """Number of full batches in an epoch."""

    def order(self, epoch: int) -> np.ndarray:
        """int64 [n], the rows that an epoch reads."""


class BatchReader(Protocol):
    """What reads whole batches: patches (`PatchReader`) or stacks of slices (`stacks.StackReader`)."""

    def empty_batch(self, *batch: int) -> Batch:
        """A batch of padding with leading sizes [B] or [K, B], of weight 0."""

    def read(self, rows: np.ndarray, *, size: int | None = None) -> Batch:
        """Reads these rows of the table, int [n], padded to `size` examples."""


class PatchReader:
    """Reads patches by their row in the table; random access, stateless and thread-safe."""

    def __init__(
        self,
        scans: Sequence[CachedScan],
        table: PatchTable,
        *,
        neighbors: int = 0,
        mirrored: bool = False,
        classes: bool = False,
        priors: int = 0,
    ):
        """Makes a reader.

        Args:
          scans, table: of the patches.
          neighbors: number of slices read above and below each example's own; end slices are repeated.
          mirrored: whether a patch is followed by that of the slice mirrored about the head's mid-plane.
          classes: whether the masks are those of classes.
          priors: 1 to read `CachedScan.prior` as well, else 0.
        """
        # Plain array views of the memory maps are faster to slice.
        self.hu = [np.asarray(scan.volume.hu) for scan in scans]
        self.masks = [np.asarray(scan.classes if classes else scan.mask) for scan in scans]
        self.priors = [np.asarray(scan.prior) for scan in scans] if priors else []
        self.column_sums = [midplane.column_sum(hu) for hu in self.hu] if mirrored else []
        self.table, self.neighbors = table, neighbors
        self._offsets = np.arange(-neighbors, neighbors + 1)
        channels = 2 * neighbors + 1 + mirrored + priors
        self._image_shape = (table.side, table.side, *((channels,) if channels > 1 else ()))

    def empty_batch(self, *batch: int) -> Batch:
        """A batch of padding with leading sizes [B] or [K, B]: air, no hemorrhage, weight 0."""
        return {
            "image": np.full((*batch, *self._image_shape), AIR_HU, np.int16),
            "mask": np.zeros((*batch, *self._image_shape[:2]), np.uint8),
            "index": np.zeros(batch, np.int32),
            "weight": np.zeros(batch, np.float32),
        }

    def read(self, rows: np.ndarray, *, size: int | None = None) -> Batch:
        """Reads one batch.

        Args:
          rows: int [n], rows of the table.
          size: B; the rest of the batch is padding of weight 0. None means n.
        """
        table, side = self.table, self.table.side
        batch = self.empty_batch(len(rows) if size is None else size)
        batch["index"][: len(rows)], batch["weight"][: len(rows)] = rows, 1.0
        corners = (column[rows].tolist() for column in (table.scan, table.slice, table.row, table.column))
        for i, (scan, depth, top, left) in enumerate(zip(*corners, strict=True)):
            patch = np.s_[top : top + side, left : left + side]
            hu = self.hu[scan]
            if len(self._image_shape) == 2:
                batch["image"][i] = hu[depth, *patch]
            else:
                slices = np.clip(depth + self._offsets, 0, len(hu) - 1)
                batch["image"][i, ..., : len(slices)] = np.moveaxis(hu[slices, *patch], 0, -1)
            if self.column_sums:
                rows = hu[depth, top : top + side]
                mirrored = midplane.mirrored_patch(rows, self.column_sums[scan], left, side, outside=AIR_HU)
                batch["image"][i, ..., len(self._offsets)] = mirrored
            if self.priors:
                batch["image"][i, ..., -1] = np.int16(PRIOR_STEP) * self.priors[scan][depth, *patch]
            batch["mask"][i] = self.masks[scan][depth, *patch]
        return batch


def training_batches(
    reader: Reader[Read],
    epochs: Order,
    *,
    batch_size: int,
    start_step: int,
    stop_step: int,
    threads: int = 2,
    prefetch: int = 8,
    group: int = 1,
    share: np.ndarray | None = None,
) -> Iterator[Read]:
    """Yields the batches of steps `start_step` to `stop_step` - 1; resumed training gets the same batches.

    Args:
      reader: of the training scans: a `PatchReader`, or `train.resident.ResidentScans`, which reads no pixels.
      epochs: the order of examples.
      batch_size: B, examples of a global batch.
      start_step, stop_step: counted from the start of training, over all epochs.
      threads: grain's reader threads; 0 reads in the caller's thread.
      prefetch: batches read in advance.
      share: int [n], positions in each batch that this process reads; None for all.
      group: K; above 1, K batches are stacked, [K, B, ...], fewer at the end of an epoch.
    """
    steps = epochs.steps(batch_size)
    order = functools.lru_cache(maxsize=4)(epochs.order)

    def batch(step: int) -> Read:
        start = step % steps * batch_size
        rows = order(step // steps)[start : start + batch_size]
        return reader.read(rows if share is None else rows[share])

    if group == 1:
        return _iterate(grain.MapDataset.range(start_step, stop_step).map(batch), threads=threads, prefetch=prefetch)
    groups = group_steps(start_step, stop_step, steps=steps, group=group)

    def stacked(number: int) -> Read:
        batches: list[dict] = [cast(dict, batch(step)) for step in groups[number]]
        return cast(Read, {name: np.stack([one[name] for one in batches]) for name in batches[0]})

    return _iterate(grain.MapDataset.range(len(groups)).map(stacked), threads=threads, prefetch=-(-prefetch // group))


def group_steps(start_step: int, stop_step: int, *, steps: int, group: int) -> list[range]:
    """The steps of each dispatch, in order: at most `group`, never across the end of an epoch of `steps`."""
    groups, step = [], start_step
    while step < stop_step:
        end = min(step + group, (step // steps + 1) * steps, stop_step)
        groups.append(range(step, end))
        step = end
    return groups


def fixed_batches(
    reader: PaddingReader[Read], rows: np.ndarray, *, batch_size: int, threads: int = 2, share: np.ndarray | None = None
) -> Iterator[Read]:
    """Yields `rows` in order, each once; the last batch is padded to `batch_size` with weight 0.

    This process reads only the positions `share` of each batch, ascending; None for all.
    """
    share = np.arange(batch_size) if share is None else share

    def batch(number: int) -> Read:
        batch_rows = rows[number * batch_size : (number + 1) * batch_size]
        return reader.read(batch_rows[share[share < len(batch_rows)]], size=len(share))

    return _iterate(grain.MapDataset.range(-(-len(rows) // batch_size)).map(batch), threads=threads, prefetch=4)


def _iterate(dataset: grain.MapDataset, *, threads: int, prefetch: int) -> Iterator[Any]:
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(prefetch, threads) if threads else 0)
    return iter(dataset.to_iter_dataset(options))
