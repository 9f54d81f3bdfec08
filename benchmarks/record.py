"""Results of a benchmark: written as JSON with the machine, versions and date, and printed as a table."""

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
HIDDEN = ("says",)  # columns of the JSON file that no table shows


def device_name() -> str:
    """'nvidia-h200', or 'cpu-2-cores' without an accelerator."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return f"cpu-{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}-cores"
    return re.sub(r"[^a-z0-9]+", "-", device.device_kind.lower()).strip("-")


def publish(name: str, rows: list[dict], *, description: str, packages: Sequence[str] = ()) -> None:
    """Writes the results and prints them; the arguments are those of `write`."""
    path = write(name, rows, description=description, packages=packages)
    print(f"{description}\n\n{table(rows)}\n\nwritten: {path}")


def write(name: str, rows: list[dict], *, description: str, packages: Sequence[str] = ()) -> pathlib.Path:
    """Writes results/DEVICE/NAME.json: {'benchmark', 'device', 'machine', 'date', 'versions', 'said', 'rows'}.

    Args:
      name: of the benchmark.
      rows: its table.
      description: what was measured and how; 'said' in the file.
      packages: further packages whose versions are recorded.
    """
    content = {
        "benchmark": name,
        "device": device_name(),
        "machine": platform.machine(),
        "date": datetime.date.today().isoformat(),
        "versions": versions(packages),
        "said": description,
        "rows": rows,
    }
    path = RESULTS / device_name() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Versions of Python, the frameworks, and further packages."""
    names = (*FRAMEWORKS, *packages)
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def cells(rows: list[dict]) -> list[list[str]]:
    """The header and the rows as text, without `HIDDEN` columns; floats have four significant digits, None is '-'."""
    names = [name for name in rows[0] if name not in HIDDEN]
    return [names, *([_cell(row[name]) for name in names] for row in rows)]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(rows: list[dict]) -> str:
    """Rows as a table in Markdown, with the keys as header."""
    header, *body = (f"| {' | '.join(line)} |" for line in cells(rows))
    return "\n".join([header, f"|{'---|' * header.count(' | ')}---|", *body])


def table(rows: list[dict]) -> str:
    """Rows as aligned text, with the keys as header."""
    lines = cells(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)
