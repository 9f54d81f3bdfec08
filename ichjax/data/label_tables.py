"""Read the slice and subject tables of the PhysioNet ct-ich data set (CSV), and parse CSV cells.

Real copies have byte-order marks, CRLF, two-row headers, quoted line breaks, blank rows and footers.
"""

import csv
import dataclasses
import io
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ichjax.errors import InputError

SUBTYPES = ("IVH", "IPH", "SAH", "EDH", "SDH")  # the order of columns in every [.., 5] label array
SUBTYPE_COLUMN = {  # by sub-type
    "IVH": "Intraventricular",
    "IPH": "Intraparenchymal",
    "SAH": "Subarachnoid",
    "EDH": "Epidural",
    "SDH": "Subdural",
}
SUBTYPE_COLUMNS = tuple(SUBTYPE_COLUMN[name] for name in SUBTYPES)
NIFTI_SLICE_TABLE, NIFTI_SUBJECT_TABLE = "hemorrhage_diagnosis_raw_ct.csv", "Patient_demographics.csv"
JPEG_SLICE_TABLE, JPEG_SUBJECT_TABLE = "hemorrhage_diagnosis.csv", "patient_demographics.csv"
FIRST_NUMBER = 49  # of the subjects
MAX_SLICE_NUMBER = 4096  # a larger one means a damaged table
MAX_AGE_YEARS = 130.0
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
    """A row below the header: its line in the file, its subject number, and its cells by column name."""

    line: int
    subject: int
    cells: dict[str, str]


def read_slice_table(path: pathlib.Path) -> tuple[dict[int, SliceRows], tuple[str, ...]]:
    """Reads the slice table, one row per slice: (rows by subject number, notes on irregularities).

    If `No_Hemorrhage` contradicts the sub-types, the sub-types are used; a SliceNumber without a row gets no sub-type.

    Raises:
      InputError: the file cannot be read, lacks a column, or has an invalid cell.
    """
    rows, notes = _read_rows(path, {name: (name,) for name in ("SliceNumber", "No_Hemorrhage", "Fracture")})
    by_subject: dict[int, dict[int, tuple[list[bool], bool]]] = {}
    contradictory = []
    for row in rows:
        cell = row.cells["SliceNumber"]
        number = parse_whole_number(cell)
        if number is None or not 1 <= number <= MAX_SLICE_NUMBER:
            raise InputError(
                f"{path.name}, line {row.line}: subject {row.subject} has the SliceNumber '{cell}'; "
                f"expected a whole number from 1"
            )
        slices = by_subject.setdefault(row.subject, {})
        if number in slices:
            raise InputError(f"{path.name}, line {row.line}: subject {row.subject} has slice {number} twice")
        labels = [_parse_flag(row, name, path) for name in SUBTYPES]
        slices[number] = (labels, _parse_flag(row, "Fracture", path))
        if any(labels) == _parse_flag(row, "No_Hemorrhage", path):
            contradictory.append(row.subject)
    if contradictory:
        notes.append(
            f"{path.name}: No_Hemorrhage contradicts the sub-types on {len(contradictory)} slices "
            f"(subjects {format_ranges(contradictory)}); the sub-types are used"
        )
    by_number = {subject: _to_arrays(slices, subject, path, notes) for subject, slices in sorted(by_subject.items())}
    return by_number, tuple(notes)


def _to_arrays(
    slices: dict[int, tuple[list[bool], bool]], subject: int, path: pathlib.Path, notes: list[str]
) -> SliceRows:
    """One subject's rows as arrays; appends to `notes` if a SliceNumber has no row."""
    count = max(slices)
    labels, fracture = np.zeros((count, len(SUBTYPES)), bool), np.zeros(count, bool)
    for number, (subtypes, fractured) in slices.items():
        labels[number - 1], fracture[number - 1] = subtypes, fractured
    absent = sorted(set(range(1, count + 1)) - set(slices))
    if absent:
        notes.append(f"{path.name}: subject {subject} has no rows for slices {format_ranges(absent)}, so no sub-type")
    return SliceRows(labels, fracture)


def read_subject_table(path: pathlib.Path) -> tuple[dict[int, SubjectRow], tuple[str, ...]]:
    """Reads the subject table, one row per subject: (rows by subject number, notes on irregularities).

    An invalid age or sex is unknown, with a note. 'Condition on file' is ignored: it can contradict the flags.

    Raises:
      InputError: see `read_slice_table`, or a subject is listed twice.
    """
    rows, notes = _read_rows(path, {"Age": ("Age",), "Gender": ("Gender", "Sex"), "Fracture": ("Fracture",)})
    by_number: dict[int, SubjectRow] = {}
    for row in rows:
        if row.subject in by_number:
            raise InputError(f"{path.name}, line {row.line}: subject {row.subject} is listed twice")
        age, sex = parse_age(row.cells["Age"]), SEXES.get(row.cells["Gender"].lower())
        for what, value, cell in (("age", age, "Age"), ("sex", sex, "Gender")):
            if value is None and row.cells[cell]:
                notes.append(f"{path.name}: the {what} of subject {row.subject} cannot be read; it is unknown")
        labels = tuple(_parse_flag(row, name, path) for name in SUBTYPES)
        by_number[row.subject] = SubjectRow(age, sex, labels, _parse_flag(row, "Fracture", path))
    return by_number, tuple(notes)


def format_ranges(numbers: Iterable[int]) -> str:
    """Formats whole numbers for a message: [59, 60, 61, 65] -> '59 to 61, 65'."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" if b > a + 1 else f"{a}, {b}" for a, b in runs)


def _read_rows(path: pathlib.Path, columns: Mapping[str, Sequence[str]]) -> tuple[list[_Row], list[str]]:
    """(the rows of subjects, with the sub-types and `columns` (name -> accepted headers) as cells; notes)."""
    table = read_cells(path)
    names = {"subject": ("Patient Number",), **{name: (SUBTYPE_COLUMN[name],) for name in SUBTYPES}, **columns}
    index, first = _find_columns(table, names, path)
    rows = [(line, {name: row[i] if i < len(row) else "" for name, i in index.items()}) for line, row in table[first:]]
    numbers = [parse_whole_number(cells["subject"]) for _, cells in rows]
    last = max((i for i, number in enumerate(numbers) if number is not None), default=-1)
    for i, (line, cells) in enumerate(rows):
        # Below the last subject there are totals and remarks without a number; elsewhere that is a damaged row.
        is_footer = 0 <= last < i and not cells["subject"][:1].isdigit()
        if numbers[i] is None and not is_footer:
            raise InputError(
                f"{path.name}, line {line}: the subject is '{cells['subject']}'; expected a number such as 49"
            )
    if last < 0:
        raise InputError(f"{path.name}: holds no rows below its header; expected one per subject or slice")
    footers = len(rows) - last - 1
    notes = [f"{path.name}: footer rows below the last subject ignored: {footers}"] if footers else []
    kept = zip(rows, numbers, strict=True)
    return [_Row(line, number, cells) for (line, cells), number in kept if number is not None], notes


def read_cells(path: pathlib.Path, *, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    """(line in the file, stripped cells) of every row of a CSV file that is not blank; TSV with another delimiter."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); expected a table (CSV)") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # exported by a spreadsheet; only remarks have characters beyond ASCII
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise InputError(f"{path.name}, line {reader.line_num}: is not a table ({error}); expected CSV") from error
    return [(line, cells) for line, cells in rows if any(cells)]


def _find_columns(
    table: list[tuple[int, list[str]]], names: Mapping[str, Sequence[str]], path: pathlib.Path
) -> tuple[dict[str, int], int]:
    """(column index by name, for names -> accepted headers; index of the first row below the header).

    The header is the row with 'Patient Number', and also the next row if that has no number but names sub-types (below
    a merged cell of a spreadsheet).
    """
    start = next((i for i, (_, cells) in enumerate(table) if "patientnumber" in map(_normalize, cells)), None)
    if start is None:
        raise InputError(f"{path.name}: has no column 'Patient Number' or 'PatientNumber'; expected a label table")
    header = [table[start][1]]
    subject = list(map(_normalize, header[0])).index("patientnumber")
    if start + 1 < len(table):
        below = table[start + 1][1]
        subtypes = {_normalize(name) for name in SUBTYPE_COLUMNS} & set(map(_normalize, below))
        if subtypes and not (subject < len(below) and below[subject]):
            header.append(below)
    columns = {name: _find_column(header, headers) for name, headers in names.items()}
    missing = [names[name][0] for name, column in columns.items() if column is None]
    if missing:
        present = ", ".join(" ".join(cell.split()) for cells in header for cell in cells if cell)
        raise InputError(f"{path.name}: lacks the columns {', '.join(missing)}; found {present}")
    return {name: column for name, column in columns.items() if column is not None}, start + len(header)


def _find_column(header: list[list[str]], headers: Sequence[str]) -> int | None:
    """The first column with a header cell that starts with one of `headers`: 'Age' matches 'Age\\n(years)'."""
    starts = tuple(map(_normalize, headers))
    columns = [i for cells in header for i, cell in enumerate(cells) if _normalize(cell).startswith(starts)]
    return min(columns, default=None)


def _normalize(cell: str) -> str:
    return re.sub(r"[^a-z]", "", cell.lower())


def parse_whole_number(cell: str) -> int | None:
    """The whole number in a cell, or None; spreadsheets also write 49 as '49.0'."""
    return int(float(cell)) if re.fullmatch(r"\d{1,9}(\.0*)?", cell, re.ASCII) else None


def _parse_flag(row: _Row, name: str, path: pathlib.Path) -> bool:
    """Parses a flag: 1, or empty (some copies write 0)."""
    cell = row.cells[name]
    number = parse_whole_number(cell)
    if cell and number not in (0, 1):
        raise InputError(
            f"{path.name}, line {row.line}: subject {row.subject} has '{cell}' in the column of "
            f"{SUBTYPE_COLUMN.get(name, name)}; expected 1 or nothing"
        )
    return number == 1


def parse_age(cell: str) -> float | None:
    """Age in years, can be a fraction (0.0027 is a day); None if it is not an age."""
    try:
        age = float(cell)
    except ValueError:
        return None
    return age if 0 <= age <= MAX_AGE_YEARS else None
