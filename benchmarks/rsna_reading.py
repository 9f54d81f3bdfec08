"""DICOM slices per second that grain reads from a set in the RSNA 2019 layout, and the seconds that its index takes.

    python -m benchmarks.rsna_reading [--files=10000] [--slices=2000] [--rounds=3]

The files are copies of a calibrated phantom's slices (512 x 512) with other UIDs, in a temporary folder; 10,000 take
5 GB of disk. They have just been written, so the operating system holds them in memory: a disk must deliver 0.5 MB a
slice besides. CPU seconds hardly depend on what else the machine does; seconds do.
"""

import argparse
import os
import pathlib
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut
from tqdm import tqdm

from benchmarks import record
from ichjax.data import loader, rsna_index
from ichjax.data.rsna_labels import RSNA_FOLDERS, RSNA_HEADER, RSNA_TABLE, RSNA_TYPE
from ichjax.data.rsna_reader import ExampleOrder, ScanReader, SliceReader
from ichjax.phantom import write_dicom
from ichjax.phantom.subject import make_subject

DETECTION_BATCH = 32  # slices; of scans as many slices as this
SCAN_DEPTH = 40
TARGET_SLICES, TARGET_INDEX_S = 300, 60.0
PLACEHOLDERS = {"PatientID": "P" * 12, "StudyInstanceUID": "1.2.3.10000000", "SeriesInstanceUID": "1.2.4.10000000"}


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--slices", type=int, default=2000, help="read per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="calibrated", help="of the phantom")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        before, os.environ["ICHJAX_CACHE"] = os.environ.get("ICHJAX_CACHE"), str(pathlib.Path(folder) / "cache")
        try:
            root = pathlib.Path(folder) / "set"
            write_copies(root, options.files, preset=options.preset)
            load = os.getloadavg()[0]
            rows = measure(root, slices=options.slices, rounds=options.rounds)
        finally:
            os.environ.pop("ICHJAX_CACHE")
            if before is not None:
                os.environ["ICHJAX_CACHE"] = before
    description = (
        f"{options.files:,} uncompressed DICOM files in the RSNA 2019 layout, copies of a synthetic scan, held in "
        f"memory by the operating system. Medians of {options.rounds} rounds of {options.slices:,} slices in random "
        f"order, in batches of {DETECTION_BATCH} slices or one scan of {SCAN_DEPTH}. Other programs used the "
        f"{len(os.sched_getaffinity(0))} cores at the time (load average {load:.1f}); CPU milliseconds are of all "
        f"threads and processes. Goals: {TARGET_SLICES} slices a second, and an index of 10,000 files in "
        f"{TARGET_INDEX_S:.0f} s."
    )
    record.publish("rsna_reading", rows, description=description, packages=("grain", "numpy", "pydicom"))


def write_copies(root: pathlib.Path, files: int, *, preset: str = "calibrated") -> None:
    """Writes copies of one phantom's slices as so many files, each copy of the scan as another subject's study."""
    subject = make_subject(50, preset=preset)
    images = root / RSNA_FOLDERS[0]
    images.mkdir(parents=True)
    templates = []
    for d in range(len(subject.hu)):
        path = root / "template.dcm"
        write_dicom.write_slice(path, subject, d, PLACEHOLDERS)
        templates.append(path.read_bytes())
        path.unlink()
    names = [f"ID_{number:09x}" for number in random.Random(0).sample(range(16**9), files)]
    for k, name in enumerate(tqdm(names, desc="files", leave=False, disable=None)):
        study, d = divmod(k, len(templates))
        header, content = templates[d][:4096], templates[d][4096:]
        for value in PLACEHOLDERS.values():
            header = header.replace(value.encode(), f"{value[:7]}{study:0{len(value) - 7}d}".encode())
        (images / f"{name}.dcm").write_bytes(header + content)
    rows = [f"{name}_{kind},0" for name in names for kind in RSNA_TYPE.values()]
    (root / RSNA_TABLE).write_text("\n".join([RSNA_HEADER, *rows]) + "\n")


def measure(root: pathlib.Path, *, slices: int, rounds: int) -> list[dict]:
    """The rows of the table."""
    rows = []
    for what, workers in (("index, two processes", 2), ("index again", 2)):
        seconds, cpu_s, index = timed(lambda workers=workers: rsna_index.open_index(root, workers=workers))
        rows.append(row(what, len(index.names), [(seconds, cpu_s)]))
    slice_order = ExampleOrder(np.arange(len(index.names)), seed=0)
    slice_reader, scan_reader = SliceReader(index), ScanReader(index, depth=SCAN_DEPTH)
    scan_order = ExampleOrder(np.arange(len(scan_reader.first)), seed=0)
    per_scan = min(SCAN_DEPTH, int(index.scans["slices"].max()))
    variants: dict[str, Callable[[], int]] = {"pydicom, one thread": lambda: read_by_pydicom(index, slices)}
    for threads in (0, 1, 2, 4):
        variants[f"slices, {threads} threads"] = lambda threads=threads: read(
            slice_reader, slice_order, DETECTION_BATCH, -(-slices // DETECTION_BATCH), threads
        )
    variants["scans, 2 threads"] = lambda: per_scan * read(scan_reader, scan_order, 1, -(-slices // per_scan), 2)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    counts = {}
    for _ in range(rounds):
        for name, work in variants.items():
            seconds, cpu_s, counts[name] = timed(work)
            found[name].append((seconds, cpu_s))
    return rows + [row(name, counts[name], each) for name, each in found.items()]


def timed(work: Callable) -> tuple:
    """(seconds, CPU seconds of this process and of those that it started, the result)."""
    before, started = cpu_seconds(), time.perf_counter()
    result = work()
    return time.perf_counter() - started, cpu_seconds() - before, result


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def row(what: str, files: int, rounds: list[tuple[float, float]]) -> dict:
    """A row of the table, from (seconds, CPU seconds) of each round."""
    seconds = [one for one, _ in rounds]
    return {
        "what": what,
        "files": files,
        "seconds": statistics.median(seconds),
        "files a second": files / statistics.median(seconds),
        "least": files / max(seconds),
        "most": files / min(seconds),
        "CPU ms a file": 1000 * statistics.median(cpu for _, cpu in rounds) / files,
    }


def read(reader: loader.Reader, order: ExampleOrder, batch_size: int, steps: int, threads: int) -> int:
    """Reads so many batches through grain and discards them; returns the number of examples."""
    batches = loader.training_batches(
        reader, order, batch_size=batch_size, start_step=0, stop_step=steps, threads=threads, prefetch=2
    )
    return sum(int(batch["weight"].sum()) for batch in batches)


def read_by_pydicom(index: rsna_index.RsnaIndex, slices: int) -> int:
    """Reads so many slices as pydicom's users do; returns their number."""
    for number in ExampleOrder(np.arange(len(index.names)), seed=0).order(0)[:slices].tolist():
        dataset = pydicom.dcmread(index.path(number))
        apply_modality_lut(dataset.pixel_array, dataset)
    return min(slices, len(index.names))


if __name__ == "__main__":
    main()
