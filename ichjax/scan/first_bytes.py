"""The first bytes of a file, decompressed: which format they show, whatever the file is called."""

import gzip
import pathlib
import struct
import zlib
from typing import BinaryIO

from ichjax.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 2**16  # at a time, so that a decompression bomb takes no memory
MAX_REST_BYTES = 2**24  # that are decompressed after the voxels
HEADER_SIZES = (348, 540)  # NIfTI-1 and NIfTI-2, and Analyze; the first four bytes of the file
UNPACK = "unpack it"
CONVERT = "convert it to .nii.gz, for example with 3D Slicer or SimpleITK"
TWO_FILES = (
    "half of a NIfTI or Analyze image in two files, .hdr and .img",
    "convert the pair to one .nii, for example with nibabel or SimpleITK",
)
# First bytes of files that are given by mistake: what they are, and what to do.
FORMATS = {
    GZIP_MAGIC: ("a gzip file in a gzip file", UNPACK),
    b"PK\x03\x04": ("a zip file", UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z file", UNPACK),
    b"Rar!": ("a rar file", UNPACK),
    b"BZh": ("a bzip2 file", UNPACK),
    b"\xfd7zXZ\x00": ("an xz file", UNPACK),
    b"\x28\xb5\x2f\xfd": ("a Zstandard file", UNPACK),
    b"NRRD": ("an NRRD image", CONVERT),
    b"ObjectType = Image": ("a MetaImage", CONVERT),
    b"version https://git-lfs": ("a Git LFS pointer, not the file itself", "fetch the file with git lfs pull"),
}
# Extensions of text headers that may begin with anything.
EXTENSIONS = {
    ".mha": FORMATS[b"ObjectType = Image"],
    ".mhd": FORMATS[b"ObjectType = Image"],
    ".nrrd": FORMATS[b"NRRD"],
    ".nhdr": FORMATS[b"NRRD"],
}


def read_start(path: pathlib.Path, size: int, name: str) -> tuple[bytes, bool]:
    """(the first `size` bytes of a file, decompressed if it is a gzip file; whether it is one).

    Gzip files may have several members. A damaged one still yields its beginning.

    Raises:
      InputError: the file cannot be opened, or its very beginning is damaged.
    """
    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == GZIP_MAGIC
            file.seek(0)
            return (_decompress(file, size) if is_gzip else file.read(size)), is_gzip
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: not a readable NIfTI ({reason[:160]})") from error


def _decompress(file: BinaryIO, size: int) -> bytes:
    start = bytearray()
    with gzip.GzipFile(fileobj=file) as unpacked:
        try:
            while len(start) < size and (piece := unpacked.read1(min(READ_BYTES, size - len(start)))):
                start += piece
        except (OSError, EOFError, zlib.error):  # damaged: the missing rest is reported when the voxels are read
            if not start:
                raise
    return bytes(start)


def check_end(unpacked: gzip.GzipFile) -> None:
    """Compares the checksum at the end of a gzip file whose content was read; up to `MAX_REST_BYTES` may follow.

    Raises:
      gzip.BadGzipFile, EOFError, zlib.error: the file is damaged or truncated.
    """
    left = MAX_REST_BYTES
    try:
        while left > 0 and (piece := unpacked.read1(READ_BYTES)):
            left -= len(piece)
    except gzip.BadGzipFile as error:
        if not str(error).startswith("Not a gzipped file"):  # bytes after the last member are ignored
            raise


def what_it_is(start: bytes) -> str:
    """'is a zip file (unpack it)' from the first bytes, at least 512, of a file that is no NIfTI; '' if unknown."""
    for magic, kind in FORMATS.items():
        if start.startswith(magic):
            return sentence(kind)
    return sentence(("a tar file", UNPACK)) if start[257:262] == b"ustar" else ""


def sentence(kind: tuple[str, str]) -> str:
    """'is a zip file (unpack it)' from what a file is, and what to do."""
    return f"is {kind[0]} ({kind[1]})"


def describe_file(path: pathlib.Path) -> str:
    """Like `what_it_is`, of a file on disk, by its extension too; '' if it is unknown or cannot be read."""
    if not path.is_file():  # a pipe would block
        return ""
    try:
        if known := EXTENSIONS.get(path.suffix.lower()):
            return sentence(known)
        start, is_gzip = read_start(path, 1024, path.name)
        if _is_half_a_pair(path, start):
            return sentence(TWO_FILES)
    except (InputError, OSError):
        return ""
    return what_it_is(start) or (sentence(("a gzip file", UNPACK)) if is_gzip and not is_header(start) else "")


def is_header(start: bytes) -> bool:
    """Whether a file begins as a NIfTI or Analyze header does: with the size of the header."""
    return len(start) >= 4 and any(struct.unpack(f"{order}i", start[:4])[0] in HEADER_SIZES for order in "<>")


def _is_half_a_pair(path: pathlib.Path, start: bytes) -> bool:
    """Whether a file is a .hdr with a NIfTI or Analyze header, or an .img beside one; either may be gzipped."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".hdr"):
        return is_header(start)
    if not name.endswith(".img"):
        return False
    stem = path.name[: len(name) - len(".img")].lower()
    headers = [other for other in path.parent.iterdir() if other.name.lower() in (f"{stem}.hdr", f"{stem}.hdr.gz")]
    return any(other.is_file() and is_header(read_start(other, 4, other.name)[0]) for other in headers)
