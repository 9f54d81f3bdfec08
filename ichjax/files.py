"""Files that a reader sees whole or not at all."""

import json
import pathlib

from ichjax.errors import InputError


def write_json(path: pathlib.Path, value) -> None:
    """Writes JSON aside and renames it; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8 text aside and renames it."""
    aside = path.with_name("." + path.name)
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def read_json(path: pathlib.Path) -> dict:
    """Reads a JSON object; InputError where the file cannot be read or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__}; expected a JSON object")
    return value
