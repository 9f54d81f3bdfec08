"""Read the tables of the plain layout: age, sex and sub-types by subject or slice, and the names of mask labels."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from ichjax.data import label_tables as tables
from ichjax.data.classes import MAX_LABEL, UNKNOWN_SUBTYPE
from ichjax.data.label_names import class_of_name
from ichjax.data.label_tables import SUBTYPES
from ichjax.errors import InputError

T = TypeVar("T")
LABEL_COLUMNS = ("id", "age_years", "sex", "slice", *SUBTYPES)
NAME_COLUMNS = ("label", "name")  # of label_names.csv


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
    columns = find_columns(rows, path, LABEL_COLUMNS, required=("id",))
    lines_of_id: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, cells in rows[1:]:
        row = {name: cells[i] if i < len(cells) else "" for name, i in columns.items()}
        if not row["id"]:
            raise InputError(f"{path.name}, line {line}: the id is empty; expected the name of a scan's file")
        lines_of_id.setdefault(row["id"], []).append((line, row))
    notes: list[str] = []
    people = {name: person_of_rows(lines, path, notes) for name, lines in lines_of_id.items()}
    return people, notes


def read_label_names(path: pathlib.Path) -> tuple[dict[int, int], list[str]]:
    """Reads label_names.csv: ({label of the masks: its class, see `classes.class_mask`}, notes).

    Columns in any order: label (1 to 255; 0, the background, may be listed) and name, a sub-type as IVH or
    Intraventricular (`label_names.class_of_name`). Any other name is a hemorrhage of unknown sub-type, reported in a
    note: unlike dataset.json, this table is written for ichjax.

    Raises:
      InputError: the file cannot be read, lacks a column, or has an invalid cell.
    """
    rows = tables.read_cells(path)
    columns = find_columns(rows, path, NAME_COLUMNS, required=NAME_COLUMNS)
    classes: dict[int, int] = {}
    unknown = []
    for line, cells in rows[1:]:
        cell, name = (cells[columns[column]] if columns[column] < len(cells) else "" for column in NAME_COLUMNS)
        label, where = tables.parse_whole_number(cell), f"{path.name}, line {line}"
        if label is None or not 0 <= label <= MAX_LABEL:
            raise InputError(f"{where}: the label is '{cell}'; expected a whole number from 1 to {MAX_LABEL}")
        if not name:
            raise InputError(f"{where}: label {label} has no name; expected one such as {SUBTYPES[0]}")
        if label in classes:
            raise InputError(f"{where}: label {label} is listed twice; expected one name for each label")
        classes[label] = class_of_name(name) or UNKNOWN_SUBTYPE
        if label == 0 and classes[label] != UNKNOWN_SUBTYPE:
            raise InputError(f"{where}: label 0 is named {name}; expected 0 to be the background")
        if label and classes[label] == UNKNOWN_SUBTYPE:
            unknown.append(name)
    classes.pop(0, None)
    notes = [f"{path.name}: hemorrhage of unknown sub-type: {', '.join(unknown)}"] if unknown else []
    return classes, notes


def find_columns(
    rows: list[tuple[int, list[str]]], path: pathlib.Path, names: Sequence[str], *, required: Sequence[str]
) -> dict[str, int]:
    """The position of each column of these names that there is; InputError if a required one is missing."""
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    columns = {name: header.index(name.lower()) for name in names if name.lower() in header}
    if missing := [name for name in required if name not in columns]:
        shown = ", ".join(header[:9]) or "nothing"
        raise InputError(f"{path.name}: has no column {missing[0]}; found {shown}; expected {', '.join(names)}")
    return columns


def person_of_rows(lines: list[tuple[int, dict[str, str]]], path: pathlib.Path, notes: list[str]) -> Person:
    """One subject from all its rows (line, cells by `LABEL_COLUMNS`); notes if its age or sex is invalid.

    Raises:
      InputError: a slice or a flag of a sub-type is invalid.
    """
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
