"""A NIfTI's header looked at before anything is read by it: what it claims must be a head CT, and in the file.

A gzip file of a few MB may hold many GB, and a header may claim any size: memory is taken for neither.
"""

import io
import pathlib
import struct
import zlib

import nibabel as nib
import numpy as np

from ichjax.errors import InputError

LARGEST_SHAPE = (2048, 2048, 4096)  # in any order of the axes; more than this is no head CT
MAX_FILE_VOXELS = 2**28  # 512 x 512 x 1024; 2 GB where the file's scaling makes them float64
LARGEST_OFFSET = 2**20  # bytes before the voxels: header and extensions
DEFLATE_RATIO = 1100  # no gzip file unpacks to more than this many times its size
SIZES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}


def check(path: pathlib.Path, name: str) -> tuple[str, ...]:
    """Looks at a .nii or .nii.gz file.

    Returns:
      What is odd about the header and no reason to refuse the file, one sentence each.

    Raises:
      InputError: the file is no NIfTI, or what its header claims is not one 3-D scan of numbers, is too large, is not
        in the file, or has no size in mm.
    """
    start = _start(path, name)
    header = _header(start, name)
    shape = _shape(header, name)
    dtype = _dtype(header, name)
    offset = float(header["vox_offset"])
    if not 0 <= offset <= LARGEST_OFFSET:
        raise InputError(f"{name}: claims that its voxels begin at byte {offset:g}; expected at most {LARGEST_OFFSET}")
    _check_extensions(start, int(header["sizeof_hdr"]), int(offset), header.endianness, name)
    claimed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size = path.stat().st_size
    there = size * DEFLATE_RATIO if _is_gzip(path) else size - int(offset)
    if claimed > there:
        raise InputError(
            f"{name}: is truncated or damaged: its header claims {shape} voxels, {claimed} bytes; the file has {size}"
        )
    spacing = np.asarray(header["pixdim"][1:4], float)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputError(f"{name}: its voxels' sides are {spacing.tolist()} mm; expected lengths above 0")
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        return ("the header says no orientation (sform and qform codes are 0): left and right are a guess",)
    return ()


def _is_gzip(path: pathlib.Path) -> bool:
    return path.suffix.lower() == ".gz"


def _start(path: pathlib.Path, name: str) -> bytes:
    """The first bytes, unpacked, with all that may come before the voxels."""
    try:
        with path.open("rb") as file:
            start = file.read(LARGEST_OFFSET)
    except OSError as error:
        raise InputError(f"{name}: not a readable NIfTI ({error.strerror or error})") from error
    if not _is_gzip(path):
        return start
    try:  # of what is cut off the beginning is still there; that the rest is not is told when the voxels are read
        return zlib.decompressobj(wbits=31).decompress(start, LARGEST_OFFSET)
    except zlib.error as error:
        raise InputError(f"{name}: not a readable NIfTI ({str(error)[:160]})") from error


def _header(start: bytes, name: str) -> nib.Nifti1Header:
    for order in "<>":
        size = struct.unpack(f"{order}i", start[:4])[0] if len(start) >= 4 else 0
        if size in SIZES and len(start) >= size:
            kind = SIZES[size]
            header = kind(start[:size], order, check=False)
            if bytes(header["magic"].tobytes())[:2] in (b"n+", b"ni"):
                return header
    raise InputError(f"{name}: not a readable NIfTI (its first bytes are no NIfTI header)")


def _shape(header: nib.Nifti1Header, name: str) -> tuple[int, ...]:
    """The three lengths that the header claims; further ones must be 1."""
    count = int(header["dim"][0])
    lengths = [int(n) for n in header["dim"][1 : max(min(count, 7), 0) + 1]]
    inner = lengths[:3]
    if count < 3 or count > 7 or any(n != 1 for n in lengths[3:]):
        raise InputError(f"{name}: has {count} dimensions {tuple(lengths)}; expected one 3-D scan")
    if min(inner) < 1 or any(a > b for a, b in zip(sorted(inner), sorted(LARGEST_SHAPE), strict=True)):
        raise InputError(f"{name}: claims the shape {tuple(inner)}; expected at most {LARGEST_SHAPE}")
    if np.prod(inner, dtype=np.int64) > MAX_FILE_VOXELS:
        raise InputError(f"{name}: claims the shape {tuple(inner)}; expected at most {MAX_FILE_VOXELS} voxels")
    return tuple(inner)


def _dtype(header: nib.Nifti1Header, name: str) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except Exception as error:  # nibabel's own kinds
        raise InputError(f"{name}: holds voxels of the unknown type {int(header['datatype'])}") from error
    if dtype.kind not in "iuf":
        what = "colours" if dtype.kind == "V" else f"{dtype} voxels"
        raise InputError(f"{name}: holds {what}; expected integers or floats")
    return dtype


def _check_extensions(start: bytes, header_size: int, offset: int, endianness: str, name: str) -> None:
    """A header extension says its own length, which a reader takes at its word."""
    file = io.BytesIO(start[header_size:offset])
    if file.read(4)[:1] not in (b"\x00", b""):
        place = header_size + 4
        while place + 8 <= offset:
            size, _ = struct.unpack(f"{endianness}ii", (file.read(8) + bytes(8))[:8])
            if size < 16 or place + size > offset:
                raise InputError(
                    f"{name}: has a header extension of {size} bytes; expected one that ends before the voxels"
                )
            file.seek(size - 8, io.SEEK_CUR)
            place += size
