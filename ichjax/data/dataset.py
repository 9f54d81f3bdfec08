"""Read a data set in any supported layout, detected from the content of its folder, not from its name."""

import pathlib

from ichjax.data import ct_ich_jpeg, ct_ich_nifti, generic
from ichjax.data.subject import Dataset, Scan, Subject, list_entries
from ichjax.errors import InputError

# In order of preference: HU before gray images, if a folder holds both (release 1.3.0).
MARKS = {"nifti": ct_ich_nifti.NIFTI_SCANS, "jpeg": ct_ich_jpeg.JPEG_SCANS, "own": generic.OWN_IMAGES}
LAYOUTS = {"nifti": ct_ich_nifti.NIFTI_LAYOUT, "jpeg": ct_ich_jpeg.JPEG_LAYOUT, "own": generic.OWN_LAYOUT}
LAYOUT_TITLES = {"nifti": "the nifti release", "jpeg": "the jpeg release (1.0.0 to 1.2.0)", "own": "one's own scans"}


def read_dataset(root: pathlib.Path) -> Dataset:
    """Finds the subjects of a data set in any known layout: the nifti or jpeg release of ct-ich, or one's own.

    Raises:
      InputError: the folder is missing, empty or in no known layout, or incomplete (see the `read_dataset` of the
        layout).
    """
    root = pathlib.Path(root)
    layouts = [layout for layout in MARKS if (root / MARKS[layout]).is_dir()]
    if not layouts:
        raise InputError(_unknown_layout(root))
    read = {"nifti": ct_ich_nifti.read_dataset, "jpeg": ct_ich_jpeg.read_dataset, "own": generic.read_dataset}
    dataset = read[layouts[0]](root)
    first, *others = (f"{MARKS[layout]}/" for layout in layouts)
    notes = (f"the folder holds {first} and {', '.join(others)}; {first} is read",) if others else ()
    return Dataset(root, dataset.subjects, (*notes, *dataset.notes))


def is_dataset(root: pathlib.Path) -> bool:
    """Whether a folder is a data set with masks, not just a folder with a subfolder of one of these names."""
    if (root / MARKS["jpeg"]).is_dir():
        return True
    pairs = ((MARKS["nifti"], ct_ich_nifti.NIFTI_MASKS), (MARKS["own"], generic.OWN_MASKS))
    return any((root / scans).is_dir() and (root / masks).is_dir() for scans, masks in pairs)


def load_scan(subject: Subject) -> Scan:
    """Reads the voxels of a subject from `read_dataset`.

    Raises:
      InputError: see the `load_scan` of the layout.
    """
    load = {"nifti": ct_ich_nifti.load_scan, "jpeg": ct_ich_jpeg.load_scan, "own": generic.load_scan}
    return load[subject.layout](subject)


def files(subject: Subject) -> tuple[pathlib.Path, ...]:
    """All files of a subject that `load_scan` reads, in a fixed order; they may be missing.

    Raises:
      InputError: a folder holds two files of one slice.
    """
    if subject.layout == "jpeg":
        return ct_ich_jpeg.files(subject)
    return tuple(path for path in (subject.scan_path, subject.mask_path) if path is not None)


def _unknown_layout(root: pathlib.Path) -> str:
    """The error for a folder that is no data set: what it holds and which layouts are supported."""
    layouts = "; ".join(f"{LAYOUT_TITLES[layout]}: {LAYOUTS[layout]}" for layout in MARKS)
    if not root.exists():
        return f"{root}: no such folder; expected a data set in one of these layouts. {layouts}"
    if not root.is_dir():
        return f"{root}: is a file; expected the folder of a data set in one of these layouts. {layouts}"
    names = list_entries(root)
    if not names:
        return f"{root}: is empty; expected a data set in one of these layouts. {layouts}"
    inside = sorted(path.parent.name for mark in MARKS.values() for path in root.glob(f"[!.]*/{mark}/"))
    hint = f"; a data set seems to lie one folder down, in {inside[0]}/" if inside else ""
    marks = ", ".join(f"{mark}/" for mark in MARKS.values())
    return f"{root}: holds none of {marks}; found {names}{hint}; expected one of these layouts. {layouts}"
