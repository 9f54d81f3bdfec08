"""Check a NIfTI header before any voxel is read: it must describe a head CT that fits in the file.

A gzip file of a few MB can expand to many GB, and a header can claim any size: no memory is allocated for either.
"""

import dataclasses
import io
import pathlib
import struct

import nibabel as nib
import numpy as np

from ichjax.errors import InputError
from ichjax.scan import first_bytes, nifti_geometry

MAX_SHAPE = (2048, 2048, 4096)  # in any order of the axes; no head CT is larger
MAX_FILE_VOXELS = 2**28  # 512 x 512 x 1024; 2 GB if the file's scaling makes them float64
MAX_VOXEL_OFFSET = 2**20  # bytes before the voxels: header and extensions
MAX_GZIP_RATIO = 1100  # no gzip file expands by a larger factor
HEADER_TYPES = dict(zip(first_bytes.HEADER_SIZES, (nib.Nifti1Header, nib.Nifti2Header), strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class Header:
    """A header that was checked.

    Attributes:
      shape: (I, J, K).
      dtype: of the voxels as stored.
      offset: bytes before the voxels.
      slope, inter: the value of a voxel is slope * stored + inter.
      affine: float64 [4, 4], maps (i, j, k, 1) to RAS+ mm.
      is_gzip: whether the file is compressed, whatever its name.
      notes: warnings that are no reason to reject the file, one sentence each.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    affine: np.ndarray
    is_gzip: bool
    notes: tuple[str, ...]


def read_header(path: pathlib.Path, name: str) -> Header:
    """Reads and checks the header of a NIfTI, compressed or not.

    Raises:
      InputError: the file is not a NIfTI, or its header does not describe one 3-D scan of numbers with usable positions
        (`nifti_geometry.read_geometry`), or describes a scan that is too large or does not fit in the file.
    """
    start, is_gzip = first_bytes.read_start(path, MAX_VOXEL_OFFSET, name)
    header = _parse_header(start, name)
    shape = _shape(header, name)
    dtype = _dtype(header, name)
    offset = _offset(header, name)
    _check_extensions(start, int(header["sizeof_hdr"]), offset, header.endianness, name)
    claimed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size = path.stat().st_size
    available = size * MAX_GZIP_RATIO if is_gzip else size - offset
    if claimed > available:
        raise InputError(
            f"{name}: is truncated or damaged: its header claims {shape} voxels, {claimed} bytes; the file has {size}"
        )
    slope, inter = _scaling(header, name)
    affine, notes = nifti_geometry.read_geometry(header, shape, name)
    return Header(shape, dtype, offset, slope, inter, affine, is_gzip, notes)


def _parse_header(start: bytes, name: str) -> nib.Nifti1Header:
    for order in "<>":
        size = struct.unpack(f"{order}i", start[:4])[0] if len(start) >= 4 else 0
        if size in HEADER_TYPES and len(start) >= size:
            header = HEADER_TYPES[size](start[:size], order, check=False)
            if bytes(header["magic"].tobytes())[:2] in (b"n+", b"ni"):
                return header
    if start[128:132] == b"DICM":
        raise InputError(f"{name}: is a DICOM file; expected a NIfTI, or the folder that holds the DICOM series")
    if known := first_bytes.what_it_is(start):
        raise InputError(f"{name}: {known}; expected a NIfTI")
    raise InputError(f"{name}: not a readable NIfTI (its first bytes are not a NIfTI header)")


def _offset(header: nib.Nifti1Header, name: str) -> int:
    """Bytes before the voxels: at least the header and the four bytes after it."""
    offset, lowest = float(header["vox_offset"]), int(header["sizeof_hdr"]) + 4
    if bytes(header["magic"].tobytes())[:2] == b"ni" and 0 <= offset < lowest:
        raise InputError(f"{name}: {first_bytes.sentence(first_bytes.TWO_FILES)}; expected one file")
    if not lowest <= offset <= MAX_VOXEL_OFFSET:
        raise InputError(
            f"{name}: claims that its voxels begin at byte {offset:g}; expected {lowest} to {MAX_VOXEL_OFFSET}"
        )
    return int(offset)


def _scaling(header: nib.Nifti1Header, name: str) -> tuple[float, float]:
    """(slope, intercept); 1 and 0 if the slope is 0 or not finite, as the standard has it."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0
    if not np.isfinite(inter):
        raise InputError(f"{name}: the intercept of its scaling is {inter}; expected a number")
    return slope, inter


def _shape(header: nib.Nifti1Header, name: str) -> tuple[int, int, int]:
    """The first three dimensions of the header; further ones must be 1."""
    count = int(header["dim"][0])
    lengths = [int(n) for n in header["dim"][1 : max(min(count, 7), 0) + 1]]
    if count < 3 or count > 7 or any(n != 1 for n in lengths[3:]):
        raise InputError(f"{name}: has {count} dimensions {tuple(lengths)}; expected one 3-D scan")
    shape = (lengths[0], lengths[1], lengths[2])
    if min(shape) < 1 or any(a > b for a, b in zip(sorted(shape), sorted(MAX_SHAPE), strict=True)):
        raise InputError(f"{name}: claims the shape {shape}; expected at most {MAX_SHAPE}")
    if np.prod(shape, dtype=np.int64) > MAX_FILE_VOXELS:
        raise InputError(f"{name}: claims the shape {shape}; expected at most {MAX_FILE_VOXELS} voxels")
    return shape


def _dtype(header: nib.Nifti1Header, name: str) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except Exception as error:  # nibabel's own exception types
        raise InputError(f"{name}: holds voxels of the unknown type {int(header['datatype'])}") from error
    if dtype.kind not in "iuf":
        kind = "colors" if dtype.kind == "V" else f"{dtype} voxels"
        raise InputError(f"{name}: holds {kind}; expected integers or floats")
    return dtype


def _check_extensions(start: bytes, header_size: int, offset: int, endianness: str, name: str) -> None:
    """Raises InputError if a header extension claims a length beyond the voxels: nibabel would allocate it."""
    file = io.BytesIO(start[header_size:offset])
    if file.read(4)[:1] not in (b"\x00", b""):
        position = header_size + 4
        while position + 8 <= offset:
            size, _ = struct.unpack(f"{endianness}ii", (file.read(8) + bytes(8))[:8])
            if size < 16 or position + size > offset:
                raise InputError(
                    f"{name}: has a header extension of {size} bytes; expected one that ends before the voxels"
                )
            file.seek(size - 8, io.SEEK_CUR)
            position += size
