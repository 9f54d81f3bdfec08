"""The run manifest of `predict`: manifest.json says which command made an output folder, from what and at what cost."""

import dataclasses
import datetime
import pathlib
import time
from collections.abc import Collection, Mapping, Sequence

import jax

from ichjax.console import duration
from ichjax.experiment import setup
from ichjax.files import read_json, write_json
from ichjax.inference.discover import PREDICTION_FILE, Source
from ichjax.inference.model import TrainedRun
from ichjax.inference.output import file_digest
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


def write(
    output: pathlib.Path,
    trained: TrainedRun,
    sources: Sequence[Source],
    rows: Sequence[WorklistRow],
    *,
    options: Mapping[str, object],
    kept: Collection[str],
    start: Start,
    peak_memory_mb: float,
) -> None:
    """Writes OUTPUT/manifest.json about the command that ends now; an earlier command's is replaced.

    Args:
      output: the output folder.
      trained: the run that predicted.
      sources: all scans of the command, also those that it did not come to.
      rows: of the worklist, for the scans that it came to.
      options: of the command, by name; no paths.
      kept: names of the scans that an earlier command had predicted.
      start: of the command.
      peak_memory_mb: the largest resident memory of the process during the command.
    """
    by_name = {row["scan"]: row for row in rows}
    inputs = [_input(index, source, by_name.get(source.name), output, kept) for index, source in enumerate(sources, 1)]
    folders = [output / entry["scan"] for entry in inputs if entry["state"] in ("predicted", "kept")]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    write_json(
        output / MANIFEST_FILE,
        {
            "schema": MANIFEST_SCHEMA,
            "command": "predict",
            "options": dict(options),
            **setup.provenance(trained.config),
            "run_digest": trained.identity,
            "folds": list(trained.folds),
            "started": start.date,
            "ended": _utc(),
            "seconds": round(time.perf_counter() - start.seconds, 2),
            "peak_memory_mb": round(peak_memory_mb),
            **_device_memory(),
            "inputs": inputs,
            "outputs": {path.relative_to(output).as_posix(): file_digest(path) for path in files},
        },
    )


def _input(
    index: int, source: Source, row: WorklistRow | None, output: pathlib.Path, kept: Collection[str]
) -> ManifestInput:
    """The entry of a scan; its digest is of HU and slice positions."""
    entry: ManifestInput = {"index": index, "scan": source.name, "state": "not reached"}
    if row is None:
        return entry
    if "volume_ml" not in row:
        return {**entry, "state": "skipped", "problem": row["problem"]}
    entry["state"] = "kept" if source.name in kept else "predicted"
    entry["scan_digest"] = read_prediction(output / source.name / PREDICTION_FILE)["scan_digest"]
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
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in ("ichjax", "jax", "python"))
    memory = f"{record['peak_memory_mb']} MB of memory at most"
    if "device_peak_memory_mb" in record:
        memory += f", {record['device_peak_memory_mb']} MB on the device"
    return "\n".join(
        [
            f"{output}: predictions",
            f"  scans       {len(states)}: {counts}",
            f"  run         configuration {record['config_digest']}, parameters and settings {record['run_digest']}, "
            f"folds {', '.join(map(str, record['folds']))}",
            f"  made by     {versions} on {', '.join(record['devices'])}",
            f"  started     {record['started']}; {duration(record['seconds'])}, {memory}",
        ]
    )
