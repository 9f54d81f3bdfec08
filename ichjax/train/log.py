"""The log of a fold while it trains: JSON lines and TensorBoard events."""

import json
import pathlib

import jax
import tensorboardX

from ichjax import hosts
from ichjax.files import write_text


def device_memory() -> dict:
    """{'device_memory_gb': the most that one of this process's devices has held}, where the platform tells it."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [one["peak_bytes_in_use"] for one in stats if one and "peak_bytes_in_use" in one]
    return {"device_memory_gb": max(peaks) / 1e9} if peaks else {}


class FoldLog:
    """metrics.jsonl and TensorBoard events of one fold, one row an epoch."""

    def __init__(self, folder: pathlib.Path, *, epochs_done: int):
        """Opens the log in `folder`, keeping the rows of the first `epochs_done` epochs; only the first process
        writes."""
        self._writes = hosts.is_first()
        if not self._writes:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "metrics.jsonl"
        rows = read_rows(self._path)
        kept = [row for row in rows if row["epoch"] <= epochs_done]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        self._events = tensorboardX.SummaryWriter(str(folder / "events"))

    def write(self, row: dict) -> None:
        """Appends one epoch's row: numbers by name, with 'epoch' and 'step'."""
        if not self._writes:
            return
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            if name not in ("epoch", "step"):
                self._events.add_scalar(name, float(value), row["step"])

    def close(self) -> None:
        """Writes out the events."""
        if self._writes:
            self._events.close()


def read_rows(path: pathlib.Path) -> list[dict]:
    """The rows of a metrics.jsonl, a torn last line left out."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
