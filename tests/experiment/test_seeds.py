"""Cross-validation with several seeds: a run of each on the same folds, the table of their spread, what is refused."""

import csv
import json

import chex
import jax
import numpy as np
import pytest

from ichjax import config_check
from ichjax.errors import InputError
from ichjax.experiment import crossval, seeds, setup
from ichjax.methods import registry, unet
from ichjax.train import fold_programs, parallel_folds
from tests.commands import call

SEEDS = (3, 5)
SMALL = {"model.depth": 1, "model.dropout": 0.3, "model.norm": "none", "train.epochs": 1, "folds": (1,)}


@pytest.fixture(scope="module")
def run(config_file, tiny_config, tmp_path_factory):
    """run(**fields): (words of a cross-validation with both seeds, its folder)."""

    def make(**fields):
        folder = tmp_path_factory.mktemp("seeds")
        path = config_file(folder, tiny_config(**SMALL, **fields, seeds=SEEDS))
        return ["crossval", f"--config={path}", f"--workdir={folder / 'run'}"], folder / "run"

    return make


@pytest.fixture(scope="module")
def threshold(run):
    """(words, folder, what was printed) of the threshold, which knows no seed."""
    words, folder = run(method="threshold", compare_with=())
    status, said = call(*words)
    assert status == 0, said
    return words, folder, said


def results_of(folder, seed):
    return json.loads((folder / f"seed_{seed}" / "results.json").read_text())


def test_each_seed_has_a_run_on_the_same_folds(threshold):
    words, folder, said = threshold
    for seed in SEEDS:
        assert f"==== seed {seed}, one of 2 ====" in said
        assert (folder / f"seed_{seed}" / "report.html").is_file()
        assert setup.load_config(folder / f"seed_{seed}").train.seed == seed
    assert len({(folder / f"seed_{seed}" / "splits.json").read_text() for seed in SEEDS}) == 1
    rows = list(csv.DictReader((folder / "seeds.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == {"threshold"}
    assert {float(row["sd"]) for row in rows} == {0.0}
    dice = next(row for row in rows if row["score"] == "dice")
    for seed in SEEDS:
        assert float(dice[f"seed_{seed}"]) == results_of(folder, seed)["conventions"]["paper"]["dice"]["mean"]
    assert f"{float(dice['mean']):.3f}" in said.rpartition("the same folds:")[2]
    status, said = call(*words)
    assert (status, said.count("fold 1: already done")) == (0, 2)


def test_the_spread_by_hand(threshold):
    results = {seed: results_of(threshold[1], seed) for seed in SEEDS}
    for seed, dice in zip(SEEDS, (0.5, 0.6), strict=True):
        results[seed]["conventions"]["paper"]["dice"]["mean"] = dice
    row = next(row for row in seeds.spread(results) if row["score"] == "dice")
    assert row["mean"] == pytest.approx(0.55)
    assert row["sd"] == pytest.approx(0.1 / np.sqrt(2))
    assert (row["lowest"], row["highest"], row["seed_3"], row["seed_5"]) == (0.5, 0.6, 0.5, 0.6)
    results[5]["conventions"]["paper"]["dice"]["mean"] = None  # of a score that one seed lacks, there is no row
    assert "dice" not in [row["score"] for row in seeds.spread(results)]
    assert all(row["sd"] is None for row in seeds.spread({3: results[3]}))


def test_other_commands_name_the_run_of_a_seed(threshold):
    words, folder, _ = threshold
    status, said = call("report", f"--workdir={folder}")
    assert status == 2
    assert said.strip().endswith("holds runs of several seeds; expected one of them, such as seed_3")
    status, said = call("train", words[1], f"--workdir={folder}")
    assert status == 2
    assert "config.seeds is (3, 5); expected () with `train`" in said


@pytest.mark.faults
def test_trainings_of_several_seeds_share_a_program(run, tiny_config, tmp_path, monkeypatch):
    """Each has the parameters of its own run; finished ones are only read."""
    words, folder = run(compare_with=(), parallel_folds=2)
    make = fold_programs.make_fold_step
    monkeypatch.setattr(parallel_folds, "make_fold_step", lambda *a: chex.assert_max_traces(make(*a), n=1))
    chex.clear_trace_counter()
    status, said = call(*words)
    assert status == 0, said
    assert "fold 1 (seed 3) epoch   1/1" in said
    assert "fold 1 (seed 5) epoch   1/1" in said
    alone = tiny_config(**SMALL, compare_with=(), **{"train.seed": 5})
    crossval.crossval(alone, tmp_path / "alone")
    load = registry.make("unet", alone).load
    first, second = (load(folder / f"seed_{seed}" / "fold_1").weights for seed in SEEDS)
    chex.assert_trees_all_close(second, load(tmp_path / "alone" / "fold_1").weights, atol=2e-5)
    assert min(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (first, second)), strict=True)) > 1e-4
    monkeypatch.setattr(unet.UNetMethod, "predict", None)
    status, said = call(*words)
    assert status == 0, said
    assert said.count("fold 1: already done") == 2


def test_trainings_are_grouped_over_seeds_and_folds(tiny_config, tmp_path, monkeypatch):
    """Each group is locked; one that is left alone is trained as ever."""
    config = tiny_config(seeds=SEEDS, parallel_folds=5, compare_with=())
    groups, locked = [], []

    def fit_together(method, group):
        groups.append([(one.seed, one.number, one.folder.relative_to(tmp_path).as_posix()) for one in group])
        locked.append(sorted(path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(".claim")))

    monkeypatch.setattr(unet.UNetMethod, "fit_together", fit_together)
    monkeypatch.setattr(seeds, "crossval", lambda own, folder: {own.train.seed: folder.name})
    monkeypatch.setattr(seeds, "_write_spread", lambda config, workdir: None)
    assert seeds.crossval_seeds(config, tmp_path) == {3: "seed_3", 5: "seed_5"}
    expected = [(seed, fold, f"seed_{seed}/fold_{fold}") for seed in SEEDS for fold in range(3)]
    assert groups == [expected[:5]]
    assert locked == [[folder for _, _, folder in expected[:5]]]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"seeds": (1, 1)}, r"config\.seeds is \(1, 1\); expected distinct whole numbers from 0, or \(\) for one run"),
        ({"seeds": (-1,)}, r"config\.seeds is \(-1,\); expected distinct"),
        ({"seeds": (True,)}, r"config\.seeds is \(True,\); expected distinct"),
        ({"seeds": (1, 2), "train.seed": 3}, r"config\.train\.seed is 3; expected -1 with config\.seeds"),
        ({"train.seed": -2}, r"config\.train\.seed is -2; expected at least -1"),
    ],
)
def test_seeds_that_no_run_can_have_are_refused(tiny_config, tmp_path, fields, sentence):
    config = tiny_config(**fields)
    with pytest.raises(InputError, match=sentence):
        config_check.check(config)
    if config.seeds:
        with pytest.raises(InputError, match=sentence):
            seeds.crossval_seeds(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
