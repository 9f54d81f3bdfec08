"""Resolves the data set of a run: the folder in the configuration, or a synthetic set that is made once and cached."""

import ast
import hashlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable

import ichjax
from ichjax.data.label_tables import JPEG_SUBJECT_TABLE, NIFTI_SUBJECT_TABLE
from ichjax.files import cache_folder
from ichjax.phantom import dataset as phantoms
from ichjax.phantom import write_own

PACKAGE = pathlib.Path(ichjax.__file__).parent
SYNTHETIC = b"Synthetic data, no patients: ichjax phantoms"
FOOTER_FILES = (NIFTI_SUBJECT_TABLE, JPEG_SUBJECT_TABLE, write_own.README)


def dataset_root(
    root: str, *, preset: str, subjects: int, seed: int, layout: str = "nifti", say: Callable[[str], object] = print
) -> pathlib.Path:
    """The data set's folder; without a root, that of a synthetic set in the cache, which is made if it is missing.

    The cached folder's name has a digest of everything that determines the set's bytes, including the source files
    (`source_digest`), so a newer version never uses scans made by an older one.

    Args:
      root: `config.data.root`, '' for none.
      preset, subjects, seed, layout: of the synthetic set, see `phantoms.write_dataset`.
      say: prints a line.
    """
    if root:
        return pathlib.Path(root).expanduser()
    recipe = json.dumps([preset, subjects, seed, layout, source_digest()])
    digest = hashlib.blake2b(recipe.encode(), digest_size=8).hexdigest()
    folder = cache_folder() / "phantoms" / f"{preset}-{subjects}-{layout}-{digest}"
    if not folder.is_dir():
        say(f"no config.data.root: making a synthetic set of {subjects} head CTs (preset '{preset}') once")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = pathlib.Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        try:
            phantoms.write_dataset(unfinished, subjects=subjects, seed=seed, preset=preset, layout=layout)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            if not folder.is_dir():  # else another process finished first
                raise
    return folder


def is_synthetic(root: pathlib.Path) -> bool:
    """Whether the footer of a data set's subject table, or its README.txt, marks it as phantoms."""
    files = [pathlib.Path(root) / name for name in FOOTER_FILES]
    return any(path.is_file() and SYNTHETIC in path.read_bytes() for path in files)


def source_digest(package: pathlib.Path = PACKAGE) -> str:
    """A digest of every file in `source_files`, of the ichjax package or a copy of it."""
    digest = hashlib.blake2b(digest_size=8)
    for path in source_files(package):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def source_files(package: pathlib.Path = PACKAGE) -> list[pathlib.Path]:
    """Source files that can affect a phantom's bytes: the module that writes a set, and all that it imports; sorted.

    Import statements are parsed, so the list stays right when files are moved, split or added.
    """
    files: set[pathlib.Path] = set()
    pending = _files_of({phantoms.__name__}, package)
    while pending:
        path = pending.pop()
        files.add(path)
        pending |= _files_of(_imported_names(path), package) - files
    return sorted(files)


def _imported_names(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports anywhere; `from a import b` gives both a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return names


def _files_of(names: set[str], package: pathlib.Path) -> set[pathlib.Path]:
    """The source files of those dotted names that are modules of this package."""
    stems = [package.joinpath(*rest) for top, *rest in (name.split(".") for name in names) if top == PACKAGE.name]
    candidates = {path for stem in stems for path in (stem.parent / f"{stem.name}.py", stem / "__init__.py")}
    return {path for path in candidates if path.is_file()}
