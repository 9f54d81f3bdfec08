"""Patches per second that grain reads from scans on disk, and how long training waits for them.

    python -m benchmarks.input_pipeline [--subjects=6] [--width=16] [--batch=8] [--rounds=5]

The scans are calibrated phantoms of 512 x 512, made once (a minute on two cores) and read through the cache as in any
run. The waiting time is the one that `ichjax.train` writes to metrics.jsonl.
"""

import argparse
import itertools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence

import jax
from tqdm import tqdm

from benchmarks import contest, record
from benchmarks.contest import PATCH_SIDE, PATCH_STRIDE
from benchmarks.our_work import paper_config
from ichjax.config import Config
from ichjax.data import dataset as datasets
from ichjax.data import loader, scan_cache
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.data.scan_cache import CachedScan
from ichjax.models import unet
from ichjax.phantom import store
from ichjax.train import log, loop

THREADS = (0, 1, 2, 4)  # 0: read in the consuming thread
BATCHES = (8, 32, 128)
MEASURED_EPOCHS = 3
WARM_UP = 4  # batches


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=40 if gpu else 6, help="phantoms")
    parser.add_argument("--patches", type=int, default=8192, help="per round of reading")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=64 if gpu else 16, help="of the trained network")
    parser.add_argument("--batch", type=int, default=128 if gpu else 8, help="of its training step")
    parser.add_argument("--examples", type=int, default=0 if gpu else 96, help="per epoch; 0: all")
    options = parser.parse_args(argv)
    scans = open_phantoms(options.subjects)
    rates = reading_rates(scans, patches=options.patches, rounds=options.rounds)
    fields = {"patch.stride": PATCH_STRIDE, "train.epochs": MEASURED_EPOCHS}
    fields["train.examples_per_epoch"] = options.examples
    config = paper_config(options.width, PATCH_SIDE, options.batch, "bfloat16" if gpu else "float32", **fields)
    epochs = training_epochs(config, scans)
    rows = [
        {
            "what": f"grain alone, {threads} threads, batches of {batch}",
            "patches a second": round(rate.median),
            "least": round(rate.least),
            "most": round(rate.most),
            "waiting %": "",
        }
        for (threads, batch), rate in rates.items()
    ]
    for epoch in epochs:
        figures = {"patches a second": epoch["examples_per_second"], "least": "", "most": ""}
        rows.append({"what": f"training, epoch {epoch['epoch']}", **figures, "waiting %": 100 * epoch["wait_share"]})
    trained = statistics.median(epoch["examples_per_second"] for epoch in epochs)
    rows = [{**row, "times what training takes": row["patches a second"] / trained} for row in rows]
    description = (
        f"Patches of {PATCH_SIDE} x {PATCH_SIDE} and their masks from {len(scans)} synthetic scans of 512 x 512, in "
        "the order of training, from the cache's files, which the operating system holds in memory; medians of "
        f"{options.rounds} alternating rounds of {options.patches:,} patches. Training: base width {options.width}, "
        f"batches of {options.batch}, {config.train.read_threads} reading threads, {config.model.dtype}, augmentation; "
        "waiting is the share of an epoch spent waiting for the next batch."
    )
    record.publish("input_pipeline", rows, description=description, packages=("grain", "numpy"))


def open_phantoms(subjects: int) -> list[CachedScan]:
    """Opens calibrated phantoms through the cache, after making them if needed."""
    root = store.dataset_root("", preset="calibrated", subjects=subjects, seed=0)
    scans, _ = scan_cache.open_scans(datasets.read_dataset(root).subjects)
    return scans


def reading_rates(scans: Sequence[CachedScan], *, patches: int, rounds: int) -> dict[tuple[int, int], contest.Rate]:
    """Reads training batches and discards them.

    Args:
      scans: of any depth.
      patches: per round, after some uncounted batches to warm up.
      rounds: each runs all variants.

    Returns:
      {(threads, batch size): patches per second}.
    """
    table = patch_table(scans, side=PATCH_SIDE, stride=PATCH_STRIDE)
    reader, epochs = loader.PatchReader(scans, table), Epochs(table, "matched", seed=0, fold=0)
    seconds = {variant: [] for variant in itertools.product(THREADS, BATCHES) if variant[1] <= epochs.examples}
    for _ in tqdm(range(rounds), desc="reading", leave=False):
        for (threads, batch), seconds_per_patch in seconds.items():
            steps = {"start_step": 0, "stop_step": WARM_UP + -(-patches // batch)}
            batches = loader.training_batches(reader, epochs, batch_size=batch, threads=threads, **steps)
            for _ in range(WARM_UP):
                next(batches)
            started = time.perf_counter()
            count = sum(len(each["index"]) for each in batches)
            seconds_per_patch.append((time.perf_counter() - started) / count)
    return {variant: contest.rate(each) for variant, each in seconds.items()}


def training_epochs(config: Config, scans: Sequence[CachedScan]) -> list[dict]:
    """Trains on all scans but one, and returns the rows of metrics.jsonl, one per epoch.

    Raises:
      ValueError: fewer than two scans have a hemorrhage.
    """
    bleeding = sorted((scan for scan in scans if scan.truth_px.any()), key=lambda scan: (scan.truth_px > 0).sum())
    if len(bleeding) < 2:
        raise ValueError(f"{len(bleeding)} of {len(scans)} scans have a hemorrhage; expected 2 or more: --subjects")
    valid, train = bleeding[:1], [scan for scan in scans if scan is not bleeding[0]]
    with tempfile.TemporaryDirectory() as folder:
        loop.train_fold(config, unet.network_from_config(config), train, valid, folder=pathlib.Path(folder), fold=0)
        return log.read_rows(pathlib.Path(folder) / "metrics.jsonl")


if __name__ == "__main__":
    main()
