"""Cache scans as memory-mapped arrays: any slice is read in microseconds, and every scan is decompressed once."""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from ichjax.data import dataset as datasets
from ichjax.data.classes import class_mask
from ichjax.data.label_tables import SUBTYPES
from ichjax.data.subject import Scan, Subject
from ichjax.errors import InputError
from ichjax.files import cache_folder
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume

HU_FILE, MASK_FILE, CLASSES_FILE, META_FILE = "hu.npy", "mask.npy", "classes.npy", "meta.json"  # of a scan
PRIOR_LEVELS = 250  # of a probability of 1, as stored; a network reads it as 1000
ATTEMPTS = 3  # to read a folder that other processes may replace
CACHE_FORMAT = 5  # part of every digest: increment it when the stored data, or how a scan is read, changes
Entry = TypeVar("Entry")


@dataclasses.dataclass(frozen=True, eq=False)
class CachedScan:
    """A subject's scan, memory-mapped from disk.

    Attributes:
      subject: the subject.
      volume: its `hu` is a read-only memory map, int16 [D, H, W].
      mask: read-only memory map, uint8 [D, H, W] of 0 and 1.
      classes: read-only memory map, uint8 [D, H, W], the sub-types of the mask (`classes.class_mask`).
      slice_labels: bool [D, 5].
      truth_px: int64 [D], mask pixels of each slice.
      notes: irregularities, one sentence each.
      digest: of the source files and labels.
      hu_digest: of its HU (`volume.hu_digest`).
      prior: uint8 [D, H, W], an earlier network's probability of hemorrhage in steps of 1 / `PRIOR_LEVELS`; or None.
    """

    subject: Subject
    volume: Volume
    mask: np.ndarray
    classes: np.ndarray
    slice_labels: np.ndarray
    truth_px: np.ndarray
    notes: tuple[str, ...]
    digest: str
    hu_digest: str
    prior: np.ndarray | None = None

    @property
    def number(self) -> int:
        """The subject's number."""
        return self.subject.number


def open_scans(subjects: Sequence[Subject]) -> tuple[list[CachedScan], dict[int, str]]:
    """Opens every subject's scan, and caches those that are not cached yet.

    Args:
      subjects: from `datasets.read_dataset`.

    Returns:
      (the scans that can be read, in the given order; {subject number: error} for the others).
    """
    scans, problems = [], {}
    for subject in tqdm(subjects, "reading scans", unit="scan", leave=False, disable=None):
        try:
            scans.append(open_scan(subject))
        except InputError as error:
            problems[subject.number] = str(error)
    return scans, problems


def open_scan(subject: Subject) -> CachedScan:
    """Opens one subject's scan; see `open_scans`.

    Raises:
      InputError: see `datasets.load_scan`, or the cache folder cannot be written.
    """
    folder = cache_folder() / "scans" / _digest(subject)
    read = functools.partial(_open, subject)
    return open_or_store(folder, read, lambda: functools.partial(_write, datasets.load_scan(subject)))


def _digest(subject: Subject) -> str:
    """A digest of everything that determines a cached scan: its layout, its files with their names, its labels."""
    digest = hashlib.blake2b(f"{CACHE_FORMAT} {subject.layout} {subject.number}".encode(), digest_size=16)
    digest.update(np.packbits(subject.slice_labels).tobytes() + str(subject.slice_labels.shape).encode())
    digest.update(json.dumps(sorted(subject.label_classes.items())).encode())
    for path in datasets.files(subject):
        try:
            digest.update(f"|{path.parent.name}/{path.name} {path.stat().st_size}|".encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{path.name} (subject {subject.number}): cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def open_or_store(
    folder: pathlib.Path, read: Callable[[pathlib.Path], Entry], writer: Callable[[], Callable[[pathlib.Path], None]]
) -> Entry:
    """Reads a cache folder, after creating it if it is missing or damaged.

    Folders appear, and damaged ones disappear, as a whole, so any number of processes can do this at the same time.

    Args:
      folder: the folder; a damaged one is replaced, and arrays mapped from it stay readable.
      read: reads it; OSError, EOFError, ValueError or KeyError if it is missing or damaged.
      writer: prepares what is stored, and returns a function that writes the files into a given folder.

    Raises:
      InputError: the cache cannot be written.
    """
    for _ in range(ATTEMPTS):
        try:
            return read(folder)
        except (OSError, EOFError, ValueError, KeyError):
            damaged = folder.is_dir()
        _store(folder, writer(), replace=damaged)
    return read(folder)


def _store(folder: pathlib.Path, write: Callable[[pathlib.Path], None], *, replace: bool) -> None:
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        whole = temporary / "whole"
        whole.mkdir()
        write(whole)
        if replace:
            with contextlib.suppress(FileNotFoundError):  # another process has replaced it
                folder.rename(temporary / "damaged")
        whole.rename(folder)
    except OSError as error:
        first_was_another = error.errno in (errno.ENOTEMPTY, errno.EEXIST) or folder.is_dir()
        if not first_was_another:
            reason = error.strerror or str(error)
            raise InputError(f"{folder.parent}: the cache of scans cannot be written ({reason})") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _write(scan: Scan, folder: pathlib.Path) -> None:
    volume = scan.volume
    meta = {
        "affine": volume.affine.tolist(),
        "slice_origins_mm": volume.slice_origins_mm.tolist(),
        "file_shape": [int(n) for n in volume.file_shape],
        "file_affine": volume.file_affine.tolist(),
        "file_orientation": volume.file_orientation.tolist(),
        "name": volume.name,
        "hu_range": [int(n) for n in volume.hu_range],
        "nominal_spacing": volume.nominal_spacing,
        "slice_labels": scan.slice_labels.astype(int).tolist(),
        "truth_px": scan.mask.sum(axis=(1, 2), dtype=np.int64).tolist(),
        "notes": list(scan.notes),
        "hu_digest": volumes.hu_digest(volume),
    }
    np.save(folder / HU_FILE, np.ascontiguousarray(volume.hu))
    np.save(folder / MASK_FILE, np.ascontiguousarray(scan.mask))
    np.save(folder / CLASSES_FILE, np.ascontiguousarray(class_mask(scan)))
    (folder / META_FILE).write_text(json.dumps(meta))


def _open(subject: Subject, folder: pathlib.Path) -> CachedScan:
    """Maps a cached scan; OSError, EOFError, ValueError or KeyError if it is missing or incomplete."""
    meta = json.loads((folder / META_FILE).read_text())
    volume = Volume(
        hu=np.load(folder / HU_FILE, mmap_mode="r"),
        affine=np.array(meta["affine"]),
        slice_origins_mm=np.array(meta["slice_origins_mm"]),
        file_shape=tuple(meta["file_shape"]),
        file_affine=np.array(meta["file_affine"]),
        file_orientation=np.array(meta["file_orientation"]),
        name=meta["name"],
        hu_range=tuple(meta["hu_range"]),
        nominal_spacing=meta["nominal_spacing"],
    )
    mask = np.load(folder / MASK_FILE, mmap_mode="r")
    classes = np.load(folder / CLASSES_FILE, mmap_mode="r")
    if mask.shape != volume.shape or classes.shape != volume.shape:
        raise ValueError(f"mask {mask.shape}, classes {classes.shape}, scan {volume.shape}")
    return CachedScan(
        subject=subject,
        volume=volume,
        mask=mask,
        classes=classes,
        slice_labels=np.array(meta["slice_labels"], bool).reshape(-1, len(SUBTYPES)),
        truth_px=np.array(meta["truth_px"], np.int64),
        notes=tuple(meta["notes"]),
        digest=folder.name,
        hu_digest=meta["hu_digest"],
    )
