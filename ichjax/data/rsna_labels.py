"""Read the slice labels of the RSNA 2019 layout: stage_2_train.csv, six rows an image."""

import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.errors import InputError

RSNA_TABLE = "stage_2_train.csv"
RSNA_FOLDERS = ("stage_2_train", "stage_2_train_images", "train")  # of the images, beside the table
RSNA_LAYOUT = f"{RSNA_TABLE} and {RSNA_FOLDERS[0]}/ with files such as ID_000012eaf.dcm"
RSNA_HEADER = "ID,Label"
DETECTION_LABELS = (*SUBTYPES, "any")  # the order of columns in every [.., 6] label array
RSNA_TYPE = {  # by label: as in the table
    "IVH": "intraventricular",
    "IPH": "intraparenchymal",
    "SAH": "subarachnoid",
    "EDH": "epidural",
    "SDH": "subdural",
    "any": "any",
}
MAX_NAMED_SLICES = 5  # in a note
_ALL_BITS = (1 << len(DETECTION_LABELS)) - 1  # one bit per label
_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


@dataclasses.dataclass(frozen=True, eq=False)
class SliceTable:
    """The labels of images by their name, and what is irregular.

    Attributes:
      known: {image: bits of its labels, the lowest that of `DETECTION_LABELS[0]`}, of images with usable labels.
      unusable: {image: why its labels are not used}.
      notes: one sentence each.
    """

    known: dict[str, int]
    unusable: dict[str, str]
    notes: tuple[str, ...]

    def labels(self, images: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(labels, bool [N, 6], columns as `DETECTION_LABELS`, False if unknown; whether they are known, bool [N])."""
        bits = np.array([self.known.get(image, -1) for image in images], np.int64)
        known = bits >= 0
        columns = np.where(known, bits, 0)[:, None] >> np.arange(len(DETECTION_LABELS)) & 1
        return columns.astype(bool), known


def mark(root: pathlib.Path) -> str:
    """The file that shows this layout, or ''."""
    return RSNA_TABLE if (root / RSNA_TABLE).is_file() else ""


def read_slice_labels(path: pathlib.Path) -> SliceTable:
    """Reads the table of slice labels, 4.5 million rows in the real set.

    A repeated row counts once. The labels of an image are not used if two rows of one type contradict each other, if a
    type is missing, or if `any` contradicts the sub-types.

    Raises:
      InputError: the table cannot be read, or a row is malformed.
    """
    number = {name: k for k, name in enumerate(RSNA_TYPE[label] for label in DETECTION_LABELS)}
    seen: dict[str, int] = {}
    values: dict[str, int] = {}
    contradicted: set[str] = set()
    repeated = 0
    for line, text in enumerate(_lines(path), start=2):
        if not text:
            continue
        key, _, cell = text.rpartition(",")
        image, _, kind = key.rpartition("_")
        bit, value = number.get(kind), _VALUES.get(cell.strip())
        if bit is None or value is None or not image:
            raise InputError(
                f"{path.name}, line {line}: holds '{text}'; expected ID_TYPE,LABEL with a type of "
                f"{', '.join(number)} and a label of 0 or 1"
            )
        before = seen.get(image, 0)
        if before >> bit & 1:
            repeated += 1
            if (values[image] >> bit & 1) != value:
                contradicted.add(image)
            continue
        seen[image] = before | 1 << bit
        values[image] = values.get(image, 0) | value << bit
    if not seen:
        raise InputError(f"{path.name}: holds no rows below its header; expected six an image")
    unusable = {image: reason for image in seen if (reason := _problem(image, seen, values, contradicted))}
    notes = [f"{path.name}: repeated rows are counted once: {repeated}"] if repeated else []
    known = {image: bits for image, bits in values.items() if image not in unusable}
    return SliceTable(known, unusable, (*notes, *_notes(path.name, unusable)))


def _lines(path: pathlib.Path) -> Iterator[str]:
    """Yields the lines below the header, one by one, since the real table is large; InputError for another header."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline().strip()
            if header.replace(" ", "") != RSNA_HEADER:
                raise InputError(f"{path.name}: begins with '{header}'; expected the header {RSNA_HEADER}")
            yield from (line.rstrip() for line in file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: cannot be read; expected a table (CSV)") from error


def _problem(image: str, seen: dict[str, int], values: dict[str, int], contradicted: set[str]) -> str:
    """Why the labels of an image cannot be used; '' if they can."""
    if image in contradicted:
        return "repeated rows contradict each other"
    if seen[image] != _ALL_BITS:
        return "rows are missing"
    subtypes = values[image] & (_ALL_BITS >> 1)
    if bool(subtypes) != bool(values[image] >> len(SUBTYPES)):
        return f"'{DETECTION_LABELS[-1]}' contradicts the sub-types"
    return ""


def _notes(table: str, unusable: dict[str, str]) -> list[str]:
    notes = []
    for reason in sorted(set(unusable.values())):
        images = sorted(image for image, other in unusable.items() if other == reason)
        more = f" and {len(images) - MAX_NAMED_SLICES} more" if len(images) > MAX_NAMED_SLICES else ""
        listed = ", ".join(images[:MAX_NAMED_SLICES]) + more
        notes.append(f"{table}: {reason} of {len(images)} images, whose labels are not used: {listed}")
    return notes
