"""Scans as the classical methods see them: pixels of 1 mm, and the inside of the skull."""

import hashlib
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ichjax.data import scan_cache
from ichjax.data.regrid import Geometry, own_grid, resample_to_grid, resampled_hu
from ichjax.data.scan_cache import CachedScan
from ichjax.files import cache_folder
from ichjax.methods import views
from ichjax.methods.slices import pad_depth
from ichjax.ops import skull
from ichjax.scan.volume import AIR_HU, Volume

PIXEL_MM = 1.0
SIDE = 232  # mm, more than a head; a matrix that no scanner has, so that every scan is resampled to `PIXEL_MM`
STEP = 16  # by which each edge moves out for a head that lies far from the middle of a large image
LEAST_HU = -100  # of a head's tissue where no skull is found
HEADS_FORMAT = 1  # part of every name in the cache: increment it when `segment_inside` changes
INSIDE_FILE = "inside.npy"


class Head(NamedTuple):
    """A scan on the working grid.

    Attributes:
      hu: float32 [D, h, w], whole HU; pixels of `PIXEL_MM`. Slices of air follow the scan's own.
      inside: bool [D, h, w], the inside of the skull; all tissue where no closed skull is found; False on padding.
      depth: int32 [], slices of the scan.
      slice_mm: float32 [], their spacing.
    """

    hu: jax.Array
    inside: jax.Array
    depth: jax.Array
    slice_mm: jax.Array


class Training(NamedTuple):
    """A training scan on the working grid.

    Attributes:
      head: the scan.
      truth: bool [D, h, w].
      classes: uint8 [D, h, w], the sub-types of the mask (`data.classes.class_mask`).
      number: of the subject.
    """

    head: Head
    truth: jax.Array
    classes: jax.Array
    number: int


class Trainings(Sequence[Training]):
    """Training scans, each read from the cache when it is needed."""

    def __init__(self, scans: Sequence[CachedScan]):
        self._scans = scans

    def __len__(self) -> int:
        return len(self._scans)

    @overload
    def __getitem__(self, index: int) -> Training: ...
    @overload
    def __getitem__(self, index: slice) -> "Trainings": ...
    def __getitem__(self, index: int | slice) -> "Training | Trainings":
        if isinstance(index, slice):
            return Trainings(self._scans[index])
        scan = self._scans[index]
        gridded = resample_to_grid(scan, grid_of(scan.volume))
        depth = len(scan.volume.hu)
        hu, truth, classes = (
            pad_depth(np.asarray(array), value)
            for array, value in ((gridded.volume.hu, AIR_HU), (gridded.mask, 0), (gridded.classes, 0))
        )
        head = _head(hu, _cached_inside(scan, hu), np.int32(depth), slice_mm_of(scan.volume))
        return Training(head, jnp.asarray(truth > 0), jnp.asarray(classes), scan.number)

    def __iter__(self) -> Iterator[Training]:
        return (self[index] for index in range(len(self)))


def grid_of(volume: Volume) -> Geometry:
    """The working grid of a scan, with the same center; larger where the skull needs it."""
    base = Geometry(SIDE, SIDE, PIXEL_MM, PIXEL_MM)
    return views.covering(np.asarray(volume.hu), own_grid(volume), base, step=STEP)


def to_grid(volume: Volume, grid: Geometry) -> np.ndarray:
    """int16 [D, h, w]: a scan's HU on a grid, padded with air as `Head.hu` is."""
    return pad_depth(resampled_hu(np.asarray(volume.hu), own_grid(volume), grid), AIR_HU)


def slice_mm_of(volume: Volume) -> np.float32:
    """The spacing of slices as the programs take it."""
    return np.float32(volume.spacing_mm[0])


def head_of(volume: Volume, grid: Geometry) -> tuple[Head, jax.Array]:
    """(the head of a scan on its working grid, bool [], whether a closed skull was found)."""
    hu = to_grid(volume, grid)
    slice_mm = slice_mm_of(volume)
    inside, found = segment_inside(hu, slice_mm)
    return _head(hu, inside, np.int32(len(volume.hu)), slice_mm), found


@jax.jit  # one program for all methods: it takes longer to compile than most of them
def segment_inside(hu: jax.Array, slice_mm: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(bool [D, h, w], the inside of the skull, or all tissue where none is closed; bool [], whether one was found)."""
    spacing_mm = jnp.stack([jnp.float32(slice_mm), jnp.float32(PIXEL_MM), jnp.float32(PIXEL_MM)])
    inside, found = skull.inside_skull(hu, spacing_mm)
    return inside & (found | (hu > LEAST_HU)), found


def _head(hu: ArrayLike, inside: ArrayLike, depth: ArrayLike, slice_mm: ArrayLike) -> Head:
    hu = jnp.asarray(hu).astype(jnp.float32)
    real = jnp.arange(len(hu)) < depth
    return Head(hu, jnp.asarray(inside) & real[:, None, None], jnp.asarray(depth), jnp.asarray(slice_mm))


def _cached_inside(scan: CachedScan, hu: np.ndarray) -> np.ndarray:
    """`segment_inside` of a training scan, computed once: the cross-validation of each method needs it again."""
    recipe = json.dumps([HEADS_FORMAT, scan.digest, *grid_of(scan.volume)])
    folder = cache_folder() / "heads" / hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()

    def write(folder: pathlib.Path) -> None:
        np.save(folder / INSIDE_FILE, np.asarray(segment_inside(hu, slice_mm_of(scan.volume))[0]))

    def read(folder: pathlib.Path) -> np.ndarray:
        inside = np.load(folder / INSIDE_FILE, mmap_mode="r")
        if inside.shape != hu.shape:
            raise ValueError(f"inside {inside.shape}, scan {hu.shape}")
        return inside

    return scan_cache.open_or_store(folder, read, lambda: write)
