"""Stream slices and scans of an RSNA 2019 set to the device: random access, in grain's threads, nothing kept.

The readers work with `loader.training_batches` and `loader.fixed_batches`. Reading pixels releases Python's lock, so
threads run in parallel. The order of examples depends on (seed, epoch) alone.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image

from ichjax.console import say
from ichjax.data import rsna
from ichjax.data.examples import Examples
from ichjax.data.rsna_index import RsnaIndex
from ichjax.data.stacks import first_slices
from ichjax.errors import InputError
from ichjax.scan.volume import AIR_HU

ORDER_SEED = 3  # separates the order of detection examples from other random draws


class SliceBatch(Examples):
    """A batch of slices; `weight` is 0 for padding, and for a slice that cannot be read or has no labels.

    Attributes:
      image: int16 HU [B, P, P], or [B, P, P, S] of S neighboring slices, the example's own slice in the middle.
      label: uint8 [B, 6] of 0 and 1, columns as `DETECTION_LABELS`.
    """

    image: np.ndarray
    label: np.ndarray


class ScanBatch(Examples):
    """A batch of scans, or windows of long ones, from feet to head, padded with air; `weight` is 0 for padding.

    Attributes:
      image: int16 HU [B, D, P, P].
      present: float32 [B, D], 1 for a slice of the scan that could be read, 0 for padding.
      label: uint8 [B, D, 6] of 0 and 1, columns as `DETECTION_LABELS`.
      slice_weight: float32 [B, D], 1 for a slice that is present and has labels.
      position_mm: float32 [B, D], along the body's axis, from the lowest slice of the example; 0 for padding.
    """

    image: np.ndarray
    present: np.ndarray
    label: np.ndarray
    slice_weight: np.ndarray
    position_mm: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleOrder:
    """The order of examples, a function of (seed, epoch) only: all of them, permuted.

    Attributes:
      rows: int64 [n], the examples: slices of the index for a `SliceReader`, scans for a `ScanReader`.
      seed: of all epochs.
    """

    rows: np.ndarray
    seed: int

    def steps(self, batch_size: int) -> int:
        """Number of full batches in an epoch; the remaining examples are dropped, different ones in each epoch."""
        steps = len(self.rows) // batch_size
        if not steps:
            raise InputError(f"an epoch has {len(self.rows)} examples, fewer than batch_size {batch_size}")
        return steps

    def order(self, epoch: int) -> np.ndarray:
        """int64 [n], the examples in the order of an epoch."""
        return np.random.default_rng([self.seed, epoch, ORDER_SEED]).permutation(self.rows)


class _PixelReader:
    """Reads slices on a square grid; a slice that cannot be read is reported once and costs nothing else."""

    def __init__(self, index: RsnaIndex, *, side: int, report: Callable[[str], object]):
        self.index, self.side = index, side
        self._report = report
        self._reported: set[int] = set()

    def read_into(self, plane: np.ndarray, number: int) -> bool:
        """Reads a slice into int16 [P, P]; whether it could be read."""
        try:
            plane[:] = to_square(rsna.read_slice(self.index, number), self.side)
        except InputError as error:
            if number not in self._reported:
                self._reported.add(number)
                self._report(f"skipped: {error}")
            return False
        return True


class SliceReader:
    """Reads batches of slices by their row in the index; thread-safe."""

    def __init__(self, index: RsnaIndex, *, side: int = 512, neighbors: int = 0, report: Callable[[str], object] = say):
        """Makes a reader.

        Args:
          index: of the set.
          side: P, to which slices of another matrix are resampled; see `to_square`.
          neighbors: number of slices read above and below each example's own; end slices are repeated.
          report: prints a line for each slice that cannot be read, once.
        """
        self.index, self.side, self.neighbors = index, side, neighbors
        self._pixels = _PixelReader(index, side=side, report=report)

    def read(self, rows: np.ndarray, *, size: int | None = None) -> SliceBatch:
        """Reads one batch.

        Args:
          rows: int [n], slices of the index.
          size: B; the rest of the batch is padding of weight 0. None means n.
        """
        count = len(rows) if size is None else size
        channels = 2 * self.neighbors + 1
        planes = np.full((count, channels, self.side, self.side), AIR_HU, np.int16)
        label, index = np.zeros((count, 6), np.uint8), np.zeros(count, np.int32)
        weight = np.zeros(count, np.float32)
        index[: len(rows)], label[: len(rows)] = rows, self.index.slices["labels"][rows]
        for i, row in enumerate(np.asarray(rows).tolist()):
            scan = self.index.slice_numbers(int(self.index.slices["scan"][row]))
            numbers = np.clip(np.arange(row - self.neighbors, row + self.neighbors + 1), scan[0], scan[-1])
            readable = [self._pixels.read_into(planes[i, k], number) for k, number in enumerate(numbers.tolist())]
            weight[i] = readable[self.neighbors] and self.index.slices["known"][row]
        image = planes[:, 0] if channels == 1 else np.moveaxis(planes, 1, -1)
        return {"image": image, "label": label, "index": index, "weight": weight}


class ScanReader:
    """Reads batches of whole scans, and of longer ones windows of adjacent slices; thread-safe.

    Attributes:
      scans: int64 [W], ascending: the scan of each window.
      first: int64 [W]: its first slice, a row of `RsnaIndex.slices`.
    """

    def __init__(self, index: RsnaIndex, *, depth: int, side: int = 512, report: Callable[[str], object] = say):
        """Makes a reader.

        Args:
          index: of the set.
          depth: D, slices of an example: shorter scans are padded, longer ones are several windows that overlap by
            about half, so that no slice is left out.
          side, report: see `SliceReader`.
        """
        self.index, self.depth, self.side = index, depth, side
        windows = [first_slices(count, depth) for count in index.scans["slices"].tolist()]
        self.scans = np.repeat(np.arange(len(windows)), [len(firsts) for firsts in windows])
        self.first = index.scans["first"][self.scans] + np.concatenate(windows).astype(np.int64)
        self._pixels = _PixelReader(index, side=side, report=report)

    def windows_of(self, scans: np.ndarray) -> np.ndarray:
        """int64, ascending: the windows of these scans."""
        return np.flatnonzero(np.isin(self.scans, scans))

    def slice_numbers(self, window: int) -> np.ndarray:
        """int64, at most D: the slices of a window, rows of `RsnaIndex.slices`."""
        end = self.index.slice_numbers(int(self.scans[window])).stop
        return np.arange(self.first[window], min(self.first[window] + self.depth, end))

    def read(self, rows: np.ndarray, *, size: int | None = None) -> ScanBatch:
        """Reads one batch.

        Args:
          rows: int [n], windows.
          size: B; the rest of the batch is padding of weight 0. None means n.
        """
        shape = (len(rows) if size is None else size, self.depth)
        batch: ScanBatch = {
            "image": np.full((*shape, self.side, self.side), AIR_HU, np.int16),
            "present": np.zeros(shape, np.float32),
            "label": np.zeros((*shape, 6), np.uint8),
            "slice_weight": np.zeros(shape, np.float32),
            "position_mm": np.zeros(shape, np.float32),
            "index": np.zeros(shape[0], np.int32),
            "weight": np.zeros(shape[0], np.float32),
        }
        batch["index"][: len(rows)], batch["weight"][: len(rows)] = rows, 1.0
        for i, window in enumerate(np.asarray(rows).tolist()):
            numbers = self.slice_numbers(window)
            slices, count = self.index.slices[numbers], len(numbers)
            batch["label"][i, :count] = slices["labels"]
            heights = slices["position_mm"][:, 2]
            batch["position_mm"][i, :count] = heights - heights[0]
            for k, number in enumerate(numbers.tolist()):
                batch["present"][i, k] = self._pixels.read_into(batch["image"][i, k], number)
            batch["slice_weight"][i, :count] = batch["present"][i, :count] * slices["known"]
        return batch


def to_square(hu: np.ndarray, side: int) -> np.ndarray:
    """A slice [H, W] on a grid of `side` x `side` pixels, int16, with its whole field of view.

    It is padded with air to a square, then averaged over blocks if `side` divides its own, else resampled linearly.
    """
    if hu.shape == (side, side):
        return hu
    if hu.shape[0] != hu.shape[1]:
        full = max(hu.shape)
        before = [(full - length) // 2 for length in hu.shape]
        pad = [(k, full - length - k) for k, length in zip(before, hu.shape, strict=True)]
        hu = np.pad(hu, pad, constant_values=AIR_HU)
    factor, rest = divmod(len(hu), side)
    if factor and not rest:
        blocks = hu.reshape(side, factor, side, factor)
        return np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.int16)
    image = Image.fromarray(hu.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return np.rint(np.asarray(image)).astype(np.int16)
