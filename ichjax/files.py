"""Files that a reader sees whole or not at all."""

import csv
import io
import json
import pathlib
from collections.abc import Mapping, Sequence

from ichjax.errors import InputError


def write_json(path: pathlib.Path, value) -> None:
    """Writes JSON aside and renames it; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8 text aside and renames it."""
    aside = path.with_name("." + path.name)
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


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
