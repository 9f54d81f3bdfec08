"""Cross-validation with several seeds on the same folds: a run of each, and how much their scores differ."""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ichjax import config_check, hosts, xla
from ichjax.config import Config, with_training_seed
from ichjax.console import say
from ichjax.experiment import setup
from ichjax.experiment.crossval import claim_fold, crossval, method_folder
from ichjax.files import RESULTS_FILE, read_json, write_csv
from ichjax.methods import registry
from ichjax.report.tables.summary import SUMMARY_COLUMNS, estimates, number_text
from ichjax.report.tables.text import ruled_table
from ichjax.report.units import units_of

SEEDS_FILE = "seeds.csv"
SPREAD_HEAD = ("Method", "score", "mean", "SD", "lowest", "highest")


def crossval_seeds(config: Config, workdir: pathlib.Path) -> dict[int, str]:
    """Cross-validates the configuration once with each of `config.seeds` as `config.train.seed`.

    WORKDIR/seed_N is the run of seed N, the same as `crossval` with `config.train.seed=N`; WORKDIR/seeds.csv has the
    mean, the standard deviation and the range of each score over the seeds. Finished folds are not repeated. With
    `config.parallel_folds` that many trainings, of whatever fold and seed, share a program.

    Args:
      config: with at least one seed.
      workdir: receives everything.

    Returns:
      {subject number: one sentence} of the scans that could not be read.

    Raises:
      InputError: as `crossval`.
    """
    config_check.check(config)
    runs = {seed: with_training_seed(config, seed) for seed in config.seeds}
    if config.parallel_folds > 1:
        _train_together(runs, workdir)
    problems: dict[int, str] = {}
    for seed, own in runs.items():
        say(f"==== seed {seed}, one of {len(runs)} ====")
        problems |= crossval(own, seed_folder(workdir, seed))
    if hosts.is_first():
        _write_spread(config, workdir)
    return problems


def seed_folder(workdir: pathlib.Path, seed: int) -> pathlib.Path:
    """The work directory of one seed's run."""
    return workdir / f"seed_{seed}"


def _train_together(runs: Mapping[int, Config], workdir: pathlib.Path) -> None:
    """Trains the folds of all runs, `parallel_folds` of them at a time in one program."""
    first = next(iter(runs.values()))
    xla.start(deterministic=first.deterministic)
    experiments = {seed: setup.open_experiment(own, seed_folder(workdir, seed)) for seed, own in runs.items()}
    for name in (first.method, *first.compare_with):
        method = registry.make(name, first)  # the seed of a training is that of its `FoldScans`
        trainings = [
            experiment.fold_scans(fold, method_folder(seed_folder(workdir, seed), first, name), method.other_scans())
            for seed, experiment in experiments.items()
            for group in experiment.fold_groups()
            for fold in group
        ]
        for start in range(0, len(trainings), first.parallel_folds):
            group = trainings[start : start + first.parallel_folds]
            if len(group) == 1:  # left to `crossval`, which divides its batches over all devices
                continue
            with contextlib.ExitStack() as claims:
                for training in group:
                    claims.enter_context(claim_fold(training.folder))
                method.fit_together(group)


def spread(results: Mapping[int, Any]) -> list[dict[str, Any]]:
    """How much the scores of one method differ between seeds.

    Args:
      results: {seed: its results.json}.

    Returns:
      A row for each score of the summary that all seeds have: 'score' (its name), 'mean', 'sd' (of a sample, None for
      one seed), 'lowest', 'highest', and 'seed_N' for each.
    """
    by_seed = {seed: estimates(one) for seed, one in results.items()}
    rows = []
    for column in SUMMARY_COLUMNS:
        values = {seed: scores[column.key].value for seed, scores in by_seed.items()}
        if any(value is None for value in values.values()):
            continue
        numbers = np.array(list(values.values()), np.float64)
        rows.append(
            {
                "score": column.key,
                "mean": float(numbers.mean()),
                "sd": float(numbers.std(ddof=1)) if len(numbers) > 1 else None,
                "lowest": float(numbers.min()),
                "highest": float(numbers.max()),
                **{f"seed_{seed}": value for seed, value in values.items()},
            }
        )
    return rows


def _write_spread(config: Config, workdir: pathlib.Path) -> None:
    """Writes seeds.csv and prints the table."""
    records, cells = [], []
    for name in (config.method, *config.compare_with):
        folders = {seed: method_folder(seed_folder(workdir, seed), config, name) for seed in config.seeds}
        results: dict[int, Any] = {seed: read_json(folder / RESULTS_FILE) for seed, folder in folders.items()}
        title, units = next(iter(results.values()))["title"], units_of(*results.values())
        columns = {column.key: column for column in SUMMARY_COLUMNS}
        for row in spread(results):
            records.append({"method": name, **row})
            column = columns[row["score"]]
            unit = units.display(column.unit)
            cells.append(
                [title, column.title, *(number_text(row[key], unit) for key in ("mean", "sd", "lowest", "highest"))]
            )
    path = write_csv(workdir / SEEDS_FILE, records)
    seeds = ", ".join(map(str, config.seeds))
    table = "\n".join(ruled_table([list(SPREAD_HEAD)], cells))
    print(f"\nseeds {seeds}, the same folds:\n{table}\n\ntable: {path}", flush=True)
