"""Walks a folder: all files at any depth, following links to folders."""

import os
import pathlib
from collections.abc import Iterator


def files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the files at any depth in a fixed order; hidden ones are skipped, and every folder is visited once."""
    visited = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (pathlib.Path(parent, name) for name in sorted(files) if not name.startswith("."))
