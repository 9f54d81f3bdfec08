"""The run manifest of `predict`, manifest.json: command, versions, inputs, outputs, time and memory of an output."""

import dataclasses
import datetime
import pathlib
import time
from collections.abc import Mapping

import jax

from ichjax.console import duration
from ichjax.experiment import setup
from ichjax.files import read_json, write_json
from ichjax.inference import worklist
from ichjax.inference.discover import PREDICTION_FILE
from ichjax.inference.model import TrainedRun
from ichjax.inference.output import file_digest, segmentation_path
from ichjax.inference.records import ManifestInput, WorklistRow, read_prediction

MANIFEST_FILE = "manifest.json"
MANIFEST_SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Start:
    """When a command began: UTC, and `time.perf_counter`."""

    date: str
    seconds: float

    @classmethod
    def now(cls) -> "Start":
        """The present moment."""
        return cls(_utc(), time.perf_counter())


@dataclasses.dataclass
class Progress:
    """What a command has done so far.

    Attributes:
      rows: of the worklist, in the order of the input; first those of input paths without a scan.
      kept: names of the scans that an earlier command had predicted.
      peak_memory_mb: the largest resident memory of the process during a prediction, in MB.
    """

    rows: list[WorklistRow]
    kept: set[str] = dataclasses.field(default_factory=set)
    peak_memory_mb: float = 0.0


def write(
    output: pathlib.Path,
    trained: TrainedRun,
    progress: Progress,
    *,
    options: Mapping[str, object],
    scans: int,
    start: Start,
) -> None:
    """Writes OUTPUT/manifest.json about the command that ends now; an earlier command's is replaced.

    Args:
      output: the output folder.
      trained: the run that predicted.
      progress: of the command.
      options: of the command, by name; no paths.
      scans: the number of scans at the input paths.
      start: of the command.
    """
    inputs = [_input(index, row, output, progress) for index, row in enumerate(progress.rows, start=1)]
    folders = [output / entry["scan"] for entry in inputs if entry["state"] != "skipped"]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    files += [path for path in map(segmentation_path, folders) if path.is_file()]
    write_json(
        output / MANIFEST_FILE,
        {
            "schema": MANIFEST_SCHEMA,
            "command": "predict",
            "options": {**options, "predict": trained.changed},
            **setup.provenance(trained.config),
            "run_digest": trained.identity,
            "folds": list(trained.folds),
            "started": start.date,
            "ended": _utc(),
            "seconds": round(time.perf_counter() - start.seconds, 2),
            "peak_memory_mb": round(progress.peak_memory_mb) or None,
            **_device_memory(),
            "scans": scans,
            "inputs": inputs,
            "outputs": {path.relative_to(output).as_posix(): file_digest(path) for path in files},
        },
    )


def _input(index: int, row: WorklistRow, output: pathlib.Path, progress: Progress) -> ManifestInput:
    """The entry of a scan; its digest is of HU and slice positions."""
    entry: ManifestInput = {"index": index, "scan": row["scan"], "source": row.get("source", ""), "state": "skipped"}
    if not worklist.is_predicted(row):
        return {**entry, "problem": row["problem"]}
    entry["state"] = "kept" if row["scan"] in progress.kept else "predicted"
    entry["scan_digest"] = read_prediction(output / row["scan"] / PREDICTION_FILE)["scan_digest"]
    return entry


def _utc() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _device_memory() -> dict[str, int]:
    """Peak memory of the first accelerator since the process began; {} where its allocator does not count (CPUs)."""
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {} if peak is None else {"device_peak_memory_mb": round(peak / 1e6)}


def format_manifest(output: pathlib.Path) -> str:
    """What OUTPUT/manifest.json says, as a few lines for the terminal.

    Raises:
      InputError: it cannot be read.
    """
    record = read_json(output / MANIFEST_FILE)
    states = [entry["state"] for entry in record["inputs"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "none done"
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in ("ichjax", "jax", "python"))
    parts = [record["started"], duration(record["seconds"])]
    if record["peak_memory_mb"]:
        parts.append(f"at most {record['peak_memory_mb']} MB of memory")
    if "device_peak_memory_mb" in record:
        parts.append(f"at most {record['device_peak_memory_mb']} MB on the device")
    return "\n".join(
        [
            f"{output}: predictions",
            f"  scans       {record['scans']}: {counts}",
            f"  run         configuration {record['config_digest']}, parameters and settings {record['run_digest']}, "
            f"folds {', '.join(map(str, record['folds']))}",
            f"  made by     {versions} on {', '.join(record['devices'])}",
            f"  started     {', '.join(parts)}",
        ]
    )
