"""All files below a folder, through links to folders too."""

import os
import pathlib
from collections.abc import Iterator


def files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Files at any depth, in a fixed order, each folder once however many links lead to it; no hidden ones."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (pathlib.Path(place, name) for name in sorted(files) if not name.startswith("."))
