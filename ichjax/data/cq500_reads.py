"""Read the labels of CQ500: reads.csv, with three radiologists' findings for each scan, and their majority."""

import dataclasses
import pathlib
import re

import numpy as np

from ichjax.data.label_tables import SUBTYPES, parse_whole_number, read_cells
from ichjax.errors import InputError

READS_TABLE = "reads.csv"
CQ500_LAYOUT = f"{READS_TABLE} and folders such as 'CQ500CT0 CQ500CT0/Unknown Study/CT PLAIN/'"
READERS = ("R1", "R2", "R3")
ICH = "ICH"
FURTHER_FINDINGS = (
    "BleedLocation-Left",
    "BleedLocation-Right",
    "ChronicBleed",
    "Fracture",
    "CalvarialFracture",
    "OtherFracture",
    "MassEffect",
    "MidlineShift",
)
CQ500_NAME = re.compile(r"CQ500-?CT-?(\d+)", re.IGNORECASE)
MIN_AGREEING = 2  # readers of three


@dataclasses.dataclass(frozen=True, eq=False)
class Reads:
    """The majority of the readers for one scan.

    Attributes:
      number: N of CQ500-CT-N.
      labels: bool [6], columns as `DETECTION_LABELS`.
      findings: {name of `FURTHER_FINDINGS`: whether most readers see it}; without those that too few have read.
      votes: {name: number of readers who see it}, of all findings.
    """

    number: int
    labels: np.ndarray
    findings: dict[str, bool]
    votes: dict[str, int]


def mark(root: pathlib.Path) -> str:
    """The file that shows this layout, or ''."""
    return READS_TABLE if (root / READS_TABLE).is_file() else ""


def read_reads(path: pathlib.Path) -> tuple[dict[int, Reads], dict[int, str], tuple[str, ...]]:
    """Reads the table: ({number: reads}, {number: why a scan has no usable labels}, notes).

    Two readers of three decide. An empty cell is no vote: where neither side has two, the scan has no usable labels.

    Raises:
      InputError: the table cannot be read, lacks a column, lists a scan twice, or has a cell other than 0, 1 and ''.
    """
    cells = read_cells(path)
    if not cells:
        raise InputError(f"{path.name}: is empty; expected a row per scan")
    header = cells[0][1]
    columns = {name: _columns(header, name) for name in (ICH, *SUBTYPES, *FURTHER_FINDINGS)}
    missing = [f"{reader}:{name}" for name in (ICH, *SUBTYPES) for reader in READERS if not columns[name]]
    if missing or "name" not in header:
        raise InputError(
            f"{path.name}: lacks the columns {', '.join(missing) or 'name'}; expected name, R1:ICH, R1:IPH"
        )
    reads: dict[int, Reads] = {}
    unusable: dict[int, str] = {}
    contradictory = []
    for line, row in cells[1:]:
        name = row[header.index("name")] if header.index("name") < len(row) else ""
        match = CQ500_NAME.fullmatch(name)
        if match is None:
            raise InputError(f"{path.name}, line {line}: names the scan '{name}'; expected CQ500-CT-0 and so on")
        number = int(match[1])
        if number in reads or number in unusable:
            raise InputError(f"{path.name}, line {line}: CQ500-CT-{number} is listed twice; expected one row per scan")
        counts = {name: _count(row, where, f"{path.name}, line {line}") for name, where in columns.items() if where}
        decided = {name: _majority(*count) for name, count in counts.items()}
        undecided = [name for name in (*SUBTYPES, ICH) if decided[name] is None]
        if undecided:
            unusable[number] = f"too few reads of {', '.join(undecided)}"
            continue
        labels = np.array([decided[name] for name in (*SUBTYPES, ICH)], bool)
        if labels[:-1].any() and not labels[-1]:
            contradictory.append(number)
        findings = {name: value for name in FURTHER_FINDINGS if (value := decided.get(name)) is not None}
        reads[number] = Reads(number, labels, findings, {name: seen for name, (seen, _) in counts.items()})
    notes = []
    if contradictory:
        listed = ", ".join(f"CQ500-CT-{number}" for number in contradictory[:5])
        notes.append(f"{path.name}: most readers see a sub-type, but no {ICH}, in {len(contradictory)} scans: {listed}")
    return reads, unusable, tuple(notes)


def _columns(header: list[str], name: str) -> list[int]:
    """The column of each reader for a finding; [] unless all have one."""
    names = [f"{reader}:{name}" for reader in READERS]
    return [header.index(each) for each in names] if set(names) <= set(header) else []


def _count(row: list[str], where: list[int], place: str) -> tuple[int, int]:
    """(readers who see a finding, readers who do not)."""
    votes = []
    for column in where:
        cell = row[column] if column < len(row) else ""
        vote = parse_whole_number(cell)
        if cell and vote not in (0, 1):
            raise InputError(f"{place}: holds '{cell}' for a finding; expected 0, 1 or nothing")
        votes.append(vote)
    return votes.count(1), votes.count(0)


def _majority(seen: int, unseen: int) -> bool | None:
    return seen >= MIN_AGREEING if max(seen, unseen) >= MIN_AGREEING else None
