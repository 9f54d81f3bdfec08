"""Read a data set in any supported layout, detected from the content of its folder, not from its name."""

import pathlib
from collections.abc import Callable

from ichjax.data import bids, cq500_reads, ct_ich_jpeg, ct_ich_nifti, generic, paired_folders, rsna_labels
from ichjax.data.subject import Dataset, Scan, Subject, list_entries
from ichjax.errors import InputError


def _folder(name: str) -> Callable[[pathlib.Path], str]:
    return lambda root: f"{name}/" if (root / name).is_dir() else ""


# The entry of a folder that identifies a layout, or ''; in order of preference: HU before gray images, if a folder
# holds both (release 1.3.0).
MARKS = {
    "nifti": _folder(ct_ich_nifti.NIFTI_SCANS),
    "jpeg": _folder(ct_ich_jpeg.JPEG_SCANS),
    "own": paired_folders.mark,
    "bids": bids.mark,
}
LAYOUTS = {
    "nifti": ct_ich_nifti.NIFTI_LAYOUT,
    "jpeg": ct_ich_jpeg.JPEG_LAYOUT,
    "own": paired_folders.OWN_LAYOUT,
    "bids": bids.BIDS_LAYOUT,
}
LAYOUT_TITLES = {
    "nifti": "the nifti release",
    "jpeg": "the jpeg release (1.0.0 to 1.2.0)",
    "own": "one's own scans",
    "bids": "BIDS",
}
# Layouts with labels of slices or scans and no masks: {layout: (title, what identifies it)}.
WITHOUT_MASKS = {"rsna": ("RSNA 2019", rsna_labels.mark), "cq500": ("CQ500", cq500_reads.mark)}


def read_dataset(root: pathlib.Path) -> Dataset:
    """Finds the subjects of a data set in any known layout: the nifti or jpeg release of ct-ich, or one's own.

    Raises:
      InputError: the folder is missing, empty or in no known layout, or incomplete (see the `read_dataset` of the
        layout).
    """
    root = pathlib.Path(root)
    marks = _marks(root)
    if not marks and (layout := layout_without_masks(root)):
        title, mark = WITHOUT_MASKS[layout]
        raise InputError(
            f"{root}: is a data set in the layout of {title} ({mark(root)}), which has labels and no masks; expected a "
            "data set with masks (the command stats takes this one)"
        )
    if not marks:
        raise InputError(_unknown_layout(root))
    read = {
        "nifti": ct_ich_nifti.read_dataset,
        "jpeg": ct_ich_jpeg.read_dataset,
        "own": paired_folders.read_dataset,
        "bids": bids.read_dataset,
    }
    dataset = read[next(iter(marks))](root)
    first, *others = marks.values()
    notes = (f"the folder holds {first} and {', '.join(others)}; {first} is read",) if others else ()
    return Dataset(root, dataset.subjects, (*notes, *dataset.notes))


def is_dataset(root: pathlib.Path) -> bool:
    """Whether a folder is a data set with masks, not just a folder with a subfolder of one of these names."""
    if MARKS["jpeg"](root) or (MARKS["nifti"](root) and (root / ct_ich_nifti.NIFTI_MASKS).is_dir()):
        return True
    return paired_folders.has_masks(root) or bids.has_masks(root)


def layout_without_masks(root: pathlib.Path) -> str:
    """'rsna' or 'cq500' for a folder in one of these layouts, and in none with masks; else ''."""
    if _marks(root):
        return ""
    return next((layout for layout, (_, mark) in WITHOUT_MASKS.items() if mark(root)), "")


def find_own_scans(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """{ID: scan} of a data set of one's own, without reading masks or labels; {} for the ct-ich releases.

    Raises:
      InputError: the file names do not identify the scans.
    """
    find = {"own": paired_folders.find_scans, "bids": bids.find_scans}
    layout = next(iter(_marks(root)), "")
    return find[layout](root) if layout in find else {}


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
    masks = () if subject.mask_path is None else (subject.mask_path,)
    return (subject.scan_path, *masks, *subject.rater_paths.values())


def _marks(root: pathlib.Path) -> dict[str, str]:
    """{layout: the entry that identifies it}, for each layout that the folder may have."""
    return {layout: found for layout, mark in MARKS.items() if (found := mark(root))}


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
    inside = sorted(path.name for path in root.glob("[!.]*/") if _marks(path))
    hint = f"; a data set seems to lie one folder down, in {inside[0]}/" if inside else ""
    known = f"{ct_ich_nifti.NIFTI_SCANS}/, {ct_ich_jpeg.JPEG_SCANS}/, {generic.OWN_IMAGES}/"
    return f"{root}: holds none of {known}; found {names}{hint}; expected one of these layouts. {layouts}"
