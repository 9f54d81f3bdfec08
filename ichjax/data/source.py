"""Which data set a run uses: the folder it names, or a synthetic one, made once and kept in the cache."""

import hashlib
import json
import pathlib
import shutil
import tempfile

from ichjax.data import phantom, phantom_write, phantom_write_jpeg, phantom_write_own
from ichjax.files import cache_folder

SYNTHETIC = b"Synthetic data, no patients: ichjax phantoms"
SAYS_SO = (phantom_write.SUBJECT_TABLE, phantom_write_jpeg.SUBJECT_TABLE, phantom_write_own.README)


def dataset_root(root: str, *, preset: str, subjects: int, seed: int, layout: str = "nifti", say=print) -> pathlib.Path:
    """The data set's folder; without a root, that of a synthetic set, which is made if it is not there yet.

    The set's name in the cache holds a digest of what decides its bytes: preset, subjects, seed, layout and the
    sources of the phantom; so a newer phantom never reads an older one's scans.

    Args:
      root: `config.data.root`, '' for none.
      preset, subjects, seed, layout: of the synthetic set, see `phantom.write_dataset`.
      say: prints a line.
    """
    if root:
        return pathlib.Path(root).expanduser()
    recipe = json.dumps([preset, subjects, seed, layout, _sources()])
    digest = hashlib.blake2b(recipe.encode(), digest_size=8).hexdigest()
    place = cache_folder() / "phantoms" / f"{preset}-{subjects}-{layout}-{digest}"
    if not place.is_dir():
        say(f"no config.data.root: making a synthetic set of {subjects} head CTs (preset '{preset}') once")
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = pathlib.Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
        try:
            phantom.write_dataset(aside, subjects=subjects, seed=seed, preset=preset, layout=layout)
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


def _sources() -> str:
    """A digest of the phantom's source files."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(pathlib.Path(phantom.__file__).parent.glob("phantom*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
