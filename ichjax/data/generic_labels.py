"""labels.csv of the plain layout: age, sex and sub-types by subject, or sub-types by slice."""

import dataclasses
import pathlib

import numpy as np

from ichjax.data import label_tables as tables
from ichjax.data.label_tables import SUBTYPES
from ichjax.errors import InputError

LABEL_COLUMNS = ("id", "age_years", "sex", "slice", *SUBTYPES)


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
    """What the table says of one subject.

    Attributes:
      age_years: None where it is not known.
      sex: 'M', 'F' or None.
      slice_labels: bool [N, 5] by slice number; N = 0 without rows of slices.
      subtypes: five flags, of the rows that name no slice.
    """

    age_years: float | None
    sex: str | None
    slice_labels: np.ndarray
    subtypes: tuple[bool, ...]


UNKNOWN = Person(None, None, np.zeros((0, len(SUBTYPES)), bool), (False,) * len(SUBTYPES))


def read(path: pathlib.Path) -> tuple[dict[str, Person], list[str]]:
    """Reads labels.csv: ({ID: what it says of it}, notes on what was odd).

    Columns in any order: id, and any of age_years, sex, slice (from 1, along the file's slice axis), IVH, IPH, SAH,
    EDH, SDH (1, or 0 or nothing). A row with a slice is of that slice, one without is of the whole subject. Other
    columns are not looked at.

    Raises:
      InputError: the file cannot be read, has no column id, or has a cell that is not what its column holds.
    """
    rows = tables.read_cells(path)
    columns = _columns(rows, path)
    found: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, cells in rows[1:]:
        row = {name: cells[i] if i < len(cells) else "" for name, i in columns.items()}
        if not row["id"]:
            raise InputError(f"{path.name}, line {line}: the id is empty; expected the name of a scan's file")
        found.setdefault(row["id"], []).append((line, row))
    notes: list[str] = []
    people = {name: _person(lines, path, notes) for name, lines in found.items()}
    return people, notes


def _columns(rows: list[tuple[int, list[str]]], path: pathlib.Path) -> dict[str, int]:
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    columns = {name: header.index(name.lower()) for name in LABEL_COLUMNS if name.lower() in header}
    if "id" not in columns:
        shown = ", ".join(header[:9]) or "nothing"
        raise InputError(f"{path.name}: has no column id; found {shown}; expected {', '.join(LABEL_COLUMNS)}")
    return columns


def _person(lines: list[tuple[int, dict[str, str]]], path: pathlib.Path, notes: list[str]) -> Person:
    """One subject of all its rows."""
    slices: dict[int, list[bool]] = {}
    whole = np.zeros(len(SUBTYPES), bool)
    for line, row in lines:
        flags = [_flag(row.get(name, ""), name, line, path) for name in SUBTYPES]
        cell = row.get("slice", "")
        number = tables.whole_number(cell)
        if not cell:
            whole |= flags
        elif number is None or not 1 <= number <= tables.LARGEST_SLICE_NUMBER:
            raise InputError(f"{path.name}, line {line}: the slice is '{cell}'; expected a whole number from 1")
        elif number in slices:
            raise InputError(f"{path.name}, line {line}: slice {number} of one id stands in the table twice")
        else:
            slices[number] = flags
    labels = np.zeros((max(slices, default=0), len(SUBTYPES)), bool)
    for number, flags in slices.items():
        labels[number - 1] = flags
    age = _one([tables.age_years(row.get("age_years", "")) for _, row in lines])
    sex = _one([tables.SEXES.get(row.get("sex", "").lower()) for _, row in lines])
    for what, value, column in (("age", age, "age_years"), ("sex", sex, "sex")):
        if value is None and any(row.get(column) for _, row in lines):
            notes.append(f"{path.name}, line {lines[0][0]}: the {what} cannot be read or differs between rows; unknown")
    return Person(age, sex, labels, tuple(whole.tolist()))


def _one(values: list):
    """The value that all rows that have one agree on, else None."""
    given = {value for value in values if value is not None}
    return given.pop() if len(given) == 1 else None


def _flag(cell: str, name: str, line: int, path: pathlib.Path) -> bool:
    number = tables.whole_number(cell)
    if cell and number not in (0, 1):
        raise InputError(f"{path.name}, line {line}: '{cell}' in the column {name}; expected 1, 0 or nothing")
    return number == 1
