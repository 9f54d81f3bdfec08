"""Read labels.csv of the plain layout: age, sex and sub-types by subject, or sub-types by slice."""

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from ichjax.data import label_tables as tables
from ichjax.data.label_tables import SUBTYPES
from ichjax.errors import InputError

T = TypeVar("T")
LABEL_COLUMNS = ("id", "age_years", "sex", "slice", *SUBTYPES)


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
    """One subject in the table.

    Attributes:
      age_years: None if unknown.
      sex: 'M', 'F' or None.
      slice_labels: bool [N, 5] by slice number - 1; N = 0 without rows of slices.
      subtypes: flags in the order of SUBTYPES, from the rows without a slice.
    """

    age_years: float | None
    sex: str | None
    slice_labels: np.ndarray
    subtypes: tuple[bool, ...]


UNKNOWN = Person(None, None, np.zeros((0, len(SUBTYPES)), bool), (False,) * len(SUBTYPES))


def read(path: pathlib.Path) -> tuple[dict[str, Person], list[str]]:
    """Reads labels.csv: ({ID: the subject}, notes on irregularities).

    Columns in any order: id, and any of age_years, sex, slice (from 1, along the file's slice axis), IVH, IPH, SAH,
    EDH, SDH (1, or 0 or nothing). A row without a slice applies to the whole subject. Other columns are ignored.

    Raises:
      InputError: the file cannot be read, has no column id, or has an invalid cell.
    """
    rows = tables.read_cells(path)
    columns = _columns(rows, path)
    lines_of_id: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, cells in rows[1:]:
        row = {name: cells[i] if i < len(cells) else "" for name, i in columns.items()}
        if not row["id"]:
            raise InputError(f"{path.name}, line {line}: the id is empty; expected the name of a scan's file")
        lines_of_id.setdefault(row["id"], []).append((line, row))
    notes: list[str] = []
    people = {name: _person(lines, path, notes) for name, lines in lines_of_id.items()}
    return people, notes


def _columns(rows: list[tuple[int, list[str]]], path: pathlib.Path) -> dict[str, int]:
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    columns = {name: header.index(name.lower()) for name in LABEL_COLUMNS if name.lower() in header}
    if "id" not in columns:
        shown = ", ".join(header[:9]) or "nothing"
        raise InputError(f"{path.name}: has no column id; found {shown}; expected {', '.join(LABEL_COLUMNS)}")
    return columns


def _person(lines: list[tuple[int, dict[str, str]]], path: pathlib.Path, notes: list[str]) -> Person:
    """One subject from all its rows; appends to `notes` if its age or sex is invalid."""
    slices: dict[int, list[bool]] = {}
    whole = np.zeros(len(SUBTYPES), bool)
    for line, row in lines:
        flags = [_parse_flag(row.get(name, ""), name, line, path) for name in SUBTYPES]
        cell = row.get("slice", "")
        number = tables.parse_whole_number(cell)
        if not cell:
            whole |= flags
        elif number is None or not 1 <= number <= tables.MAX_SLICE_NUMBER:
            raise InputError(f"{path.name}, line {line}: the slice is '{cell}'; expected a whole number from 1")
        elif number in slices:
            raise InputError(f"{path.name}, line {line}: slice {number} of one id is listed twice")
        else:
            slices[number] = flags
    labels = np.zeros((max(slices, default=0), len(SUBTYPES)), bool)
    for number, flags in slices.items():
        labels[number - 1] = flags
    age = _agreed([tables.parse_age(row.get("age_years", "")) for _, row in lines])
    sex = _agreed([tables.SEXES.get(row.get("sex", "").lower()) for _, row in lines])
    for what, value, column in (("age", age, "age_years"), ("sex", sex, "sex")):
        if value is None and any(row.get(column) for _, row in lines):
            notes.append(f"{path.name}, line {lines[0][0]}: the {what} cannot be read or differs between rows; unknown")
    return Person(age, sex, labels, tuple(whole.tolist()))


def _agreed(values: Iterable[T | None]) -> T | None:
    """The value of all rows that have one; None if they differ."""
    given = {value for value in values if value is not None}
    return given.pop() if len(given) == 1 else None


def _parse_flag(cell: str, name: str, line: int, path: pathlib.Path) -> bool:
    number = tables.parse_whole_number(cell)
    if cell and number not in (0, 1):
        raise InputError(f"{path.name}, line {line}: '{cell}' in the column {name}; expected 1, 0 or nothing")
    return number == 1
