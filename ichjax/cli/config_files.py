"""Configuration files by path or by name: those of configs/ are found from any folder, installed or not."""

import difflib
import pathlib

import ichjax
from ichjax.errors import InputError


def find_config(value: str) -> pathlib.Path:
    """Resolves the value of --config: a name in configs/ ('demo', 'literature/all'), a path, or 'configs/demo.py' from
    any folder.

    Raises:
      InputError: there is no such name and no such file.
    """
    path, shipped = pathlib.Path(value), shipped_configs()
    if value in shipped:
        return shipped[value]
    if path.is_file():
        return path
    if path.parts[:1] == ("configs",) and path.suffix == ".py":
        name = pathlib.Path(*path.parts[1:]).with_suffix("").as_posix()
        if name in shipped:
            return shipped[name]
    near = difflib.get_close_matches(path.stem, shipped, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    top, nested = ([name for name in shipped if ("/" in name) == inside] for inside in (False, True))
    more = f", or one of {len(nested)} in configs/literature, such as {nested[0]}" if nested else ""
    raise InputError(f"{value}: no such configuration; {guess}expected a file, or one of {', '.join(top)}{more}")


def shipped_configs() -> dict[str, pathlib.Path]:
    """{name: file} of configs/, by name."""
    package = pathlib.Path(ichjax.__file__).parent
    # A wheel has the folder inside the package; in the repository it lies next to the package.
    inside = package / "configs"
    folder = inside if inside.is_dir() else package.parent / "configs"
    files = [*sorted(folder.glob("[!_]*.py")), *sorted(folder.glob("*/[!_]*.py"))]
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
