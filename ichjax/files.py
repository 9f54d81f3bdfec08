"""Files: atomic writing, JSON and CSV, locked folders, the cache folder."""

import contextlib
import csv
import fcntl
import io
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from ichjax.errors import InputError

CLAIM = ".claim"  # the lock file of a folder
# Files of a work directory:
CONFIG_FILE, SPLITS_FILE = "config.json", "splits.json"
RESULTS_FILE, NOTES_FILE = "results.json", "notes.txt"
SECONDS_FILE = "seconds.json"  # of a fold: how long training and each prediction took
# Files of a scan's prediction, which `evaluate` reads:
MASK, SUBTYPE_MASK = "mask.nii.gz", "subtypes.nii.gz"


@contextlib.contextmanager
def claim(folder: pathlib.Path) -> Iterator[None]:
    """Locks a folder, creating it if need be, so that no other process writes into it at the same time.

    The lock ends with the process, however it ends. Its empty file is removed at the end of the block; it remains only
    where the process was killed, and locks nothing then.

    Raises:
      InputError: another process holds the lock, or the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be created ({error.strerror}); expected a folder for the output") from error
    path = folder / CLAIM
    with _lock(path) as file:
        try:
            yield
        finally:  # while the lock is held, so that no other process can hold a lock on this file
            with contextlib.suppress(OSError):
                if _is_at(path, file):
                    path.unlink()


def _lock(path: pathlib.Path) -> IO[str]:
    """Opens and locks a file; InputError where another process holds the lock.

    Between opening and locking, the holder before may have removed the file, and a third process may have created and
    locked another one: a lock counts only if the path still leads to the locked file.
    """
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                return file
        except BlockingIOError as error:
            file.close()
            raise InputError(
                f"{path.parent}: another process is working in it; expected that process to end first, or another "
                "folder"
            ) from error
        file.close()


def _is_at(path: pathlib.Path, file: IO[str]) -> bool:
    """Whether a path leads to this open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def atomic(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the same folder, which is renamed to `path` when the block ends.

    If the block raises, the temporary file is removed and an older file at `path` stays as it was.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def cache_folder() -> pathlib.Path:
    """The folder for synthetic data sets, unpacked scans and compiled code: `ICHJAX_CACHE`, or a default one."""
    if chosen := os.environ.get("ICHJAX_CACHE"):
        return pathlib.Path(chosen).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base).expanduser().resolve() / "ichjax"


def check_new(folder: pathlib.Path, purpose: str) -> None:
    """Raises InputError for a folder that holds something, and for a file; `purpose` ends 'a new folder for ...'."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not empty; expected a new folder for {purpose}")


def write_json(path: pathlib.Path, value: object) -> None:
    """Writes JSON atomically; ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: pathlib.Path, records: Sequence[Mapping]) -> pathlib.Path:
    """Writes at least one record as CSV; all have the same keys, and None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, text.getvalue())
    return path


def read_json(path: pathlib.Path) -> dict:
    """Reads a JSON object; InputError where the file cannot be read or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__}; expected a JSON object")
    return value
