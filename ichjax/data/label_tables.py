"""The two label tables of the PhysioNet ct-ich data set, as real copies have them (byte-order marks, CRLF, two-row
headers, quoted line breaks, blank rows, footers)."""

import csv
import dataclasses
import io
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np

from ichjax.errors import InputError

SUBTYPES = ("IVH", "IPH", "SAH", "EDH", "SDH")  # the order of columns in every [.., 5] label array
COLUMN_OF = {
    "IVH": "Intraventricular",
    "IPH": "Intraparenchymal",
    "SAH": "Subarachnoid",
    "EDH": "Epidural",
    "SDH": "Subdural",
}
SUBTYPE_COLUMNS = tuple(COLUMN_OF[name] for name in SUBTYPES)
NIFTI_SLICE_TABLE, NIFTI_SUBJECT_TABLE = "hemorrhage_diagnosis_raw_ct.csv", "Patient_demographics.csv"
JPEG_SLICE_TABLE, JPEG_SUBJECT_TABLE = "hemorrhage_diagnosis.csv", "patient_demographics.csv"
FIRST_NUMBER = 49  # the subjects are numbered from it
LARGEST_SLICE_NUMBER = 4096  # more slices than this is no head CT but a damaged table
OLDEST_YEARS = 130.0
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}


@dataclasses.dataclass(frozen=True, eq=False)
class SliceRows:
    """One subject's rows of the slice table, by SliceNumber - 1.

    Attributes:
      labels: bool [N, 5], sub-types.
      fracture: bool [N].
    """

    labels: np.ndarray
    fracture: np.ndarray


@dataclasses.dataclass(frozen=True)
class SubjectRow:
    """One subject's row of the subject table; `labels` is in the order of SUBTYPES."""

    age_years: float | None
    sex: str | None
    labels: tuple[bool, ...]
    fracture: bool


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row below the header: its line in the file, its subject, and its cells by the names asked for."""

    line: int
    subject: int
    cells: dict[str, str]


def read_slice_table(path: pathlib.Path) -> tuple[dict[int, SliceRows], tuple[str, ...]]:
    """Reads the table with one row per slice: (rows by subject number, notes on what was odd).

    Sub-types are trusted where `No_Hemorrhage` contradicts them; a SliceNumber that is left out gets no sub-type.

    Raises:
      InputError: the file cannot be read, lacks a column, or has a cell that is not what its column holds.
    """
    wanted = {name: (COLUMN_OF[name],) for name in SUBTYPES}
    wanted |= {name: (name,) for name in ("SliceNumber", "No_Hemorrhage", "Fracture")}
    rows, notes = _read_rows(path, wanted)
    by_subject: dict[int, dict[int, tuple[list[bool], bool]]] = {}
    contradicted = []
    for row in rows:
        cell = row.cells["SliceNumber"]
        number = whole_number(cell)
        if number is None or not 1 <= number <= LARGEST_SLICE_NUMBER:
            raise InputError(
                f"{path.name}, line {row.line}: subject {row.subject} has the SliceNumber '{cell}'; "
                f"expected a whole number from 1"
            )
        slices = by_subject.setdefault(row.subject, {})
        if number in slices:
            raise InputError(f"{path.name}, line {row.line}: subject {row.subject} has slice {number} twice")
        labels = [_flag(row, name, path) for name in SUBTYPES]
        slices[number] = (labels, _flag(row, "Fracture", path))
        if any(labels) == _flag(row, "No_Hemorrhage", path):
            contradicted.append(row.subject)
    if contradicted:
        notes.append(
            f"{path.name}: No_Hemorrhage contradicts the sub-types on {len(contradicted)} slices "
            f"(subjects {ranges(contradicted)}); the sub-types are trusted"
        )
    found = {subject: _by_slice(slices, subject, path, notes) for subject, slices in sorted(by_subject.items())}
    return found, tuple(notes)


def _by_slice(slices: dict[int, tuple[list[bool], bool]], subject: int, path: pathlib.Path, notes: list) -> SliceRows:
    """One subject's rows as arrays; adds a note where a SliceNumber is left out."""
    count = max(slices)
    labels, fracture = np.zeros((count, len(SUBTYPES)), bool), np.zeros(count, bool)
    for number, (subtypes, fractured) in slices.items():
        labels[number - 1], fracture[number - 1] = subtypes, fractured
    absent = sorted(set(range(1, count + 1)) - set(slices))
    if absent:
        notes.append(f"{path.name}: subject {subject} has no rows for slices {ranges(absent)}: no sub-type there")
    return SliceRows(labels, fracture)


def read_subject_table(path: pathlib.Path) -> tuple[dict[int, SubjectRow], tuple[str, ...]]:
    """Reads the table with one row per subject: (rows by subject number, notes on what was odd).

    An age or sex that cannot be read is taken as unknown, with a note. 'Condition on file' is not looked at: it
    can contradict the flags.

    Raises:
      InputError: as for `read_slice_table`, or a subject stands in it twice.
    """
    wanted = {name: (COLUMN_OF[name],) for name in SUBTYPES}
    wanted |= {"Age": ("Age",), "Gender": ("Gender", "Sex"), "Fracture": ("Fracture",)}
    rows, notes = _read_rows(path, wanted)
    found: dict[int, SubjectRow] = {}
    for row in rows:
        if row.subject in found:
            raise InputError(f"{path.name}, line {row.line}: subject {row.subject} stands in the table twice")
        age, sex = age_years(row.cells["Age"]), SEXES.get(row.cells["Gender"].lower())
        for what, value, cell in (("age", age, "Age"), ("sex", sex, "Gender")):
            if value is None and row.cells[cell]:
                notes.append(f"{path.name}: the {what} of subject {row.subject} cannot be read; taken as unknown")
        labels = tuple(_flag(row, name, path) for name in SUBTYPES)
        found[row.subject] = SubjectRow(age, sex, labels, _flag(row, "Fracture", path))
    return found, tuple(notes)


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers for a sentence: [59, 60, 61, 65] -> '59 to 61, 65'."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" if b > a + 1 else f"{a}, {b}" for a, b in runs)


def _read_rows(path: pathlib.Path, wanted: dict[str, Sequence[str]]) -> tuple[list[_Row], list[str]]:
    """The rows of subjects, with the cells named in `wanted` (name -> headers that mean it), and notes."""
    table = read_cells(path)
    columns, first = _header(table, {"subject": ("Patient Number",), **wanted}, path)
    body = [(line, [cells[i] if i < len(cells) else "" for i in columns.values()]) for line, cells in table[first:]]
    rows = [(line, dict(zip(columns, cells, strict=True))) for line, cells in body]
    numbers = [whole_number(cells["subject"]) for _, cells in rows]
    last = max((i for i, number in enumerate(numbers) if number is not None), default=-1)
    for (line, cells), number in zip(rows, numbers, strict=True):
        # Below the last subject stand totals and remarks, with no number; anywhere else, that is a damaged row.
        footer = last >= 0 and line > rows[last][0] and not cells["subject"][:1].isdigit()
        if number is None and not footer:
            raise InputError(
                f"{path.name}, line {line}: the subject is '{cells['subject']}'; expected a number such as 49"
            )
    if last < 0:
        raise InputError(f"{path.name}: holds no rows below its header; expected one per subject or slice")
    footers = len(rows) - last - 1
    notes = [f"{path.name}: footer rows below the last subject left out: {footers}"] if footers else []
    kept = zip(rows[: last + 1], numbers, strict=False)
    return [_Row(line, number, cells) for (line, cells), number in kept], notes


def read_cells(path: pathlib.Path) -> list[tuple[int, list[str]]]:
    """(line in the file, stripped cells) of every row that is not blank."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); expected a table (CSV)") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # a spreadsheet's export; only remarks hold anything beyond ASCII
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise InputError(f"{path.name}, line {reader.line_num}: is not a table ({error}); expected CSV") from error
    return [(line, cells) for line, cells in rows if any(cells)]


def _header(
    table: list[tuple[int, list[str]]], wanted: dict[str, Sequence[str]], path: pathlib.Path
) -> tuple[dict[str, int], int]:
    """(column of each wanted name, index of the first row below the header).

    The header is the row that holds 'Patient Number', and the next one too where that has no number but names
    sub-types (a merged cell of a spreadsheet above them).
    """
    start = next((i for i, (_, cells) in enumerate(table) if "patientnumber" in map(_plain, cells)), None)
    if start is None:
        raise InputError(f"{path.name}: has no column 'Patient Number' or 'PatientNumber'; expected a label table")
    header = [table[start][1]]
    subject = list(map(_plain, header[0])).index("patientnumber")
    if start + 1 < len(table):
        below = table[start + 1][1]
        named = {_plain(name) for name in COLUMN_OF.values()} & set(map(_plain, below))
        if named and not (subject < len(below) and below[subject]):
            header.append(below)
    columns = {name: _column(header, headers) for name, headers in wanted.items()}
    missing = [wanted[name][0] for name, column in columns.items() if column is None]
    if missing:
        found = ", ".join(" ".join(cell.split()) for cells in header for cell in cells if cell)
        raise InputError(f"{path.name}: lacks the columns {', '.join(missing)}; found {found}")
    return columns, start + len(header)


def _column(header: list[list[str]], headers: Sequence[str]) -> int | None:
    """The first column one of whose header cells starts with one of the words: 'Age' finds 'Age\n(years)'."""
    words = tuple(map(_plain, headers))
    found = [i for cells in header for i, cell in enumerate(cells) if _plain(cell).startswith(words)]
    return min(found, default=None)


def _plain(cell: str) -> str:
    return re.sub(r"[^a-z]", "", cell.lower())


def whole_number(cell: str) -> int | None:
    """The whole number of a cell, None if it is none; '49.0' is one (a spreadsheet's doing)."""
    return int(float(cell)) if re.fullmatch(r"\d{1,9}(\.0*)?", cell, re.ASCII) else None


def _flag(row: _Row, name: str, path: pathlib.Path) -> bool:
    """A flag is 1, or empty (some copies write 0)."""
    cell = row.cells[name]
    number = whole_number(cell)
    if cell and number not in (0, 1):
        raise InputError(
            f"{path.name}, line {row.line}: subject {row.subject} has '{cell}' in the column of "
            f"{COLUMN_OF.get(name, name)}; expected 1 or nothing"
        )
    return number == 1


def age_years(cell: str) -> float | None:
    """Age in years; can be a fraction (0.0027 is a day). None where it is no age."""
    try:
        age = float(cell)
    except ValueError:
        return None
    return age if 0 <= age <= OLDEST_YEARS else None
