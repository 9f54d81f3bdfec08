"""Read the PhysioNet ct-ich data set in its 'jpeg' releases (1.0.0 to 1.2.0): gray images converted back to HU."""

import pathlib
import re

import numpy as np
from PIL import Image

from ichjax.data import ct_ich_nifti
from ichjax.data.label_tables import JPEG_SLICE_TABLE, JPEG_SUBJECT_TABLE, format_ranges
from ichjax.data.subject import Dataset, Scan, Subject, label_scan, missing_mask_note, name_in_messages
from ichjax.errors import InputError
from ichjax.scan import volume as volumes
from ichjax.scan.hu_check import check_hu
from ichjax.scan.volume import BONE_WINDOW_HU, BRAIN_WINDOW_HU, Volume

JPEG_SCANS, BRAIN_FOLDER, BONE_FOLDER = "Patients_CT", "brain", "bone"
JPEG_LAYOUT = (
    f"{JPEG_SCANS}/ with images such as 049/{BRAIN_FOLDER}/14.jpg, {JPEG_SLICE_TABLE} and {JPEG_SUBJECT_TABLE}"
)
IMAGE_NAME = re.compile(r"0*([1-9]\d{0,3})\.jpe?g", re.ASCII | re.IGNORECASE)
MASK_NAME = re.compile(r"0*([1-9]\d{0,3})_HGE_Seg\.jpe?g", re.ASCII | re.IGNORECASE)
IMAGE_SIDE, IMAGE_BORDER = 650, 5  # pixels along each side; empty pixels at each edge
SPACING_MM = (5.0, 0.33, 0.33)  # nominal, from the paper: the files hold no spacing
SATURATION_MARGIN = 4  # JPEG artifacts can shift a saturated pixel by this many levels
MASK_THRESHOLD = 128  # mask pixels are brighter; JPEG blurs the edges


def read_dataset(root: pathlib.Path) -> Dataset:
    """Finds the subjects of a folder in the layout of the 'jpeg' releases; reads tables and names, no pixels.

    Each folder Patients_CT/NNN is a subject. Mismatches are reported in the notes, as in `ct_ich_nifti.read_dataset`.

    Raises:
      InputError: there is no subject, no slice table, or a table cannot be read.
    """
    root = pathlib.Path(root)
    if not (root / JPEG_SCANS).is_dir():
        raise InputError(f"{root}: lacks {JPEG_SCANS}/; expected a data set: {JPEG_LAYOUT}")
    slice_table = ct_ich_nifti.find_table(root, ct_ich_nifti.SLICE_TABLES[::-1])  # the jpeg release's own name first
    if slice_table is None:
        raise InputError(f"{root}: lacks {JPEG_SLICE_TABLE}; expected a data set: {JPEG_LAYOUT}")
    folders, notes = _numbered_folders(root / JPEG_SCANS)
    if not folders:
        raise InputError(
            f"{root}: no subject in {JPEG_SCANS}/; expected folders such as 049/ with {BRAIN_FOLDER}/14.jpg"
        )
    masks = {number: folder / BRAIN_FOLDER for number, folder in folders.items() if _has_mask(folder / BRAIN_FOLDER)}
    subject_table = ct_ich_nifti.find_table(root, ct_ich_nifti.SUBJECT_TABLES[::-1])
    subjects, table_notes = ct_ich_nifti.make_subjects(folders, masks, slice_table, subject_table, layout="jpeg")
    return Dataset(root, subjects, (*notes, *table_notes))


def _numbered_folders(root: pathlib.Path) -> tuple[dict[int, pathlib.Path], list[str]]:
    """(folders by the number in their name, notes on other entries)."""
    folders: dict[int, pathlib.Path] = {}
    notes, others = [], 0
    for path in sorted(path for path in root.iterdir() if not path.name.startswith(".")):
        if not (path.is_dir() and re.fullmatch(r"\d{1,9}", path.name, re.ASCII)):
            others += 1
        elif (number := int(path.name)) in folders:
            notes.append(f"{root.name}/: subject {number} has 2 folders; {folders[number].name}/ is used")
        else:
            folders[number] = path
    return folders, notes + ([f"{root.name}/: entries skipped that are not folders NNN: {others}"] if others else [])


def _has_mask(brain: pathlib.Path) -> bool:
    return brain.is_dir() and any(MASK_NAME.fullmatch(path.name) for path in brain.iterdir())


def _numbered_files(folder: pathlib.Path, pattern: re.Pattern[str]) -> dict[int, pathlib.Path]:
    """The files of a folder whose name matches, by their number K in ascending order; none if there is no folder."""
    if not folder.is_dir():
        return {}
    numbered: dict[int, pathlib.Path] = {}
    for path in sorted(folder.iterdir()):
        if not (match := pattern.fullmatch(path.name)):
            continue
        number = int(match[1])
        if number in numbered:
            raise InputError(
                f"{folder.parent.name}/{folder.name}: slice {number} has two files, {numbered[number].name} and "
                f"{path.name}; expected one"
            )
        numbered[number] = path
    return dict(sorted(numbered.items()))


def files(subject: Subject) -> tuple[pathlib.Path, ...]:
    """All files of a subject that `load_scan` reads, in a fixed order.

    Raises:
      InputError: a slice has two files.
    """
    brain, bone = subject.scan_path / BRAIN_FOLDER, subject.scan_path / BONE_FOLDER
    kinds = ((brain, IMAGE_NAME), (brain, MASK_NAME), (bone, IMAGE_NAME))
    return tuple(path for folder, name in kinds for path in _numbered_files(folder, name).values())


def load_scan(subject: Subject) -> Scan:
    """Reads a subject's images as HU and its masks, and assigns its labels to the slices by their number K.

    Slices are stacked by K from feet to head, like SliceNumber in the nifti release; a missing number leaves a gap. HU
    lie in -20 to 100; if every slice has a bone image, black and white pixels are filled from it (accurate to about
    12 HU). A slice without a mask file has an empty mask.

    Raises:
      InputError: there is no image, an image or a mask is damaged or not 650 x 650, or there is no mask at all and the
        labels do not rule out a hemorrhage.
    """
    folder = subject.scan_path / BRAIN_FOLDER
    images, masks = _numbered_files(folder, IMAGE_NAME), _numbered_files(folder, MASK_NAME)
    if not images:
        raise InputError(f"{name_in_messages(folder, subject)}: holds no image; expected files such as 14.jpg")
    numbers = np.array(list(images))
    hu, hu_range, notes = _read_hu(subject, images)
    mask = np.zeros(hu.shape, np.uint8)
    if not masks:
        notes.append(missing_mask_note(subject, f"{BRAIN_FOLDER}/"))
    for number in sorted(set(masks) & set(images)):
        mask[np.searchsorted(numbers, number)] = _read_image(masks[number], subject) > MASK_THRESHOLD
    if lost := sorted(set(masks) - set(images)):
        notes.append(f"subject {subject.number}: masks without an image ignored: slices {format_ranges(lost)}")
    if gaps := sorted(set(range(numbers[0], numbers[-1] + 1)) - set(images)):
        notes.append(f"subject {subject.number}: no image of slices {format_ranges(gaps)}, which leaves a gap")
    volume = check_hu(_volume(hu, numbers, hu_range, name_in_messages(folder, subject)))
    return label_scan(subject, volume, mask, notes, numbers=numbers)


def _read_hu(subject: Subject, images: dict[int, pathlib.Path]) -> tuple[np.ndarray, tuple[int, int], list[str]]:
    """(int16 [D, 640, 640] HU of a subject's brain and bone images, their HU range, notes)."""
    bones = _numbered_files(subject.scan_path / BONE_FOLDER, IMAGE_NAME)
    notes = []
    if lost := sorted(set(bones) - set(images)):
        ignored = format_ranges(lost)
        notes.append(f"subject {subject.number}: bone images without a brain image ignored: slices {ignored}")
    without = sorted(set(images) - set(bones))
    if without:  # all slices of a scan have the same HU range, so none is filled
        which = "no slice" if len(without) == len(images) else f"not every slice (not {format_ranges(without)})"
        notes.append(f"subject {subject.number}: {which} has a bone image, so HU stay within -20 to 100")
    planes = []
    for number, path in images.items():
        bone = None if without else _read_image(bones[number], subject)
        planes.append(gray_to_hu(_read_image(path, subject), bone))
    return np.stack(planes), BRAIN_WINDOW_HU if without else BONE_WINDOW_HU, notes


def gray_to_hu(brain: np.ndarray, bone: np.ndarray | None = None) -> np.ndarray:
    """Converts gray levels to HU.

    Args:
      brain: uint8, any shape: brain window, level 40, width 120 HU.
      bone: uint8 of the same shape: bone window, level 700, width 3200 HU; or None.

    Returns:
      int16 of that shape. Pixels that are black or white in the brain window are -20 or 100, or, with a bone image, the
      HU of the bone window, at most -20 or at least 100.
    """
    levels = np.arange(256) / 255.0
    hu = np.rint(BRAIN_WINDOW_HU[0] + levels * (BRAIN_WINDOW_HU[1] - BRAIN_WINDOW_HU[0])).astype(np.int16)[brain]
    if bone is None:
        return hu
    wide = np.rint(BONE_WINDOW_HU[0] + levels * (BONE_WINDOW_HU[1] - BONE_WINDOW_HU[0])).astype(np.int16)[bone]
    hu = np.where(brain <= SATURATION_MARGIN, np.minimum(wide, BRAIN_WINDOW_HU[0]), hu)
    return np.where(brain >= 255 - SATURATION_MARGIN, np.maximum(wide, BRAIN_WINDOW_HU[1]), hu).astype(np.int16)


def _read_image(path: pathlib.Path, subject: Subject) -> np.ndarray:
    """uint8 [640, 640], gray levels of an image without its border."""
    name = f"{path.parent.parent.name}/{name_in_messages(path, subject)}"
    try:
        with Image.open(path) as image:
            size = image.size
            gray = np.asarray(image.convert("L")) if size == (IMAGE_SIDE, IMAGE_SIDE) else None
    except Exception as error:  # Pillow raises many types here; all mean the same to the user
        reason = str(error).replace(str(path), path.name).strip() or type(error).__name__
        raise InputError(f"{name}: not a readable image ({reason[:160]}); expected a JPEG") from error
    if gray is None:
        raise InputError(f"{name}: is {size[0]} x {size[1]} pixels; expected {IMAGE_SIDE} x {IMAGE_SIDE}")
    return gray[IMAGE_BORDER:-IMAGE_BORDER, IMAGE_BORDER:-IMAGE_BORDER]


def _volume(hu: np.ndarray, numbers: np.ndarray, hu_range: tuple[int, int], name: str) -> Volume:
    """The images as a volume of nominal spacing; its file grid is [columns, rows, slices] (left, back, head)."""
    slice_mm, row_mm, column_mm = SPACING_MM
    span = numbers[-1] - numbers[0]
    corner = np.array([(hu.shape[2] - 1) * column_mm / 2, (hu.shape[1] - 1) * row_mm / 2, 0.0])
    affine = np.diag([-column_mm, -row_mm, slice_mm * span / max(len(numbers) - 1, 1) or slice_mm, 1.0])
    affine[:3, 3] = corner
    origins = corner + (numbers - numbers[0])[:, None] * np.array([0.0, 0.0, slice_mm])
    return volumes.from_file_grid(
        hu.transpose(2, 1, 0),
        affine,
        name=name,
        hu_range=hu_range,
        slice_origins_mm=origins,
        nominal_spacing=True,
    )
