"""Patches a second that grain reads from scans on disk, and how long training waits for them.

    python -m benchmarks.input_pipeline [--subjects=6] [--width=16] [--batch=8] [--rounds=5]

The scans are calibrated phantoms of 512 x 512, made once (a minute on two cores) and read through the cache as in any
run. Waiting is what `ichjax.train` writes of it into metrics.jsonl.
"""

import argparse
import itertools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence

import jax
import ml_collections
from tqdm import tqdm

from benchmarks import contest, record
from benchmarks.contest import PATCH_SIDE, PATCH_STRIDE
from ichjax import config as configs
from ichjax.data import dataset as datasets
from ichjax.data import loader, scan_cache
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.data.scan_cache import CachedScan
from ichjax.models import unet
from ichjax.phantom import store
from ichjax.train import log, loop

THREADS = (0, 1, 2, 4)  # 0: read in the thread that asks
BATCHES = (8, 32, 128)
MEASURED_EPOCHS = 3
WARM_UP = 4  # batches


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    gpu = jax.default_backend() != "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=40 if gpu else 6, help="phantoms")
    parser.add_argument("--patches", type=int, default=8192, help="read in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=64 if gpu else 16, help="of the network that trains")
    parser.add_argument("--batch", type=int, default=128 if gpu else 8, help="of its training step")
    parser.add_argument("--examples", type=int, default=0 if gpu else 96, help="of an epoch; 0: all there are")
    options = parser.parse_args(argv)
    scans = open_phantoms(options.subjects)
    read = grain_alone(scans, patches=options.patches, rounds=options.rounds)
    config = training_config(options.width, options.batch, options.examples, "bfloat16" if gpu else "float32")
    epochs = training_epochs(config, scans)
    taken = statistics.median(epoch["examples_per_second"] for epoch in epochs)
    rows = [
        {"what": f"grain alone, {threads} threads, batches of {batch}", **figures, "waiting %": ""}
        for (threads, batch), figures in read.items()
    ]
    for epoch in epochs:
        rate = epoch["examples_per_second"]
        figures = {"patches a second": rate, "least": "", "most": "", "waiting %": 100 * epoch["wait_share"]}
        rows.append({"what": f"training, epoch {epoch['epoch']}", **figures})
    rows = [{**row, "times what training takes": row["patches a second"] / taken} for row in rows]
    said = (
        f"Patches of {PATCH_SIDE} x {PATCH_SIDE} and their masks from {len(scans)} synthetic scans of 512 x 512, in "
        "the order of training, from the cache's files, which the operating system holds in memory; medians of "
        f"{options.rounds} rounds of {options.patches:,} patches, the variants in turn. Training: base width "
        f"{options.width}, batches of {options.batch}, {config.train.read_threads} reading threads, "
        f"{config.model.dtype}, augmentation; waiting is the share of an epoch in which the next batch was not there "
        "yet."
    )
    path = record.write("input_pipeline", rows, said=said, packages=("grain", "numpy"))
    print(f"{said}\n\n{record.table(rows)}\n\nwritten: {path}")


def open_phantoms(subjects: int) -> list[CachedScan]:
    """Calibrated phantoms through the cache; made if they are not there yet."""
    root = store.dataset_root("", preset="calibrated", subjects=subjects, seed=0)
    scans, _ = scan_cache.open_scans(datasets.read_dataset(root).subjects)
    return scans


def grain_alone(scans: Sequence[CachedScan], *, patches: int, rounds: int) -> dict[tuple[int, int], dict]:
    """Reads training batches and does nothing with them.

    Args:
      scans: of any depth.
      patches: read in a round, a few batches before the clock starts not counted.
      rounds: each goes through all the variants.

    Returns:
      {(threads, batch size): {'patches a second', 'least', 'most'}}, in whole patches.
    """
    table = patch_table(scans, side=PATCH_SIDE, stride=PATCH_STRIDE)
    reader, epochs = loader.PatchReader(scans, table), Epochs(table, "matched", seed=0, fold=0)
    seconds = {variant: [] for variant in itertools.product(THREADS, BATCHES) if variant[1] <= epochs.examples}
    for _ in tqdm(range(rounds), desc="reading", leave=False):
        for (threads, batch), found in seconds.items():
            count = -(-patches // batch)
            steps = {"start_step": 0, "stop_step": WARM_UP + count}
            batches = loader.training_batches(reader, epochs, batch_size=batch, threads=threads, **steps)
            for _ in range(WARM_UP):
                next(batches)
            started = time.perf_counter()
            got = sum(len(each["index"]) for each in batches)
            found.append((time.perf_counter() - started) / got)
    named = {"median": "patches a second", "least": "least", "most": "most"}
    return {
        variant: {named[name]: round(value) for name, value in contest.summary(found).items()}
        for variant, found in seconds.items()
    }


def training_config(width: int, batch: int, examples: int, dtype: str) -> ml_collections.ConfigDict:
    """The paper's network on patches of `PATCH_SIDE`, for a few epochs; only the sizes differ from a real run's."""
    config = configs.default()
    fields = {"patch.side": PATCH_SIDE, "patch.stride": PATCH_STRIDE, "model.base_width": width, "model.dtype": dtype}
    fields |= {"train.epochs": MEASURED_EPOCHS, "train.batch_size": batch, "train.examples_per_epoch": examples}
    config.update_from_flattened_dict(fields)
    return config


def training_epochs(config: ml_collections.ConfigDict, scans: Sequence[CachedScan]) -> list[dict]:
    """Trains on all scans but one, and returns the rows of metrics.jsonl, one an epoch.

    Raises:
      ValueError: fewer than two scans with a hemorrhage.
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
