"""Randomly damaged NIfTI files, DICOM series and tables, like those of broken disks, bad exports and attacks.

A case is determined by its random generator, so it is the same in every run."""

import gzip
import json
import shutil
import struct

import numpy as np
import pydicom
from pydicom.tag import Tag

NUMBERS = (0, 1, -1, 2, 7, 127, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31))
REALS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"), 0.5)
WORDS = (
    *("", " ", "nan", "-1", "1e999", "\\", "..", "../../x", "=1+1", "<script>", "a\\b", "0\\0\\0"),
    *("1\\2\\3\\4\\5\\6\\7", "\0"),
)
SERIES = ("DOE neck", "CTA", "bone 1.0", "perfusion", "head", "MIP", "topogram", "")  # descriptions
KEYWORDS = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope", "Rows"),
    *("RescaleIntercept", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SOPClassUID"),
    *("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "NumberOfFrames", "ImageType"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PixelPaddingValue", "WindowWidth", "ConvolutionKernel"),
    *(
        "ContrastBolusAgent",
        "PatientName",
        "PixelData",
        "Modality",
        "SeriesDescription",
        "BodyPartExamined",
        "PatientID",
    ),
    *("PatientBirthDate", "SeriesNumber", "InstanceNumber", "AcquisitionNumber", "ContrastBolusAgentSequence"),
    *("SpecificCharacterSet", "PatientSex", "PatientPosition", "StudyDate", "AcquisitionTime", "RescaleType"),
)
LONG_LENGTHS = ("OB", "SQ")  # value representations whose length has four bytes
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
    "xyzt_units": (123, "b"),
}


def choose(rng, options):
    return options[rng.integers(len(options))]


def damage(rng, data, *, within=None):
    """Damages one to three positions of the first `within` bytes: overwrites, deletes, repeats or truncates there."""
    data, end = bytearray(data), within or len(data)
    for _ in range(rng.integers(1, 4)):
        start, length = int(rng.integers(0, max(min(end, len(data)), 1))), int(rng.integers(1, 9))
        kind = rng.integers(5)
        if kind <= 1:
            data[start : start + length] = rng.bytes(length)
        elif kind == 2:
            del data[start : start + length]
        elif kind == 3:
            data[start:start] = data[start : start + length]
        else:
            del data[start:]
    return bytes(data)


def damage_nifti(rng, folder, name, scans):
    """Writes a damaged copy of one of `scans`, the contents of NIfTI files; returns its path."""
    data = bytearray(choose(rng, scans))
    for _ in range(rng.integers(1, 3)):
        offset, code = choose(rng, list(NIFTI_FIELDS.values()))
        value = choose(rng, REALS) if code == "f" else choose(rng, NUMBERS)
        packed = np.array(value).astype(f"<{code}")  # large numbers wrap around
        data[offset : offset + packed.nbytes] = packed.tobytes()
    kind = rng.integers(5)
    if kind == 0:
        data = bytearray(damage(rng, choose(rng, scans), within=400))
    elif kind == 1:
        data = bytearray(damage(rng, choose(rng, scans)))
    compress = rng.integers(2)
    content = gzip.compress(bytes(data), 1) if compress else bytes(data)
    if compress and rng.integers(3) == 0:
        content = damage(rng, content)
    path = folder / f"{name}.nii{'.gz' if compress else ''}"
    path.write_bytes(content)
    return path


def damage_dicom(rng, folder, name, series):
    """Copies a DICOM series and damages one or all of its files; returns the new folder."""
    copy = folder / name
    shutil.copytree(series, copy)
    files = sorted(copy.iterdir())
    chosen = files if rng.integers(3) == 0 else [choose(rng, files)]
    seed = int(rng.integers(2**31))
    for path in chosen:
        same = np.random.default_rng(seed)  # damages every file in the same way
        kind = same.integers(5)
        if kind == 0:
            path.write_bytes(damage(same, path.read_bytes()))
        elif kind == 1:
            path.write_bytes(damage(same, path.read_bytes(), within=900))
        else:
            _change_tags(same, path)
    if rng.integers(8) == 0:
        shutil.copy(files[0], copy / "copy.dcm")
    return copy


def damage_second_series(rng, folder, name, series):
    """Copies a DICOM series, and beside it, in the same study, a damaged one; returns the folder of both."""
    study = folder / name
    whole = folder / f".{name}"
    shutil.copytree(series, study / "good")
    for path in (study / "good").iterdir():  # two pixels of its own, or it would be a copy of another case's
        ds = pydicom.dcmread(path)
        number = int("".join(filter(str.isdigit, name)))
        ds.PixelData = struct.pack("<2h", number % 50 - 1000, number // 50 - 1000) + ds.PixelData[4:]
        ds.save_as(path)
    shutil.copytree(study / "good", whole)
    said = choose(rng, SERIES)
    for k, path in enumerate(sorted(whole.iterdir())):
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID, ds.SeriesNumber, ds.SeriesDescription = f"{ds.SeriesInstanceUID}.1", 3, said
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SeriesInstanceUID}.{k}"
        ds.save_as(path)
    damage_dicom(rng, study, "second", whole)
    shutil.rmtree(whole)
    return study


def _change_tags(rng, path):
    ds = pydicom.dcmread(path)
    for _ in range(rng.integers(1, 3)):
        keyword = choose(rng, KEYWORDS)
        if keyword in ds and rng.integers(3) == 0:
            del ds[keyword]
            continue
        tag, kind = Tag(keyword), choose(rng, ("DS", "IS", "US", "UI", "LO", "PN", *LONG_LENGTHS))
        words = choose(rng, WORDS).encode()
        value = struct.pack("<H", int(rng.integers(65536))) if kind == "US" else words + b" " * (len(words) % 2)
        raw = struct.pack("<HH2s", tag.group, tag.element, kind.encode())
        is_long = kind in LONG_LENGTHS
        raw += (bytes(2) + struct.pack("<I", len(value)) if is_long else struct.pack("<H", len(value))) + value
        ds[keyword] = pydicom.dataelem.RawDataElement(tag, kind, len(value), value, len(raw), False, True)
    try:
        ds.save_as(path)
    except Exception:  # pydicom rejects some values on writing; then the file is truncated instead
        path.write_bytes(path.read_bytes()[: int(rng.integers(1, path.stat().st_size))])


def damage_table(rng, root, name):
    """Damages one of a data set's tables: bytes, cells or lines; of a JSON file keys and values."""
    path = root / name
    if rng.integers(2):
        path.write_bytes(damage(rng, path.read_bytes()))
        return
    if path.suffix == ".json":
        path.write_text(json.dumps(_damage_json(rng, json.loads(path.read_text()))))
        return
    separator = "\t" if path.suffix == ".tsv" else ","
    lines = path.read_text().splitlines()
    for _ in range(rng.integers(1, 4)):
        index = int(rng.integers(len(lines)))
        cells = lines[index].split(separator)
        kind = rng.integers(5)
        if kind <= 1:
            words = (*WORDS, "9" * 400, '"', "1.5", "Infinity", "x" * 200_000)
            cells[int(rng.integers(len(cells)))] = choose(rng, words)
        elif kind == 2:
            cells.pop(int(rng.integers(len(cells))))
        elif kind == 3:
            cells.append(choose(rng, WORDS))
        else:
            lines.insert(index, lines[index])
        lines[index] = separator.join(cells)
    path.write_text("\n".join(lines) + "\n")


def _damage_json(rng, value):
    """Replaces or removes a key or a value at a random depth."""
    if not isinstance(value, dict) or not value or rng.integers(4) == 0:
        return choose(rng, (None, True, [], {}, [None], {"": None}, 1e300, *NUMBERS, *WORDS))
    key = choose(rng, list(value))
    kind, inner = rng.integers(4), value.pop(key)
    if kind == 0:
        return value
    if kind == 1:
        return {**value, choose(rng, (*WORDS, "edema", "IVH", "1")): inner}
    return {**value, key: _damage_json(rng, inner)}
