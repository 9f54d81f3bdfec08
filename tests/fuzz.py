"""Valid NIfTI files, DICOM series and tables, damaged at random: what people's disks and exports do, and what malice
would. A case is named by its number, and is the same in every run."""

import gzip
import shutil
import struct

import numpy as np
import pydicom
from pydicom.tag import Tag

NUMBERS = (0, 1, -1, 2, 7, 127, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31))
REALS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"), 0.5)
WORDS = (
    "",
    " ",
    "nan",
    "-1",
    "1e999",
    "\\",
    "..",
    "../../x",
    "=1+1",
    "<script>",
    "a\\b",
    "0\\0\\0",
    "1\\2\\3\\4\\5\\6\\7",
    "\0",
)
KEYWORDS = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope", "Rows"),
    *("RescaleIntercept", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SOPClassUID"),
    *("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "NumberOfFrames", "ImageType"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PixelPaddingValue", "WindowWidth", "ConvolutionKernel"),
    *("ContrastBolusAgent", "PatientName", "PixelData", "Modality"),
)
NIFTI_FIELDS = {  # byte, struct code
    **{f"dim{i}": (40 + 2 * i, "h") for i in range(8)},
    **{f"pixdim{i}": (76 + 4 * i, "f") for i in range(8)},
    **{f"srow{i}": (280 + 4 * i, "f") for i in range(12)},
    **{f"quaternion{i}": (256 + 4 * i, "f") for i in range(6)},
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "sizeof_hdr": (0, "i"),
}


def one_of(rng, things):
    return things[rng.integers(len(things))]


def damage(rng, data, *, within=None):
    """Bytes with one to three places of the first `within` overwritten, cut out, doubled, or all behind one cut off."""
    data, end = bytearray(data), within or len(data)
    for _ in range(rng.integers(1, 4)):
        at, length = int(rng.integers(0, max(min(end, len(data)), 1))), int(rng.integers(1, 9))
        kind = rng.integers(5)
        if kind <= 1:
            data[at : at + length] = rng.bytes(length)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        else:
            del data[at:]
    return bytes(data)


def nifti(rng, folder, name, scans):
    """A damaged copy of one of some NIfTI files."""
    data = bytearray(one_of(rng, scans))
    for _ in range(rng.integers(1, 3)):
        at, code = one_of(rng, list(NIFTI_FIELDS.values()))
        value = one_of(rng, REALS) if code == "f" else one_of(rng, NUMBERS)
        packed = np.array(value).astype(f"<{code}")  # large numbers wrap around
        data[at : at + packed.nbytes] = packed.tobytes()
    kind = rng.integers(5)
    if kind == 0:
        data = bytearray(damage(rng, one_of(rng, scans), within=400))
    elif kind == 1:
        data = bytearray(damage(rng, one_of(rng, scans)))
    packed = rng.integers(2)
    content = gzip.compress(bytes(data), 1) if packed else bytes(data)
    if packed and rng.integers(3) == 0:
        content = damage(rng, content)
    path = folder / f"{name}.nii{'.gz' if packed else ''}"
    path.write_bytes(content)
    return path


def dicom(rng, folder, name, series):
    """A copy of a DICOM series with one or all of its files damaged."""
    place = folder / name
    shutil.copytree(series, place)
    files = sorted(place.iterdir())
    chosen = files if rng.integers(3) == 0 else [one_of(rng, files)]
    seed = int(rng.integers(2**31))
    for path in chosen:
        same = np.random.default_rng(seed)  # every file in the same way
        kind = same.integers(5)
        if kind == 0:
            path.write_bytes(damage(same, path.read_bytes()))
        elif kind == 1:
            path.write_bytes(damage(same, path.read_bytes(), within=900))
        else:
            _change_tags(same, path)
    if rng.integers(8) == 0:
        shutil.copy(files[0], place / "copy.dcm")
    return place


def _change_tags(rng, path):
    ds = pydicom.dcmread(path)
    for _ in range(rng.integers(1, 3)):
        keyword = one_of(rng, KEYWORDS)
        if keyword in ds and rng.integers(3) == 0:
            del ds[keyword]
            continue
        tag, kind = Tag(keyword), one_of(rng, ("DS", "IS", "US", "UI", "LO", "OB"))
        words = one_of(rng, WORDS).encode()
        value = struct.pack("<H", int(rng.integers(65536))) if kind == "US" else words + b" " * (len(words) % 2)
        raw = struct.pack("<HH2s", tag.group, tag.element, kind.encode())
        raw += (bytes(2) + struct.pack("<I", len(value)) if kind == "OB" else struct.pack("<H", len(value))) + value
        ds[keyword] = pydicom.dataelem.RawDataElement(tag, kind, len(value), value, len(raw), False, True)
    try:
        ds.save_as(path)
    except Exception:  # pydicom refuses to write some of it; then the file is cut
        path.write_bytes(path.read_bytes()[: int(rng.integers(1, path.stat().st_size))])


def table(rng, root, name):
    """Damages one of a data set's tables: bytes, cells, lines."""
    path = root / name
    if rng.integers(2):
        path.write_bytes(damage(rng, path.read_bytes()))
        return
    lines = path.read_text().splitlines()
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(lines)))
        cells = lines[at].split(",")
        kind = rng.integers(5)
        if kind <= 1:
            cells[int(rng.integers(len(cells)))] = one_of(
                rng, (*WORDS, "9" * 400, '"', "1.5", "Infinity", "x" * 200_000)
            )
        elif kind == 2:
            cells.pop(int(rng.integers(len(cells))))
        elif kind == 3:
            cells.append(one_of(rng, WORDS))
        else:
            lines.insert(at, lines[at])
        lines[at] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
