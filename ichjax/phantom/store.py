"""Which data set a run uses: the folder it names, or a synthetic one, made once and kept in the cache."""

import ast
import hashlib
import json
import pathlib
import shutil
import tempfile

import ichjax
from ichjax.data.label_tables import JPEG_SUBJECT_TABLE, NIFTI_SUBJECT_TABLE
from ichjax.files import cache_folder
from ichjax.phantom import dataset as phantoms
from ichjax.phantom import write_own

PACKAGE = pathlib.Path(ichjax.__file__).parent
SYNTHETIC = b"Synthetic data, no patients: ichjax phantoms"
SAYS_SO = (NIFTI_SUBJECT_TABLE, JPEG_SUBJECT_TABLE, write_own.README)


def dataset_root(root: str, *, preset: str, subjects: int, seed: int, layout: str = "nifti", say=print) -> pathlib.Path:
    """The data set's folder; without a root, that of a synthetic set, which is made if it is not there yet.

    The set's name in the cache holds a digest of what decides its bytes: preset, subjects, seed, layout and the
    source files (`source_digest`), so a newer version never serves scans that an older one made.

    Args:
      root: `config.data.root`, '' for none.
      preset, subjects, seed, layout: of the synthetic set, see `phantoms.write_dataset`.
      say: prints a line.
    """
    if root:
        return pathlib.Path(root).expanduser()
    recipe = json.dumps([preset, subjects, seed, layout, source_digest()])
    digest = hashlib.blake2b(recipe.encode(), digest_size=8).hexdigest()
    place = cache_folder() / "phantoms" / f"{preset}-{subjects}-{layout}-{digest}"
    if not place.is_dir():
        say(f"no config.data.root: making a synthetic set of {subjects} head CTs (preset '{preset}') once")
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = pathlib.Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
        try:
            phantoms.write_dataset(aside, subjects=subjects, seed=seed, preset=preset, layout=layout)
            aside.rename(place)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            if not place.is_dir():  # else another process was first
                raise
    return place


def is_synthetic(root: pathlib.Path) -> bool:
    """Whether a data set says of itself, in a footer of its subject table or beside it, that it is made of phantoms."""
    files = [pathlib.Path(root) / name for name in SAYS_SO]
    return any(path.is_file() and SYNTHETIC in path.read_bytes() for path in files)


def source_digest(package: pathlib.Path = PACKAGE) -> str:
    """A digest of every source file that decides a phantom's bytes.

    These are the module that writes the set, and whatever it imports from this package, directly or through other
    modules: found by reading the import statements, so the digest follows files that are moved, split or added.

    Args:
      package: folder of the ichjax package, or of a copy of it.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in source_files(package):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def source_files(package: pathlib.Path = PACKAGE) -> list[pathlib.Path]:
    """The files that `source_digest` reads, sorted."""
    found, pending = set(), {_file_of(phantoms.__name__, package)}
    while pending:
        path = pending.pop()
        found.add(path)
        names = _imported_names(path)
        pending |= {file for name in names if (file := _file_of(name, package)) is not None} - found
    return sorted(found)


def _imported_names(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it; `from a import b` gives both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return names


def _file_of(name: str, package: pathlib.Path) -> pathlib.Path | None:
    """The source file of a dotted name in this package; None for anything else."""
    first, *rest = name.split(".")
    if first != PACKAGE.name:
        return None
    place = package.joinpath(*rest)
    files = (place.with_suffix(".py"), place / "__init__.py") if rest else (package / "__init__.py",)
    return next((file for file in files if file.is_file()), None)
