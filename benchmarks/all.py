"""Every benchmark that fits this machine, one after the other, and one page of all their tables.

    python -m benchmarks.all [--only=train_step,postprocess]

A benchmark that fails is named, and the others run. The page, results/DEVICE.md, is made of the newest JSON file of
each benchmark on this kind of device, so single ones can be run again.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

from benchmarks import record

# With the options of each; what takes longest comes last.
RUNS = {
    "postprocess": [],
    "input_pipeline": [],
    "roofline": [],
    "scaling": [],
    "train_epoch": [],
    "forward": ["--work=forward"],
    "train_step": [],
    "predict_scan": [],
}
MODULES = {"forward": "train_step"}
TITLES = {
    "train_step": "Training step",
    "forward": "Forward pass",
    "train_epoch": "Training epoch from scans on disk",
    "predict_scan": "A scan from HU to mask and volume",
    "postprocess": "Stitching, thresholds, morphology and scores",
    "input_pipeline": "Reading patches",
    "roofline": "Share of what the machine can do",
    "scaling": "Several devices",
}
HIDDEN = ("says",)  # columns for the JSON file only


def main(argv: list[str] | None = None) -> int:
    """Runs, writes the page; returns how many benchmarks failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="some of " + ", ".join(RUNS))
    options = parser.parse_args(argv)
    chosen = options.only.split(",") if options.only else list(RUNS)
    for name in chosen:
        if name not in RUNS:
            parser.error(f"--only names {name!r}; expected some of {', '.join(RUNS)}")
    failed = []
    for name in chosen:
        started = time.perf_counter()
        command = [sys.executable, "-m", f"benchmarks.{MODULES.get(name, name)}", *RUNS[name]]
        print(f"\n== {name}", flush=True)
        if subprocess.run(command, cwd=pathlib.Path(__file__).parents[1]).returncode:
            failed.append(name)
        print(f"== {name}: {time.perf_counter() - started:.0f} s", flush=True)
    print(f"\nwritten: {write_page(record.RESULTS, record.device_name())}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return len(failed)


def write_page(results: pathlib.Path, device: str) -> pathlib.Path:
    """Writes results/DEVICE.md from results/DEVICE/*.json, and returns its path."""
    parts = [f"# Benchmarks on {device}\n"]
    for name, title in TITLES.items():
        path = results / device / f"{name}.json"
        if path.is_file():
            parts.append(_section(title, json.loads(path.read_text())))
    page = results / f"{device}.md"
    page.write_text("\n".join(parts))
    return page


def _section(title: str, content: dict) -> str:
    rows = [{name: value for name, value in row.items() if name not in HIDDEN} for row in content["rows"]]
    head = f"| {' | '.join(rows[0])} |\n|{'|'.join('---' for _ in rows[0])}|"
    lines = "\n".join(f"| {' | '.join(record.text(value) for value in row.values())} |" for row in rows)
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    return (
        f"## {title}\n\n{content['said']}\n\n{head}\n{lines}\n\n{content['date']}, {content['machine']}; {versions}.\n"
    )


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
