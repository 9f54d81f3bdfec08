"""Training a fold: the log, the best epoch, exact resumption, and reports of collapse and divergence."""

import dataclasses
import json
import math
import shutil

import jax
import numpy as np
import pytest

from ichjax.errors import InputError
from ichjax.models import unet
from ichjax.train import checkpoint, loop
from ichjax.train import fold as folds


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """(the folder of an undisturbed run of three epochs, its result)."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder, **{"train.epochs": 3})


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_each_epoch_has_a_row_and_the_best_is_returned(whole):
    folder, fitted = whole
    rows = rows_of(folder)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    steps = rows[0]["step"]
    assert [row["step"] for row in rows] == [steps, 2 * steps, 3 * steps]
    expected = {
        "epoch", "step", "learning_rate", "loss", "gradient_norm", "examples_per_second", "wait_share", "seconds",
        "validation_loss", "validation_jaccard", "validation_dice", "constant_output", "skipped",
    }  # fmt: skip
    assert all(row.keys() == expected for row in rows)
    assert rows[2]["loss"] < rows[0]["loss"]
    best = max(rows, key=lambda row: row["validation_jaccard"])
    assert (fitted.epoch, fitted.validation_jaccard) == (best["epoch"], best["validation_jaccard"])
    assert list((folder / "events").iterdir())


@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_run_resumes_to_the_same_bits(train, whole, tmp_path, monkeypatch, after):
    report = folds.report_epoch

    def killed(fold, row, epochs, unit):
        if row["epoch"] == after:
            raise KeyboardInterrupt
        report(fold, row, epochs, unit)

    monkeypatch.setattr(folds, "report_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, **{"train.epochs": 3})
    with (tmp_path / "metrics.jsonl").open("a") as file:  # as after a kill during the next epoch
        file.write(json.dumps({"epoch": after + 1, "step": 0}) + "\n" + '{"epoch": ')
    monkeypatch.setattr(folds, "report_epoch", report)
    fitted = train(tmp_path, **{"train.epochs": 3})
    folder, expected = whole
    jax.tree.map(np.testing.assert_array_equal, fitted.params, expected.params)
    assert (fitted.epoch, fitted.validation_jaccard) == (expected.epoch, expected.validation_jaccard)
    timing = ("examples_per_second", "wait_share", "seconds")
    ours, theirs = ([{k: v for k, v in r.items() if k not in timing} for r in rows_of(f)] for f in (tmp_path, folder))
    assert ours == theirs


def test_a_finished_fold_is_only_read(train, whole, monkeypatch, capsys):
    folder, expected = whole
    monkeypatch.setattr(loop.epoch, "run_epoch", None)
    fitted = train(folder, **{"train.epochs": 3})
    jax.tree.map(np.testing.assert_array_equal, fitted.params, expected.params)
    assert fitted.epoch == expected.epoch
    assert len(rows_of(folder)) == 3
    assert capsys.readouterr().out == ""


def test_a_damaged_checkpoint_costs_its_epoch_and_no_bit(train, whole, tmp_path, capsys):
    folder, expected = whole
    shutil.copytree(folder, tmp_path / "fold")
    steps = rows_of(folder)[-1]["step"]
    for path in (tmp_path / "fold" / "checkpoints" / str(steps) / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    fitted = train(tmp_path / "fold", **{"train.epochs": 3})
    output = capsys.readouterr().out
    assert f"{steps}: the checkpoint cannot be read" in output
    assert f"resuming after step {steps // 3 * 2}" in output
    jax.tree.map(np.testing.assert_array_equal, fitted.params, expected.params)
    assert [row["epoch"] for row in rows_of(tmp_path / "fold")] == [1, 2, 3]


def test_the_best_epoch_is_returned_not_the_last(train, tmp_path, monkeypatch):
    merge, scores, kept = folds.merge, iter([0.2, 0.7, 0.4, 0.7]), {}
    monkeypatch.setattr(folds, "merge", lambda sums: merge(sums) | {checkpoint.SCORE: next(scores)})
    save = checkpoint.Checkpoints.save

    def note(self, progress, state, *rest):
        kept[progress.epoch] = jax.device_get(state.params)
        save(self, progress, state, *rest)

    monkeypatch.setattr(checkpoint.Checkpoints, "save", note)
    fitted = train(tmp_path, **{"train.epochs": 4})
    assert (fitted.epoch, fitted.validation_jaccard) == (2, 0.7)
    jax.tree.map(np.testing.assert_array_equal, fitted.params, kept[2])


def test_an_estimate_precedes_training_and_a_dead_network_is_reported(train, tmp_path, monkeypatch, capsys):
    create = loop.create

    def dead(*arguments, **options):
        state = create(*arguments, **options)
        head = {**state.params["head"], "bias": np.full(2, -100.0, np.float32)}  # the ReLUs of the head stay at zero
        return state.replace(params={**state.params, "head": head})

    monkeypatch.setattr(loop, "create", dead)
    train(tmp_path, **{"train.epochs": 1, "model.head": "paper"})
    lines = capsys.readouterr().out.splitlines()
    assert "s per step measured: about" in lines[0]
    assert "epoch   1/1" in lines[1]
    assert "THE OUTPUT IS CONSTANT" in lines[1]
    assert rows_of(tmp_path)[0]["constant_output"] is True


def test_a_working_network_is_not_reported_as_dead(whole):
    assert not any(row["constant_output"] for row in rows_of(whole[0]))


def test_the_error_of_a_nonfinite_validation_loss_names_the_epoch(train, tmp_path, monkeypatch):
    merge, losses = folds.merge, iter([0.5, math.nan])
    monkeypatch.setattr(folds, "merge", lambda sums: merge(sums) | {"validation_loss": next(losses)})
    with pytest.raises(InputError, match=r"fold 0 epoch 2: the validation loss is not .*learning_rate below 0.003"):
        train(tmp_path)
    assert [row["epoch"] for row in rows_of(tmp_path)] == [1]


@pytest.mark.parametrize(
    ("fields", "negatives"),
    [
        ({"train.negatives": "one_slice"}, 3 * 9),  # all 9 patches of a slice of each of three subjects
        ({"train.negatives": "none", "train.validation_negatives": "matched"}, 0),
        ({"train.slices": "hemorrhage"}, 5 * 9 - 26),  # the patches without hemorrhage of the five slices with one
    ],
)
def test_the_configured_patches_are_trained_on(parts, train, tmp_path, monkeypatch, fields, negatives):
    tables, made = [], folds.examples

    def note(*arguments, **options):
        tables.append(made(*arguments, **options)[1])
        return made(*arguments, **options)

    monkeypatch.setattr(folds, "examples", note)
    train(tmp_path, **{"train.epochs": 1, **fields})
    epochs = tables[0]
    order, positive = epochs.order(0), np.flatnonzero(epochs.table.positive)
    assert len(order) == len(positive) + negatives
    assert set(positive) <= set(order)
    assert tables[1].slices == "all"
    assert rows_of(tmp_path)[0]["step"] == len(order) // 8


def fit(config, *parts, **where):
    return loop.train_fold(config, unet.network_from_config(config), *parts, **where)


def test_data_that_cannot_be_trained_on_is_an_input_error(parts, tiny_config, tmp_path):
    train, valid = parts
    with pytest.raises(InputError, match="fold 0: no scan could be read"):
        fit(tiny_config(), train, [], folder=tmp_path, fold=0)
    with pytest.raises(InputError, match="batch_size is 6; expected a multiple of the 4 devices"):
        fit(tiny_config(**{"train.batch_size": 6}), train, valid, folder=tmp_path, fold=0)
    healthy = [dataclasses.replace(scan, mask=np.zeros_like(scan.mask)) for scan in train]
    with pytest.raises(InputError, match="fold 0: no patch with a hemorrhage"):
        fit(tiny_config(), healthy, valid, folder=tmp_path, fold=0)
