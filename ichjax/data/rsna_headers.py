"""Read the headers of many single-slice DICOM files in several processes, part by part, so that a kill loses little."""

import concurrent.futures
import hashlib
import multiprocessing
import os
import pathlib
import secrets
import zipfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ichjax.dicom.patients import normalize
from ichjax.dicom.slice_file import SliceHeader, hash_study, read_slice_header
from ichjax.errors import InputError
from ichjax.files import atomic, write_text

PART_FILES = 1000  # files of a part
MIN_PARTS_FOR_WORKERS = 3  # fewer are read before a worker has started
PART_KEY_FILE = ".part_key"
SLICE_TYPE = np.dtype(
    [
        ("scan", np.int32),
        ("known", bool),  # whether the slice has labels
        ("labels", bool, 6),  # columns as `DETECTION_LABELS`
        ("position_mm", np.float64, 3),
        ("axes", np.float64, 6),
        ("pixel_mm", np.float64, 2),
        ("thickness_mm", np.float64),
        ("rows", np.int32),
        ("columns", np.int32),
        ("bits_stored", np.uint8),
        ("signed", bool),
        ("slope", np.float64),
        ("intercept", np.float64),
        ("offset", np.int64),
        ("file_bytes", np.int64),
    ]
)
PART_TYPE = np.dtype([("study", "S32"), ("series", "S32"), ("patient", "S32"), ("slice", SLICE_TYPE)])


class Headers(NamedTuple):
    """The headers of a list of files.

    Attributes:
      names: bytes [N], of the files that can be used, in the given order.
      rows: `PART_TYPE` [N], hashes of the study, the series and the patient, and the slice without scan and labels.
      skipped: {name of a file: why it is not used}.
    """

    names: np.ndarray
    rows: np.ndarray
    skipped: dict[str, str]


def read_headers(parts: pathlib.Path, images: pathlib.Path, names: Sequence[str], *, workers: int = 0) -> Headers:
    """Reads all headers, except those of parts that an earlier, killed call has read.

    Args:
      parts: a folder for the parts, the same for the same files only; the caller holds and removes it. It has the key
        of the patients' hashes.
      images: the folder of the files.
      names: of the files, always in the same order.
      workers: processes, 0 for one per core; does not affect the result.
    """
    key = _read_key(parts / PART_KEY_FILE)
    batches = {
        parts / f"part_{start // PART_FILES:06d}.npz": list(names[start : start + PART_FILES])
        for start in range(0, len(names), PART_FILES)
    }
    missing = {path: batch for path, batch in batches.items() if not _is_readable(path)}
    arguments = [(path, images, batch, key) for path, batch in missing.items()]
    done = len(names) - sum(map(len, missing.values()))
    with tqdm(total=len(names), initial=done, desc="headers", unit="file", leave=False, disable=None) as bar:
        for count in _run(arguments, workers or len(os.sched_getaffinity(0))):
            bar.update(count)
    loaded = [_load(path) for path in batches]
    skipped = {name: reason for headers in loaded for name, reason in headers.skipped.items()}
    return Headers(
        np.concatenate([headers.names for headers in loaded]),
        np.concatenate([headers.rows for headers in loaded]),
        skipped,
    )


def _run(arguments: list[tuple[pathlib.Path, pathlib.Path, list[str], bytes]], workers: int) -> Iterator[int]:
    """Reads parts, and yields the number of files of each as it is written."""
    if workers == 1 or len(arguments) < MIN_PARTS_FOR_WORKERS:
        yield from (_read_part(*each) for each in arguments)
        return
    # Spawned, not forked: the caller may have threads.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(min(workers, len(arguments)), mp_context=context)
    try:
        for future in concurrent.futures.as_completed([pool.submit(_read_part, *each) for each in arguments]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_part(path: pathlib.Path, images: pathlib.Path, names: list[str], key: bytes) -> int:
    """Reads the headers of some files, writes them as one part, and returns the number of files."""
    rows, kept, skipped = [], [], []
    for name in names:
        try:
            rows.append(_row(read_slice_header(images / name), key))
            kept.append(os.fsencode(name))
        except InputError as error:
            skipped.append((name, str(error).removeprefix(f"{name}: ")))
    with atomic(path) as aside, aside.open("wb") as file:
        np.savez(
            file,
            names=np.array(kept, dtype="S"),
            rows=np.array(rows, dtype=PART_TYPE),
            skipped=np.array(skipped, dtype="U").reshape(-1, 2),
        )
    return len(names)


def _row(header: SliceHeader, key: bytes) -> tuple:
    """A header as a row of `PART_TYPE`."""
    study, encoding = hash_study(header.study_uid), header.encoding
    patient = normalize("PatientID", header.patient_id) or study  # without an ID, each study is a subject of its own
    hashed = [_keyed(text, key) for text in (header.series_uid, patient)]
    place = (header.position_mm, header.axes, header.pixel_mm, header.thickness_mm)
    stored = (encoding.rows, encoding.columns, encoding.bits_stored, encoding.signed)
    scale = (encoding.slope, encoding.intercept, encoding.offset, encoding.file_bytes)
    return (study, *hashed, (0, False, (False,) * 6, *place, *stored, *scale))


def _keyed(text: str, key: bytes) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), key=key, digest_size=16).hexdigest()


def _read_key(path: pathlib.Path) -> bytes:
    """The random key of the hashes in these parts, made with the first one."""
    if not path.exists():
        write_text(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text(encoding="ascii"))


def _is_readable(path: pathlib.Path) -> bool:
    try:
        _load(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False
    return True


def _load(path: pathlib.Path) -> Headers:
    with path.open("rb") as file, np.load(file) as part:
        return Headers(part["names"], part["rows"], dict(part["skipped"].tolist()))
