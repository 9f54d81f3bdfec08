"""Files that a reader sees whole or not at all."""

import contextlib
import csv
import fcntl
import io
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from ichjax.errors import InputError

CLAIM = ".claim"  # a file in a folder that a process is at work in
# A run's:
CONFIG_FILE, SPLITS_FILE = "config.json", "splits.json"
RESULTS_FILE, NOTES_FILE = "results.json", "notes.txt"


@contextlib.contextmanager
def claim(folder: pathlib.Path):
    """Holds a folder for this process, so that no other writes into it at the same time.

    The claim ends with the process, however it ends; what is left of it is an empty file.

    Raises:
      InputError: another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); expected a folder for the output") from error
    with (folder / CLAIM).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder}: another process is working in it; expected it to have ended, or another folder"
            ) from error
        yield


@contextlib.contextmanager
def atomic(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a hidden path in the same folder to write to, and renames it to `path` when the block is left.

    If the block raises, what it wrote is removed and an older file at `path` stays as it was.
    """
    aside = path.with_name(f".{path.name}")
    try:
        yield aside
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def cache_folder() -> pathlib.Path:
    """Where synthetic sets, unpacked scans and compiled code are: `ICHJAX_CACHE`, else a folder of the user's cache."""
    named = os.environ.get("ICHJAX_CACHE")
    if named:
        return pathlib.Path(named).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base).expanduser().resolve() / "ichjax"


def write_json(path: pathlib.Path, value) -> None:
    """Writes JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8 text, atomically."""
    with atomic(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_csv(path: pathlib.Path, records: Sequence[Mapping]) -> pathlib.Path:
    """Writes records that all have the same keys, at least one, as CSV: a line each, None as an empty cell."""
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
