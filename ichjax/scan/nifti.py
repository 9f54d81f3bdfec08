"""NIfTI files: a scan or a mask read in any axis order, and written on the grid it came from."""

import dataclasses
import pathlib
import re

import nibabel as nib
import numpy as np
from nibabel import orientations

from ichjax.errors import InputError
from ichjax.files import atomic
from ichjax.scan import nifti_header
from ichjax.scan.volume import Volume, check_hu, check_lengths, from_file_grid

NIFTI_ENDING = re.compile(r"\.nii(\.gz)?\Z", re.IGNORECASE)


def is_nifti_name(name: str) -> bool:
    """Whether a file's name ends in .nii or .nii.gz, in upper or lower case."""
    return NIFTI_ENDING.search(name) is not None


def without_ending(name: str) -> str:
    """A file's name without .nii or .nii.gz; any other name as it is."""
    return NIFTI_ENDING.sub("", name)


def load_array(path: pathlib.Path, *, name: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Reads a 3-D NIfTI: (array with the file's scaling applied, affine [4, 4]).

    Args:
      path: a .nii or .nii.gz file.
      name: what to call it in messages; None calls it by its path.

    Raises:
      InputError: the file is missing, damaged, truncated, not 3-D, or larger than a head CT can be.
    """
    path = pathlib.Path(path)
    name = str(path) if name is None else name
    if not path.is_file():
        raise InputError(f"{name}: no such file; expected a NIfTI (.nii or .nii.gz)")
    if not is_nifti_name(path.name):
        raise InputError(f"{name}: not a readable NIfTI; expected a file that ends in .nii or .nii.gz")
    nifti_header.check(path, name)
    try:
        image = _open(path)
    except Exception as error:  # nibabel and zlib raise many kinds here; all mean the same to a user
        raise InputError(f"{name}: not a readable NIfTI ({_reason(error, path)})") from error
    try:
        array = np.asanyarray(image.dataobj)
        array = array.reshape(array.shape[:3])  # further dimensions hold one scan
    except Exception as error:
        raise InputError(f"{name}: the image data is damaged or truncated ({_reason(error, path)})") from error
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: holds {array.dtype} voxels; expected integers or floats")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{name}: holds voxels that are not finite; expected numbers")
    return array, np.asarray(image.affine, dtype=np.float64)


def _open(path: pathlib.Path) -> nib.Nifti1Image:
    """As `nib.load`, which does not open x.Nii: it looks for x.nii."""
    if path.name[len(without_ending(path.name)) :][:4] in (".nii", ".NII"):
        return nib.load(path)
    kind = nib.Nifti2Image if nib.Nifti2Image.path_maybe_image(path)[0] else nib.Nifti1Image
    return kind.from_file_map({"image": nib.FileHolder(filename=str(path))})


def runs_to_feet(path: pathlib.Path) -> bool:
    """Whether the slices of a NIfTI are stored from the head down; False where its header cannot say so."""
    try:
        orientation = orientations.io_orientation(_open(path).affine)
    except Exception:  # whatever is wrong with the file is told when its voxels are read
        return False
    return bool((orientation[orientation[:, 0] == 2, 1] < 0).any())


def _reason(error: Exception, path: pathlib.Path) -> str:
    """The first line of a library's message, without the folders that it may quote."""
    text = str(error).replace(str(path), path.name).strip()
    return (text.splitlines() or [type(error).__name__])[0][:160]


def read_nifti(path: pathlib.Path, *, name: str | None = None) -> Volume:
    """Reads a scan in HU from a NIfTI file, whatever its axis order; checked by `check_hu` and
    `check_lengths`.

    Args:
      path: a .nii or .nii.gz file.
      name: what to call it in messages; None calls it by its path.

    Raises:
      InputError: as `load_array`, `check_affine` and `check_hu` say.
    """
    array, affine = load_array(path, name=name)
    volume = from_file_grid(array, affine, name=str(path) if name is None else name)
    del array  # up to hundreds of MB where the file's scaling makes it float64
    notes = nifti_header.check(pathlib.Path(path), volume.name)
    return check_hu(check_lengths(dataclasses.replace(volume, notes=notes)))


def write(path: str | pathlib.Path, array: np.ndarray, volume: Volume) -> None:
    """Writes a mask or a probability of a scan as NIfTI on the scan's own grid.

    Args:
      path: ends in .nii or .nii.gz.
      array: bool, uint8, int16 or floats [D, H, W] of the scan.
      volume: the scan.

    Raises:
      InputError: the array is not of the scan's shape or of another kind, or the path has another ending.
    """
    path = pathlib.Path(path)
    if np.shape(array) != volume.shape:
        raise InputError(f"the array has the shape {np.shape(array)}; expected that of the scan, {volume.shape}")
    if not is_nifti_name(path.name):
        raise InputError(f"{path}: expected a name that ends in .nii or .nii.gz")
    array = np.asarray(array)
    stored = {"b": np.uint8, "f": np.float32}.get(array.dtype.kind, array.dtype)
    if stored not in (np.uint8, np.int16, np.float32):
        raise InputError(f"the array holds {array.dtype}; expected a mask (uint8) or a probability (float32)")
    write_nifti(path, array.astype(stored), volume)


def write_nifti(path: pathlib.Path, array: np.ndarray, volume: Volume) -> None:
    """Writes an array [D, H, W] of `volume` on the file's own grid; the header holds nothing but the geometry.

    Args:
      path: ends in .nii or .nii.gz; written atomically.
      array: uint8, int16 or float32.
    """
    write_grid(path, volume.to_file_grid(array), volume.file_affine)


def write_grid(path: pathlib.Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Writes an array [I, J, K] of any grid, as `write_nifti` does.

    Args:
      affine: float [4, 4], maps (i, j, k, 1) to RAS+ mm.
    """
    path = pathlib.Path(path)
    image = nib.Nifti1Image(array, affine)
    image.set_qform(_rigid(affine), code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    with atomic(path) as aside:
        image.to_file_map({"image": nib.FileHolder(filename=str(aside))})  # nib.save would write x.nii for x.Nii


def _rigid(affine: np.ndarray) -> np.ndarray:
    """The nearest affine without shear, which is all a qform can hold."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(affine[:3, :3] / lengths)
    rigid = affine.copy()
    rigid[:3, :3] = (u @ vt) * lengths
    return rigid
