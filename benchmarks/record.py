"""What every benchmark writes: its figures with the machine, the versions and the day they were measured on."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
from collections.abc import Sequence

import jax

RESULTS = pathlib.Path(__file__).parent / "results"
FRAMEWORKS = ("jax", "jaxlib", "flax", "optax")


def device_name() -> str:
    """'nvidia-h200', or 'cpu-2-cores' where there is no accelerator."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return f"cpu-{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}-cores"
    return re.sub(r"[^a-z0-9]+", "-", device.device_kind.lower()).strip("-")


def write(name: str, rows: list[dict], *, said: str, packages: Sequence[str] = ()) -> pathlib.Path:
    """Writes results/DEVICE/NAME.json: {'benchmark', 'device', 'date', 'versions', 'said', 'rows'}.

    Args:
      name: of the benchmark.
      rows: its table.
      said: what a reader has to know of it.
      packages: whose versions count, besides ours.
    """
    content = {
        "benchmark": name,
        "device": device_name(),
        "machine": platform.machine(),
        "date": datetime.date.today().isoformat(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in (*FRAMEWORKS, *packages)},
        "said": said,
        "rows": rows,
    }
    path = RESULTS / device_name() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def table(rows: list[dict]) -> str:
    """Rows as aligned text, with the keys as heads."""
    cells = [list(rows[0]), *([text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in cells)


def text(value: object) -> str:
    """A value as a table shows it: a number with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
