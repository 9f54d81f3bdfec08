"""Files that a reader sees whole or not at all."""

import json
import pathlib


def write_json(path: pathlib.Path, value) -> None:
    """Writes JSON aside and renames it; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8 text aside and renames it."""
    aside = path.with_name("." + path.name)
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
