"""Writes small packages for tests of checks on source code."""

import pathlib
from collections.abc import Mapping


def write_sources(folder: pathlib.Path, sources: Mapping[str, str]) -> None:
    """Writes {relative path: text} into a folder."""
    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
