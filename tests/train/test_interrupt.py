"""Signals and updates that are not finite: a fold is saved, and resumes to the same bits."""

import functools
import json
import os
import signal
import threading

import jax
import numpy as np
import pytest

from ichjax.data import loader
from ichjax.errors import InputError, Interrupted
from ichjax.files import claim
from ichjax.train import epoch as epochs
from ichjax.train import fold as folds
from ichjax.train import loop
from ichjax.train.interrupt import Watch

EPOCHS = 2


@pytest.fixture(autouse=True)
def _signals_as_in_the_foreground():
    """The tests may run in the background, where SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def train(train):
    """train(folder, **fields): of `EPOCHS` epochs."""
    return functools.partial(train, **{"train.epochs": EPOCHS})


def rows_of(folder):
    timing = ("examples_per_second", "wait_share", "seconds")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in timing} for row in rows]


def signal_after(monkeypatch, dispatches, number=signal.SIGTERM):
    """Sends this process a signal after this many dispatches."""
    sent, original = [], loop.profile.traced

    def traced(program, *arguments):
        program = original(program, *arguments)

        def run(state, batch):
            sent.append(1)
            if len(sent) == dispatches:
                os.kill(os.getpid(), number)
            return program(state, batch)

        return run

    monkeypatch.setattr(loop.profile, "traced", traced)


@pytest.mark.parametrize(("after", "number"), [(1, signal.SIGTERM), (4, signal.SIGINT)])
def test_a_signal_saves_the_update_in_progress_and_the_run_resumes_to_the_same_bits(
    train, whole, tmp_path, monkeypatch, after, number
):
    folder, expected = whole
    steps = rows_of(folder)[0]["step"]
    assert after % steps  # within an epoch
    with monkeypatch.context() as patch:
        signal_after(patch, after, number)
        with pytest.raises(Interrupted, match=rf"{number.name}: fold 0 is saved after step {after}; the same command"):
            train(tmp_path)
    assert len(rows_of(tmp_path)) == after // steps
    fitted = train(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, fitted.params, expected.params)
    assert rows_of(tmp_path) == rows_of(folder)  # the means of the interrupted epoch too


def test_a_signal_in_the_last_update_is_not_lost(train, whole, tmp_path, monkeypatch):
    folder, expected = whole
    with monkeypatch.context() as patch:
        signal_after(patch, EPOCHS * rows_of(folder)[0]["step"], signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path)
    assert len(rows_of(tmp_path)) == EPOCHS  # the fold was finished first
    jax.tree.map(np.testing.assert_array_equal, train(tmp_path).params, expected.params)


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Watch() as watch:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert watch.received == "SIGTERM"
        watch.received = None
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_second_signal_interrupts_at_once():
    watch = Watch()

    def interrupted_twice():
        with watch:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="interrupted twice, by SIGINT"):
        interrupted_twice()
    assert watch.received == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is not watch._receive


def break_update(monkeypatch, number):
    """Makes one update appear as not finite."""
    updates, calls = epochs._updates, []

    def changed(metrics):
        made = updates(metrics)
        calls.append(1)
        return [{**made[0], "loss": float("nan"), "finite": False}] if len(calls) == number else made

    monkeypatch.setattr(epochs, "_updates", changed)


def test_the_error_of_a_nonfinite_loss_names_step_examples_and_checkpoint(train, whole, tmp_path, monkeypatch):
    steps, size = rows_of(whole[0])[0]["step"], 8
    order, rows = folds.Epochs.order, []
    monkeypatch.setattr(folds.Epochs, "order", lambda self, n: rows.append(order(self, n)) or rows[-1])
    break_update(monkeypatch, steps + 2)
    with pytest.raises(InputError, match=rf"fold 0 step {steps + 1}: loss nan, .* examples") as caught:
        train(tmp_path)
    named = [int(n) for n in str(caught.value).split("examples ")[1].split(";")[0].split(", ")]
    assert named == rows[-1][size : 2 * size].tolist()
    assert f"the checkpoint of step {steps} is kept" in str(caught.value)


def test_an_error_of_the_reader_ends_training_and_its_threads(train, tmp_path, monkeypatch):
    reads, original = [], loader.PatchReader.read

    def read(self, rows, **options):
        reads.append(1)
        if len(reads) == 6:
            raise InputError("a patch cannot be read")
        return original(self, rows, **options)

    before = set(threading.enumerate())
    monkeypatch.setattr(loader.PatchReader, "read", read)
    with pytest.raises(InputError, match="a patch cannot be read"):
        train(tmp_path)
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    assert not [name for name in left if name.startswith("ThreadPoolExecutor")], left  # grain's end with its iterator


@pytest.mark.faults
def test_skipped_updates_are_counted(train, tmp_path, monkeypatch, capsys):
    break_update(monkeypatch, 1)
    train(tmp_path, on_nonfinite="skip")
    first, second = rows_of(tmp_path)
    assert (first["skipped"], second["skipped"]) == (1, 0)
    assert np.isfinite(first["loss"])
    assert "1 updates not finite, skipped" in capsys.readouterr().out


@pytest.mark.faults
def test_several_steps_per_dispatch_give_the_same_run_and_can_be_interrupted(train, whole, tmp_path, monkeypatch):
    folder, expected = whole
    steps = rows_of(folder)[0]["step"]
    fields = {"train.steps_per_dispatch": 2, "train.accumulate": 1}
    with monkeypatch.context() as patch:
        signal_after(patch, 1)
        with pytest.raises(Interrupted, match="saved after step 2"):
            train(tmp_path, **fields)
    fitted = train(tmp_path, **fields)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, fitted.params, expected.params)
    assert [row["step"] for row in rows_of(tmp_path)] == [steps, 2 * steps]


@pytest.mark.parametrize(
    ("start", "groups"),
    [(0, [(0, 1, 2), (3, 4), (5, 6, 7), (8, 9)]), (4, [(4,), (5, 6, 7), (8, 9)]), (10, [])],
)
def test_no_group_of_steps_crosses_the_end_of_an_epoch(start, groups):
    assert [tuple(g) for g in loader.group_steps(start, 10, steps=5, group=3)] == groups


@pytest.mark.faults
def test_a_trace_is_written(train, tmp_path, capsys):
    train(tmp_path, profile_steps=(1, 3))
    assert "steps 1 to 2 traced" in capsys.readouterr().out
    assert list((tmp_path / "profile").rglob("*.trace.json.gz"))


def test_two_processes_cannot_use_one_folder(tmp_path):
    fold = tmp_path / "fold_0"
    with claim(fold), pytest.raises(InputError, match="fold_0: another process is working in it"), claim(fold):
        pass
    with claim(fold):
        pass
