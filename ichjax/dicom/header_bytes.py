"""Read the raw bytes of a few header tags, and where the pixels lie, about ten times as fast as pydicom reads them.

Plain headers, as in large public sets, are walked here; pydicom reads all others, and gives the same bytes.
"""

import pathlib
import struct
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ichjax.dicom.frame import PIXEL_DATA, quiet

PLAIN_BYTES = 8192  # in which a plain header must end
META_START = 132  # after the preamble and 'DICM'
META_GROUP, TRANSFER_SYNTAX = 0x0002, 0x00020010
LONG_LENGTH = frozenset(b"OB OW OF OD OL OV SQ SV UC UN UR UT UV".split())  # value representations with 4-byte lengths
UNDEFINED_LENGTH = 0xFFFFFFFF  # of sequences, and of encapsulated, that is compressed, pixels
NOT_PLAIN = (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
_TAG_AND_SHORT, _LONG = struct.Struct("<HH2sH"), struct.Struct("<I")


class HeaderBytes(NamedTuple):
    """Some values of a header.

    Attributes:
      values: {name: bytes of the value, little-endian}, of the tags that the file has.
      syntax: TransferSyntaxUID; '' if there is none.
      offset: of the pixels in the file, 0 if it has none.
      length: of the pixels as the header gives it.
      file_bytes: size of the file.
    """

    values: dict[str, bytes]
    syntax: str
    offset: int
    length: int
    file_bytes: int


def read_header_bytes(path: pathlib.Path, names: Mapping[int, str]) -> HeaderBytes:
    """Reads the values of some tags of the top level, up to the pixels.

    Args:
      path: a DICOM file with a preamble.
      names: {tag: name}.

    Raises:
      Exception: of many types, from pydicom, if the file is not DICOM or damaged; OSError if it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(PLAIN_BYTES)
        file_bytes = file.seek(0, 2)
        plain = walk(head, names) if head[128:META_START] == b"DICM" else None
        if plain is None:
            file.seek(0)
            with quiet():
                plain = by_pydicom(file, names)
    return HeaderBytes(*plain, file_bytes)


def walk(head: bytes, names: Mapping[int, str]) -> tuple[dict[str, bytes], str, int, int] | None:
    """The first four of `HeaderBytes` from the first bytes of a file; None for a header that is not plain."""
    values: dict[str, bytes] = {}
    syntax, explicit, at = "", True, META_START
    while at + 12 <= len(head):
        group, element, kind, short = _TAG_AND_SHORT.unpack_from(head, at)
        tag = group << 16 | element
        if group != META_GROUP and not syntax:
            return None
        if group != META_GROUP and syntax == ImplicitVRLittleEndian:
            explicit = False
        if not explicit:
            start, (length,) = at + 8, _LONG.unpack_from(head, at + 4)
        elif kind in LONG_LENGTH:
            start, (length,) = at + 12, _LONG.unpack_from(head, at + 8)
        elif kind.isalpha() and kind.isupper():
            start, length = at + 8, short
        else:
            return None
        if tag >= PIXEL_DATA:
            return values, syntax, start if tag == PIXEL_DATA else 0, length
        if length == UNDEFINED_LENGTH or start + length > len(head):
            return None
        if tag == TRANSFER_SYNTAX:
            syntax = _text(head[start : start + length])
            if syntax in NOT_PLAIN:
                return None
        elif tag in names:
            values[names[tag]] = head[start : start + length]
        at = start + length
    return None


def by_pydicom(file: BinaryIO, names: Mapping[int, str]) -> tuple[dict[str, bytes], str, int, int]:
    """The same from an open file, by pydicom."""
    reached: list[tuple[int, int]] = []  # offset and length of the pixels

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag >= PIXEL_DATA:
            reached.append((file.tell(), length) if tag == PIXEL_DATA else (0, 0))
        return bool(reached)

    header = read_partial(file, at_pixels, specific_tags=[Tag(tag) for tag in names])
    values = {}
    for tag, name in names.items():
        if (raw := header.get_item(tag)) is not None and isinstance(raw.value, bytes):
            swapped = not getattr(raw, "is_little_endian", True) and raw.VR in ("US", "SS", "UL", "SL")
            values[name] = raw.value[::-1] if swapped else raw.value
    syntax = header.file_meta.get("TransferSyntaxUID") or ""
    return values, str(syntax), *(reached[-1] if reached else (0, 0))


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip("\0 ")


def is_uncompressed(header: HeaderBytes) -> bool:
    """Whether the pixels lie in the file as they are, little-endian."""
    return header.syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) and header.length != UNDEFINED_LENGTH
