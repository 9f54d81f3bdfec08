"""The training log of a fold: JSON lines and TensorBoard events."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import tensorboardX

from ichjax import hosts
from ichjax.files import write_text


def device_memory() -> dict[str, float]:
    """{'device_memory_gb': peak memory of any device of this process}; {} if the platform does not report it."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [one["peak_bytes_in_use"] for one in stats if one and "peak_bytes_in_use" in one]
    return {"device_memory_gb": max(peaks) / 1e9} if peaks else {}


class FoldLog:
    """metrics.jsonl and TensorBoard events of one fold, one row per epoch; only the first process writes."""

    def __init__(self, folder: pathlib.Path, *, epochs_done: int):
        """Opens the log in `folder` and keeps the rows of the first `epochs_done` epochs."""
        self._writes = hosts.is_first()
        if not self._writes:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "metrics.jsonl"
        kept = [row for row in read_rows(self._path) if row["epoch"] <= epochs_done]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        self._events = tensorboardX.SummaryWriter(str(folder / "events"))

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends the row of one epoch: numbers by name, with 'epoch' and 'step'."""
        if not self._writes:
            return
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            if name not in ("epoch", "step"):
                self._events.add_scalar(name, float(value), row["step"])

    def close(self) -> None:
        """Flushes the events."""
        if self._writes:
            self._events.close()


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, without an incomplete last line."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
