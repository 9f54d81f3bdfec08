"""The worklist of many predictions: a line for each scan, the most suspicious first."""

import pathlib
from collections.abc import Sequence

from ichjax.console import duration, say
from ichjax.files import write_csv

WORKLIST_FILE = "worklist.csv"
WORKLIST_COLUMNS = (
    *("scan", "suspicion", "volume_ml", "abc2_ml", "lesions", "largest_ml", "largest_diameter_mm", "side"),
    *("positive_slices", "slices", "highest_probability", "geometry", "seconds", "warnings", "problem"),
)
MOST_SHOWN = 30  # scans in the table on the terminal


def row(name: str, found: dict) -> dict:
    """A line of the worklist.

    Args:
      name: of the scan's folder.
      found: what its prediction.json holds.
    """
    lesions = found["lesions"]
    cells = {column: found[column] for column in WORKLIST_COLUMNS if column in found}
    cells |= {
        "scan": name,
        "lesions": len(lesions),
        "largest_ml": lesions[0]["volume_ml"] if lesions else 0.0,
        "largest_diameter_mm": max((lesion["diameter_mm"] for lesion in lesions), default=0.0),
        "side": lesions[0]["side"] if lesions else "",
        "positive_slices": " ".join(map(str, found["positive_slices"])),
        "warnings": "; ".join(found["warnings"]),
        "problem": "",
    }
    return {column: cells[column] for column in WORKLIST_COLUMNS}


def failed(name: str, problem: str) -> dict:
    """A line of the worklist for what could not be predicted."""
    return {**dict.fromkeys(WORKLIST_COLUMNS), "scan": name, "problem": problem}


def in_order(rows: Sequence[dict]) -> list[dict]:
    """The most suspicious first, what could not be predicted last."""
    return sorted(rows, key=lambda row: (row["problem"] != "", -(row["suspicion"] or 0.0), row["scan"]))


def write(output: pathlib.Path, rows: Sequence[dict]) -> None:
    """Writes OUTPUT/worklist.csv."""
    write_csv(output / WORKLIST_FILE, [{name: safe(value) for name, value in row.items()} for row in rows])


def safe(value: object) -> object:
    """A cell that a spreadsheet does not take for a formula; numbers to four digits behind the point."""
    if isinstance(value, float):
        return round(value, 4)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def say_summary(rows: Sequence[dict], output: pathlib.Path, *, kept: int) -> None:
    """The worklist on the terminal.

    Args:
      rows: of `row` and `failed`, in order.
      output: where the worklist is.
      kept: so many of the scans were there already.
    """
    done = [row for row in rows if not row["problem"]]
    if len(done) > 1:
        say(f"\n{'scan':24} {'suspicion':>9} {'mL':>8} {'ABC/2':>7} {'lesions':>7} {'side':>8} {'slices':>7}")
        for row in done[:MOST_SHOWN]:
            slices = len(row["positive_slices"].split())
            say(
                f"{row['scan'][:24]:24} {row['suspicion']:9.2f} {row['volume_ml']:8.2f} {row['abc2_ml']:7.1f} "
                f"{row['lesions']:7} {row['side'] or '-':>8} {slices:7}"
            )
        if len(done) > MOST_SHOWN:
            say(f"and {len(done) - MOST_SHOWN} more in {output / WORKLIST_FILE}")
    seconds = sum(row["seconds"] for row in done)
    parts = [f"{len(done) - kept} predicted"] + ([f"{kept} were there already"] if kept else [])
    parts += [f"{len(rows) - len(done)} left out"] if len(done) < len(rows) else []
    if rows and output.is_dir():
        say(f"{', '.join(parts)}, {duration(seconds)} of work in all; {output / WORKLIST_FILE}")
    say("research use only: not for diagnosis")
