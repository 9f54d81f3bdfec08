"""Read and write NIfTI files: scans and masks in any axis order, results on the grid of the source file."""

import dataclasses
import gzip
import pathlib
import re

import nibabel as nib
import numpy as np
from nibabel import orientations
from nibabel.arrayproxy import ArrayProxy

from ichjax.errors import InputError
from ichjax.files import atomic
from ichjax.scan import first_bytes, nifti_header
from ichjax.scan.hu_check import check_hu, read_padding_as_air
from ichjax.scan.nifti_geometry import without_shear
from ichjax.scan.volume import Volume, check_geometry, from_file_grid

NIFTI_EXTENSION = re.compile(r"\.nii(\.gz)?\Z", re.IGNORECASE)


def is_nifti_name(name: str) -> bool:
    """Whether a file name ends in .nii or .nii.gz, in upper or lower case."""
    return NIFTI_EXTENSION.search(name) is not None


def strip_extension(name: str) -> str:
    """The file name without .nii or .nii.gz; any other name is unchanged."""
    return NIFTI_EXTENSION.sub("", name)


def load_array(path: pathlib.Path, *, name: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Reads a 3-D NIfTI: (array with the file's scaling applied, affine [4, 4]).

    Args:
      path: a .nii or .nii.gz file; whether it is compressed is told by its content.
      name: the name used in error messages; None uses the path.

    Raises:
      InputError: the file is missing, damaged, truncated, not 3-D, or larger than a head CT can be.
    """
    array, header = _load(pathlib.Path(path), str(path) if name is None else name)
    return array, header.affine


def _load(path: pathlib.Path, name: str) -> tuple[np.ndarray, nifti_header.Header]:
    """(array with the file's scaling applied, header); see `load_array`."""
    if not path.is_file():
        raise InputError(f"{name}: no such file; expected a NIfTI (.nii or .nii.gz)")
    if not is_nifti_name(path.name):
        known = first_bytes.describe_file(path)
        raise InputError(f"{name}: {known or 'not a readable NIfTI'}; expected a file that ends in .nii or .nii.gz")
    header = nifti_header.read_header(path, name)
    stored = (header.shape, header.dtype, header.offset, header.slope, header.inter)
    try:
        with path.open("rb") as file:
            if header.is_gzip:
                unpacked = gzip.GzipFile(fileobj=file)
                array = np.asanyarray(ArrayProxy(unpacked, stored))
                first_bytes.check_end(unpacked)
            else:
                array = np.asanyarray(ArrayProxy(file, stored))
    except Exception as error:  # nibabel and zlib raise many types; all mean the same to the user
        raise InputError(f"{name}: the image data is damaged or truncated ({_reason(error, path)})") from error
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: holds {array.dtype} voxels; expected integers or floats")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{name}: holds voxels that are not finite; expected numbers")
    return array, header


def is_craniocaudal(path: pathlib.Path) -> bool:
    """Whether the slices of a NIfTI are stored from head to feet; False if the header cannot be read."""
    try:
        orientation = orientations.io_orientation(nifti_header.read_header(path, path.name).affine)
    except (InputError, OSError):  # reported when the voxels are read
        return False
    return bool((orientation[orientation[:, 0] == 2, 1] < 0).any())


def _reason(error: Exception, path: pathlib.Path) -> str:
    """The first line of a library's error message, without the folders of `path`."""
    text = str(error).replace(str(path), path.name).strip()
    return (text.splitlines() or [type(error).__name__])[0][:160]


def read_nifti(path: pathlib.Path, *, name: str | None = None) -> Volume:
    """Reads a scan in HU from a NIfTI file in any axis order.

    Args:
      path: a .nii or .nii.gz file.
      name: the name used in error messages; None uses the path.

    Returns:
      The scan; its `notes` tell where the header contradicts itself.

    Raises:
      InputError: see `load_array`, `check_affine`, `check_geometry` and `check_hu`.
    """
    name = str(path) if name is None else name
    array, header = _load(pathlib.Path(path), name)
    volume = from_file_grid(array, header.affine, name=name)
    del array  # up to hundreds of MB if the file's scaling makes it float64
    volume = check_geometry(dataclasses.replace(volume, notes=header.notes))
    return check_hu(read_padding_as_air(volume))


def write_nifti(path: str | pathlib.Path, array: np.ndarray, volume: Volume) -> None:
    """Writes an image, a mask or a probability map of a scan as NIfTI on the grid of the scan's file.

    The header holds only the geometry. The file is written atomically.

    Args:
      path: ends in .nii or .nii.gz.
      array: bool, uint8, int16 or floats [D, H, W] of the scan; bool is stored as uint8, floats as float32.
      volume: the scan.

    Raises:
      InputError: the array has another shape than the scan or an unsupported dtype, or the path another extension,
        or its folder does not exist.
    """
    path = pathlib.Path(path)
    array = np.asarray(array)
    if array.shape != volume.shape:
        raise InputError(f"the array has the shape {array.shape}; expected that of the scan, {volume.shape}")
    if not is_nifti_name(path.name):
        raise InputError(f"{path}: expected a name that ends in .nii or .nii.gz")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; expected an existing one")
    dtype = {"b": np.dtype(np.uint8), "f": np.dtype(np.float32)}.get(array.dtype.kind, array.dtype)
    if dtype not in (np.uint8, np.int16, np.float32):
        raise InputError(f"the array holds {array.dtype}; expected a mask (uint8) or a probability (float32)")
    write_grid(path, volume.to_file_grid(array.astype(dtype, copy=False)), volume.file_affine)


def write_grid(path: pathlib.Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Writes an array [I, J, K] on an arbitrary grid, atomically; the header holds only the geometry.

    Args:
      path: ends in .nii or .nii.gz.
      array: uint8, int16 or float32.
      affine: float [4, 4], maps (i, j, k, 1) to RAS+ mm.
    """
    image = nib.Nifti1Image(array, affine)
    image.set_qform(without_shear(affine), code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    with atomic(path) as temporary:
        image.to_file_map({"image": nib.FileHolder(filename=str(temporary))})  # nib.save would write x.nii for x.Nii
