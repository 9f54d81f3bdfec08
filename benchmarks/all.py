"""Run every benchmark on this machine and write one page with all tables.

    python -m benchmarks.all [--only=train_step,postprocess]

If a benchmark fails, it is reported and the others still run. The page, results/DEVICE.md, is made from the newest JSON
file of each benchmark on this kind of device, so benchmarks can be repeated one by one.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

from benchmarks import record

# {name: (module, its options)}; the longest run last.
RUNS = {
    "postprocess": ("postprocess",),
    "input_pipeline": ("input_pipeline",),
    "rsna_reading": ("rsna_reading",),
    "roofline": ("roofline",),
    "scaling": ("scaling",),
    "train_epoch": ("train_epoch",),
    "forward": ("train_step", "--work=forward"),
    "train_step": ("train_step",),
    "forms": ("forms",),
    "predict_scan": ("predict_scan",),
}
TITLES = {  # in the page's order
    "train_step": "Training step",
    "forward": "Forward pass",
    "forms": "Forms of the layers",
    "train_epoch": "Training epoch from scans on disk",
    "train_epoch_resident": "Training epoch with the scans in the device's memory",  # train_epoch --resident --peers=
    "predict_scan": "A scan from HU to mask and volume",
    "postprocess": "Stitching, thresholds, morphology and scores",
    "input_pipeline": "Reading patches",
    "rsna_reading": "Reading the RSNA 2019 layout",
    "roofline": "Share of what the machine can do",
    "scaling": "Several devices",
    "volume_interval": "Coverage of volume intervals",  # needs a finished run
    "nnunet": "nnU-Net on the same folds with the same compute",  # `make nnunet` measures it
}


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmarks, writes the page, and returns how many benchmarks failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="some of " + ", ".join(RUNS))
    options = parser.parse_args(argv)
    names = options.only.split(",") if options.only else list(RUNS)
    for name in names:
        if name not in RUNS:
            parser.error(f"--only names {name!r}; expected some of {', '.join(RUNS)}")
    failed = []
    for name in names:
        started = time.perf_counter()
        module, *arguments = RUNS[name]
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
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
    lines = record.markdown(content["rows"])
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    return f"## {title}\n\n{content['said']}\n\n{lines}\n\n{content['date']}, {content['machine']}; {versions}.\n"


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
