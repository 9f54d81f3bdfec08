"""Batches of patches, read by grain from memory-mapped scans in an order that (seed, fold, step) alone decides."""

import functools
from collections.abc import Iterator, Sequence
from typing import TypedDict

import grain
import numpy as np

from ichjax.data.cache import CachedScan
from ichjax.data.patch_table import Epochs, PatchTable


class Batch(TypedDict):
    """What the device gets: 2 bytes a pixel, however many windows there are.

    image: int16 [B, P, P], HU.  mask: uint8 [B, P, P] of 0 and 1.  index: int32 [B], the example's row in its
    patch table.  weight: float32 [B], 0 for the padding of a last batch, else 1.
    """

    image: np.ndarray
    mask: np.ndarray
    index: np.ndarray
    weight: np.ndarray


class PatchReader:
    """Reads patches by their row in the table; random access, no state, safe to share between threads."""

    def __init__(self, scans: Sequence[CachedScan], table: PatchTable):
        # Plain views of the memory maps, which are faster to cut from.
        self._hu = [np.asarray(scan.volume.hu) for scan in scans]
        self._masks = [np.asarray(scan.mask) for scan in scans]
        self._table = table

    def read(self, rows: np.ndarray, *, size: int | None = None) -> Batch:
        """Reads one batch.

        Args:
          rows: int [n], rows of the table.
          size: B; the rest of the batch is padding of weight 0. None: n.
        """
        table, side = self._table, self._table.side
        size = len(rows) if size is None else size
        image, mask = np.empty((size, side, side), np.int16), np.empty((size, side, side), np.uint8)
        image[len(rows) :], mask[len(rows) :] = -1000, 0
        index, weight = np.zeros(size, np.int32), np.zeros(size, np.float32)
        index[: len(rows)], weight[: len(rows)] = rows, 1.0
        places = (column[rows].tolist() for column in (table.scan, table.slice, table.row, table.column))
        for place, (scan, depth, top, left) in enumerate(zip(*places, strict=True)):
            image[place] = self._hu[scan][depth, top : top + side, left : left + side]
            mask[place] = self._masks[scan][depth, top : top + side, left : left + side]
        return {"image": image, "mask": mask, "index": index, "weight": weight}


def training_batches(
    reader: PatchReader,
    epochs: Epochs,
    *,
    batch_size: int,
    start_step: int,
    stop_step: int,
    threads: int = 2,
    prefetch: int = 8,
    group: int = 1,
    share: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Yields the batches of steps `start_step` to `stop_step` - 1, the same ones whenever training is resumed.

    Args:
      reader: of the training scans.
      epochs: the order of examples.
      batch_size: B, examples of a global batch.
      start_step, stop_step: counted from the beginning of training, over all epochs.
      threads: grain's reading threads; 0 reads in the caller's thread.
      prefetch: batches read ahead.
      share: int [n], which examples of each batch this process reads; None for all.
      group: K; above 1, batches come stacked, [K, B, ...], and fewer at the end of an epoch.
    """
    steps = epochs.steps(batch_size)
    order = functools.lru_cache(maxsize=4)(epochs.order)

    def batch(step: int) -> Batch:
        place = step % steps
        rows = order(step // steps)[place * batch_size : (place + 1) * batch_size]
        return reader.read(rows if share is None else rows[share])

    if group == 1:
        return _iterate(grain.MapDataset.range(start_step, stop_step).map(batch), threads=threads, prefetch=prefetch)
    groups = group_steps(start_step, stop_step, steps=steps, group=group)

    def stacked(number: int) -> Batch:
        parts = [batch(step) for step in groups[number]]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    return _iterate(grain.MapDataset.range(len(groups)).map(stacked), threads=threads, prefetch=-(-prefetch // group))


def group_steps(start_step: int, stop_step: int, *, steps: int, group: int) -> list[range]:
    """The steps of each dispatch, in order: at most `group`, and none goes over the end of an epoch of `steps`."""
    groups, step = [], start_step
    while step < stop_step:
        end = min(step + group, (step // steps + 1) * steps, stop_step)
        groups.append(range(step, end))
        step = end
    return groups


def fixed_batches(
    reader: PatchReader, rows: np.ndarray, *, batch_size: int, threads: int = 2, share: np.ndarray | None = None
) -> Iterator[Batch]:
    """Yields `rows` in order, each once; the last batch is padded to `batch_size` with weight 0.

    Of each batch only `share` is read, rising places in it; None for all.
    """
    share = np.arange(batch_size) if share is None else share

    def batch(number: int) -> Batch:
        of_batch = rows[number * batch_size : (number + 1) * batch_size]
        return reader.read(of_batch[share[share < len(of_batch)]], size=len(share))

    return _iterate(grain.MapDataset.range(-(-len(rows) // batch_size)).map(batch), threads=threads, prefetch=4)


def _iterate(dataset: grain.MapDataset, *, threads: int, prefetch: int) -> Iterator[Batch]:
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(prefetch, threads) if threads else 0)
    return iter(dataset.to_iter_dataset(options))
