"""The worklist: one row of worklist.csv for each scan, the most suspicious first, and its summary on the terminal."""

import pathlib
from collections.abc import Sequence

from ichjax.console import duration, say
from ichjax.files import write_csv
from ichjax.inference.provenance import phrase
from ichjax.inference.records import LeftOutSeries, PredictionRecord, SeriesChoice, SourceRecord, WorklistRow

WORKLIST_FILE = "worklist.csv"
MAX_SHOWN = 30  # scans in the table on the terminal
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def make_row(name: str, record: PredictionRecord, source: SourceRecord | None = None) -> WorklistRow:
    """The row of the scan whose output folder has this name; its source is by default the one in the record."""
    lesions, source = record["lesions"], source or record.get("source")
    row: WorklistRow = {
        "scan": name,
        "suspicion": record["suspicion"],
        "volume_ml": record["volume_ml"],
        "volume_interval_ml": interval_text(record),
        "abc2_ml": record["abc2_ml"],
        "lesions": len(lesions),
        "largest_ml": lesions[0]["volume_ml"] if lesions else 0.0,
        "largest_diameter_mm": max((lesion["diameter_mm"] for lesion in lesions), default=0.0),
        "side": lesions[0]["side"] if lesions else "",
        "positive_slices": " ".join(map(str, record["positive_slices"])),
        "slices": record["slices"],
        "highest_probability": record["highest_probability"],
        "geometry": record["geometry"],
        "seconds": record["seconds"],
        "series": series_text(record),
        "warnings": "; ".join(record["warnings"]),
        "problem": record.get("dicom_seg_problem", ""),
        "source": phrase(source) if source else "",
        "path": source.get("path", "") if source else "",
    }
    if "peak_memory_mb" in record:
        row["peak_memory_mb"] = record["peak_memory_mb"]
    return row


def make_problem_row(name: str, problem: str, source: SourceRecord) -> WorklistRow:
    """The row of a scan that was not predicted."""
    return {"scan": name, "problem": problem, "source": phrase(source), "path": source.get("path", "")}


def without_folders(problem: str, path: pathlib.Path) -> str:
    """A sentence about a path with its last part alone, since the folders above may be named after patients."""
    return path.name + problem.removeprefix(str(path)) if path.name and problem.startswith(f"{path}: ") else problem


def interval_text(record: PredictionRecord) -> str:
    """'8.1 to 17.0', the interval of a prediction's volume in mL; '' where it has none."""
    interval = record.get("volume_interval_ml")  # predictions of earlier versions lack it
    return f"{interval['low']:.1f} to {interval['high']:.1f}" if interval else ""


def series_text(record: PredictionRecord) -> str:
    """'number 4 (10 slices); left out: number 3 (60 slices): contrast', the series that was read; '' for a NIfTI."""
    if not (choice := record.get("series")):
        return ""
    others = "; ".join(f"{_series_name(one)}: {one['reason']}" for one in choice["left_out"])
    return _series_name(choice) + (f"; left out: {others}" if others else "")


def _series_name(one: SeriesChoice | LeftOutSeries) -> str:
    name = f"number {one['number']}" if one["number"] is not None else f"series {one['rank']}"
    return f"{name} ({one['slices']} {'slice' if one['slices'] == 1 else 'slices'})"


def is_predicted(row: WorklistRow) -> bool:
    """Whether a row is of a scan that was predicted."""
    return "volume_ml" in row


def sort_rows(rows: Sequence[WorklistRow]) -> list[WorklistRow]:
    """The most suspicious scans first, those that could not be predicted last."""
    return sorted(rows, key=lambda row: (not is_predicted(row), -(row.get("suspicion", 0.0)), row["scan"]))


def write(output: pathlib.Path, rows: Sequence[WorklistRow], *, with_paths: bool = False) -> None:
    """Writes OUTPUT/worklist.csv; paths only if they are wanted."""
    columns = [name for name in WorklistRow.__annotations__ if with_paths or name != "path"]
    write_csv(output / WORKLIST_FILE, [{name: to_cell(row.get(name)) for name in columns} for row in rows])


def to_cell(value: object) -> object:
    """A value for a spreadsheet: text that would be a formula gets an apostrophe, numbers four decimals."""
    if isinstance(value, float):
        return round(value, 4)
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def print_summary(rows: Sequence[WorklistRow], output: pathlib.Path, *, kept: int) -> None:
    """Prints the worklist as a table, and how many scans were predicted, kept and skipped.

    Args:
      rows: sorted.
      output: the folder of the worklist.
      kept: the number of scans that an earlier command predicted.
    """
    done = [row for row in rows if is_predicted(row)]
    if len(done) > 1:
        head = f"\n{'scan':24} {'suspicion':>9} {'mL':>8} {'90 % interval':>14}"
        say(f"{head} {'ABC/2':>7} {'lesions':>7} {'side':>8} {'slices':>7}")
        for row in done[:MAX_SHOWN]:
            slices = len(row["positive_slices"].split())
            say(
                f"{row['scan'][:24]:24} {row['suspicion']:9.2f} {row['volume_ml']:8.2f} "
                f"{row['volume_interval_ml'] or '-':>14} {row['abc2_ml']:7.1f} {row['lesions']:7} "
                f"{row['side'] or '-':>8} {slices:7}"
            )
        if len(done) > MAX_SHOWN:
            say(f"and {len(done) - MAX_SHOWN} more in {output / WORKLIST_FILE}")
    counts = {"predicted": len(done) - kept, "kept": kept, "skipped": len(rows) - len(done)}
    parts = [f"{count} {what}" for what, count in counts.items() if count or what == "predicted"]
    if rows and output.is_dir():
        seconds = sum(row["seconds"] for row in done)
        say(f"{', '.join(parts)}, {duration(seconds)} of work in all; {output / WORKLIST_FILE}")
    say("research use only: not for diagnosis")
