"""Check a NIfTI header before any voxel is read: it must describe a head CT that fits in the file.

A gzip file of a few MB can expand to many GB, and a header can claim any size: no memory is allocated for either.
"""

import io
import pathlib
import struct
import zlib

import nibabel as nib
import numpy as np

from ichjax.errors import InputError

MAX_SHAPE = (2048, 2048, 4096)  # in any order of the axes; no head CT is larger
MAX_FILE_VOXELS = 2**28  # 512 x 512 x 1024; 2 GB if the file's scaling makes them float64
MAX_VOXEL_OFFSET = 2**20  # bytes before the voxels: header and extensions
MAX_GZIP_RATIO = 1100  # no gzip file expands by a larger factor
HEADER_TYPES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # by header size in bytes


def check(path: pathlib.Path, name: str) -> tuple[str, ...]:
    """Checks the header of a .nii or .nii.gz file.

    Returns:
      Warnings about the header that are no reason to reject the file, one sentence each.

    Raises:
      InputError: the file is not a NIfTI, or its header does not describe one 3-D scan of numbers with voxel sizes in
        mm, or describes a scan that is too large or does not fit in the file.
    """
    start = _read_start(path, name)
    header = _parse_header(start, name)
    shape = _shape(header, name)
    dtype = _dtype(header, name)
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MAX_VOXEL_OFFSET:
        raise InputError(
            f"{name}: claims that its voxels begin at byte {offset:g}; expected at most {MAX_VOXEL_OFFSET}"
        )
    _check_extensions(start, int(header["sizeof_hdr"]), int(offset), header.endianness, name)
    claimed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size = path.stat().st_size
    available = size * MAX_GZIP_RATIO if _is_gzip(path) else size - int(offset)
    if claimed > available:
        raise InputError(
            f"{name}: is truncated or damaged: its header claims {shape} voxels, {claimed} bytes; the file has {size}"
        )
    spacing = np.asarray(header["pixdim"][1:4], float)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputError(f"{name}: the voxel sizes are {spacing.tolist()} mm; expected lengths above 0")
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        return ("the header gives no orientation (sform and qform codes are 0): left and right are a guess",)
    return ()


def _is_gzip(path: pathlib.Path) -> bool:
    return path.suffix.lower() == ".gz"


def _read_start(path: pathlib.Path, name: str) -> bytes:
    """The first bytes of the file, decompressed, including everything that may precede the voxels."""
    try:
        with path.open("rb") as file:
            start = file.read(MAX_VOXEL_OFFSET)
    except OSError as error:
        raise InputError(f"{name}: not a readable NIfTI ({error.strerror or error})") from error
    if not _is_gzip(path):
        return start
    try:  # a truncated stream still yields its beginning; the missing rest is reported when the voxels are read
        return zlib.decompressobj(wbits=31).decompress(start, MAX_VOXEL_OFFSET)
    except zlib.error as error:
        raise InputError(f"{name}: not a readable NIfTI ({str(error)[:160]})") from error


def _parse_header(start: bytes, name: str) -> nib.Nifti1Header:
    for order in "<>":
        size = struct.unpack(f"{order}i", start[:4])[0] if len(start) >= 4 else 0
        if size in HEADER_TYPES and len(start) >= size:
            header = HEADER_TYPES[size](start[:size], order, check=False)
            if bytes(header["magic"].tobytes())[:2] in (b"n+", b"ni"):
                return header
    raise InputError(f"{name}: not a readable NIfTI (its first bytes are not a NIfTI header)")


def _shape(header: nib.Nifti1Header, name: str) -> tuple[int, ...]:
    """The first three dimensions of the header; further ones must be 1."""
    count = int(header["dim"][0])
    lengths = [int(n) for n in header["dim"][1 : max(min(count, 7), 0) + 1]]
    shape = tuple(lengths[:3])
    if count < 3 or count > 7 or any(n != 1 for n in lengths[3:]):
        raise InputError(f"{name}: has {count} dimensions {tuple(lengths)}; expected one 3-D scan")
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
