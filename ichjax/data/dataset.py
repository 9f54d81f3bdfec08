"""Any data set, whatever its layout: recognised by what lies in its folder, never by its name."""

import pathlib

from ichjax.data import ct_ich_jpeg, ct_ich_nifti, generic
from ichjax.data.subject import Dataset, Scan, Subject, entries
from ichjax.errors import InputError

# In the order of preference: HU before grey images, where a folder holds both (release 1.3.0).
MARKS = {"nifti": ct_ich_nifti.NIFTI_SCANS, "jpeg": ct_ich_jpeg.JPEG_SCANS, "own": generic.OWN_IMAGES}
LAYOUTS = {"nifti": ct_ich_nifti.NIFTI_LAYOUT, "jpeg": ct_ich_jpeg.JPEG_LAYOUT, "own": generic.OWN_LAYOUT}
LAYOUT_TITLES = {"nifti": "the nifti release", "jpeg": "the jpeg release (1.0.0 to 1.2.0)", "own": "one's own scans"}


def read_dataset(root: pathlib.Path) -> Dataset:
    """Finds the subjects of a data set in any known layout: the nifti or jpeg release of ct-ich, or one's own.

    Raises:
      InputError: the folder is missing or empty, is in no known layout, or is not whole, as the layout's own
        `read_dataset` says.
    """
    root = pathlib.Path(root)
    found = [layout for layout in MARKS if (root / MARKS[layout]).is_dir()]
    if not found:
        raise InputError(_unknown(root))
    read = {"nifti": ct_ich_nifti.read_dataset, "jpeg": ct_ich_jpeg.read_dataset, "own": generic.read_dataset}
    dataset = read[found[0]](root)
    others = [f"{MARKS[layout]}/" for layout in found[1:]]
    note = f"the folder holds {MARKS[found[0]]}/ and {', '.join(others)}; {MARKS[found[0]]}/ is read"
    return Dataset(root, dataset.subjects, (*((note,) if others else ()), *dataset.notes))


def is_dataset(root: pathlib.Path) -> bool:
    """Whether a folder is a data set with masks, not just one with a subfolder of such a name."""
    if (root / MARKS["jpeg"]).is_dir():
        return True
    marks, masks = (MARKS["nifti"], MARKS["own"]), (ct_ich_nifti.NIFTI_MASKS, generic.OWN_MASKS)
    return any((root / mark).is_dir() and (root / mask).is_dir() for mark, mask in zip(marks, masks, strict=True))


def load_scan(subject: Subject) -> Scan:
    """Reads the voxels of a subject of `read_dataset`.

    Raises:
      InputError: as the layout's own `load_scan` says.
    """
    load = {"nifti": ct_ich_nifti.load_scan, "jpeg": ct_ich_jpeg.load_scan, "own": generic.load_scan}
    return load[subject.layout](subject)


def files(subject: Subject) -> tuple[pathlib.Path, ...]:
    """Every file that `load_scan` reads of a subject, in a fixed order; they may be missing.

    Raises:
      InputError: a folder holds two files of one slice.
    """
    if subject.layout == "jpeg":
        return ct_ich_jpeg.files(subject)
    return tuple(path for path in (subject.scan_path, subject.mask_path) if path is not None)


def _unknown(root: pathlib.Path) -> str:
    """What was found in a folder that is no data set, and what was looked for."""
    looked = "; ".join(f"{LAYOUT_TITLES[layout]}: {LAYOUTS[layout]}" for layout in MARKS)
    if not root.exists():
        return f"{root}: no such folder; expected a data set in one of these layouts. {looked}"
    if not root.is_dir():
        return f"{root}: is a file; expected the folder of a data set in one of these layouts. {looked}"
    shown = entries(root)
    if not shown:
        return f"{root}: is empty; expected a data set in one of these layouts. {looked}"
    inside = sorted(path.parent.name for mark in MARKS.values() for path in root.glob(f"[!.]*/{mark}/"))
    hint = f"; a data set seems to lie one folder down, in {inside[0]}/" if inside else ""
    marks = ", ".join(f"{mark}/" for mark in MARKS.values())
    return f"{root}: holds none of {marks}; found {shown}{hint}; looked for one of these layouts. {looked}"
