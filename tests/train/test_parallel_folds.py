"""Folds trained in one program: the parameters and files of each are those of a training of its own."""

import functools
import itertools
import json
import os
import re
import signal

import chex
import jax
import numpy as np
import pytest

from ichjax import config_check, xla
from ichjax.config import with_training_seed
from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.data.fold_scans import FoldScans
from ichjax.errors import InputError, Interrupted
from ichjax.methods import registry
from ichjax.models import unet
from ichjax.train import fold as folds
from ichjax.train import fold_programs, loop, parallel, parallel_folds, programs
from ichjax.train import state as states
from tests import eight_devices
from tests.xla import AS_USERS

pytestmark = pytest.mark.faults  # minutes of training

DEVICES = jax.device_count()
TIMING = ("examples_per_second", "wait_share", "seconds")
SMALL = {
    "model.base_width": 2, "model.depth": 1, "model.norm": "none", "model.dropout": 0.3, "train.schedule": "cosine",
    "train.batch_size": 2 * DEVICES,
}  # fmt: skip
STEPS = {3: 4, 0: 6, 4: 4, 1: 6, 2: 6}  # of each fold: the updates it makes here
SEED = 10  # of fold 0; each fold has one of its own


@pytest.fixture(scope="module", autouse=True)
def _compiled_as_for_users():
    """Equal bits depend on the code generator."""
    options = xla.options()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xla, "options", lambda: {**(options or {}), **AS_USERS})
        yield
    programs.make.cache_clear()


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(**SMALL)


def batch_of(seed, side=16, size=8):
    rng = np.random.default_rng(seed)
    image = rng.integers(-40, 130, (size, side, side)).astype(np.int16)
    index, weight = rng.choice(1000, size, replace=False).astype(np.int32), np.ones(size, np.float32)
    return {"image": image, "mask": (image > 90).astype(np.uint8), "index": index, "weight": weight}


def seeded(config, fold):
    return with_training_seed(config, SEED + fold)


@pytest.fixture(scope="module")
def alone(config):
    """alone(fold): parameters after the fold's steps, made by the step of `loop.train_fold` on one device."""
    network, mesh = unet.network_from_config(config), parallel.make_mesh(jax.devices()[:1])

    @functools.cache
    def compiled(fold):
        schedule = states.make_schedule(config, STEPS[fold] + 1)
        make_step = programs.step_maker(network, seeded(config, fold), schedule)
        return parallel.compile_step(make_step, mode="jit", mesh=mesh)

    def run(fold):
        step = compiled(fold)
        state = parallel.replicate(states.create(network, seeded(config, fold), fold=fold), mesh)
        for number in range(STEPS[fold]):
            state, _ = step(state, parallel.shard_batch(batch_of(100 * fold + number), mode="jit", mesh=mesh))
        return jax.device_get(state)

    return run


@pytest.fixture(scope="module")
def together(config):
    """together(devices): {fold: its state} after its steps, of all folds in one program."""
    network = unet.network_from_config(config)

    def run(devices):
        mesh, rows = fold_programs.fold_mesh(len(STEPS), jax.devices()[:devices])
        trainings = [fold_programs.Training(SEED + fold, count + 1) for fold, count in STEPS.items()]
        step = chex.assert_max_traces(fold_programs.make_fold_step(network, config, trainings), n=1)
        program = fold_programs.compile_folds(step, mesh=mesh, rows=rows)
        training = parallel_folds._Training(config, program, mesh, rows, batch_of(0))
        start = [jax.device_get(states.create(network, seeded(config, fold), fold=fold)) for fold in STEPS]
        state = training.place(parallel_folds._stack([*start, *start[:1] * (training.count - len(start))]))
        compiled = program.lower(state, training.stacked({})).compile()
        assert not re.search("all-reduce|all-gather|collective-permute|all-to-all", compiled.as_text())
        ended = {}
        for number in range(max(STEPS.values())):
            batches = {row: batch_of(100 * fold + number) for row, fold in enumerate(STEPS) if number < STEPS[fold]}
            state, metrics = compiled(state, training.stacked(batches))
            assert metrics["finite"].shape == (training.count,)
            for row, fold in enumerate(STEPS):
                if number == STEPS[fold] - 1:
                    ended[row] = training.row_of(state, row)
        state = training.with_rows(state, ended)
        return {fold: jax.device_get(training.row_of(state, row)) for row, fold in enumerate(STEPS)}

    return run


@pytest.mark.parametrize("devices", [2] if DEVICES == 4 else [DEVICES])
def test_each_fold_has_the_parameters_of_its_own_training(config, alone, together, devices):
    """To the bit with one fold a device, else to rounding; folds that have ended wait for the others."""
    ours = together(devices)
    exact = devices >= len(STEPS)
    for fold, count in STEPS.items():
        theirs = alone(fold)
        assert int(ours[fold].step) == count
        check = np.testing.assert_array_equal if exact else functools.partial(np.testing.assert_allclose, atol=2e-5)
        jax.tree.map(check, ours[fold], theirs)
        start = jax.tree.leaves(states.create(unet.network_from_config(config), seeded(config, fold), fold=fold).params)
        assert min(abs(a - b).max() for a, b in zip(jax.tree.leaves(theirs.params), start, strict=True)) > 1e-3


@pytest.mark.parametrize("devices", [1, 5, 8])
def test_on_any_number_of_devices(devices):
    output = eight_devices.run(__file__, "own_training", devices=devices, marker="faults")
    assert "1 passed" in output


@pytest.mark.parametrize(
    ("count", "devices", "expected"), [(5, 8, (5, 1)), (5, 4, (3, 2)), (5, 2, (2, 3)), (5, 1, (1, 5)), (4, 4, (4, 1))]
)
def test_folds_are_divided_over_as_few_devices_as_take_the_same_time(monkeypatch, count, devices, expected):
    monkeypatch.setattr(jax, "make_mesh", lambda shape, names, *, axis_types, devices: len(devices))
    assert fold_programs.fold_mesh(count, [object()] * devices) == expected


@pytest.fixture(scope="module")
def scans(tiny_root):
    """scans(folder): three folds of different numbers of patches."""
    opened, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)
    by_number = {scan.number: scan for scan in opened}
    parts = [((49, 50, 51), (52, 54)), ((52, 55), (56, 57)), ((55, 56, 57), (49, 50))]

    def of(folder):
        return [
            FoldScans(number, folder / f"fold_{number}", *([by_number[n] for n in part] for part in both))
            for number, both in enumerate(parts)
        ]

    return of


@pytest.fixture(scope="module")
def fit(config):
    """fit(scans): the results of folds trained one after the other, on one device."""

    def run(scans):
        network, make_mesh = unet.network_from_config(config), parallel.make_mesh
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parallel, "make_mesh", lambda: make_mesh(jax.devices()[:1]))
            programs.make.cache_clear()
            fitted = [
                loop.train_fold(config, network, one.train, one.valid, folder=one.folder, fold=one.number)
                for one in scans
            ]
        programs.make.cache_clear()
        return fitted

    return run


@pytest.fixture(scope="module")
def separate(fit, scans, tmp_path_factory):
    """(the folder of three folds trained one after the other, their results)."""
    folder = tmp_path_factory.mktemp("separate")
    return folder, fit(scans(folder))


@pytest.fixture(scope="module")
def train(config):
    """train(scans): trains folds together; the step is traced once."""

    def run(scans):
        make = parallel_folds.make_fold_step
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parallel_folds, "make_fold_step", lambda *a: chex.assert_max_traces(make(*a), n=1))
            chex.clear_trace_counter()
            parallel_folds.train_folds(config, unet.network_from_config(config), scans)

    return run


def rows_of(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMING} for row in rows]


def saved_steps(folder):
    return {int(path.name) for path in (folder / "checkpoints").iterdir()}


def assert_same_runs(here, ours, there, theirs):
    """To the bit, but for validation, which divides batches over the devices."""
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
        assert one.epoch == other.epoch
        folders = [folder / f"fold_{number}" for folder in (here, there)]
        assert saved_steps(folders[0]) >= saved_steps(folders[1])  # a signal's checkpoint within an epoch may be kept
        for row, expected in zip(*map(rows_of, folders), strict=True):
            assert row.keys() == expected.keys()
            np.testing.assert_allclose([*row.values()], [*expected.values()], rtol=1e-5)


def test_folds_trained_together_leave_the_bits_and_files_of_separate_ones(train, fit, separate, scans, tmp_path):
    folds_of = scans(tmp_path)
    assert len({rows_of(one.folder)[0]["step"] for one in scans(separate[0])}) == 2
    train(folds_of)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "measure_step", None)  # the finished folds are only read
        assert_same_runs(tmp_path, fit(folds_of), *separate)
        patch.setattr(parallel_folds, "measure_step", None)
        train(folds_of)


def killed_after_epochs(count):
    """A stand-in for `fold.report_epoch` that ends the run after so many epochs of any fold."""
    seen = itertools.count(1)

    def report(*_):
        if next(seen) == count:
            raise KeyboardInterrupt

    return report


def test_a_run_may_change_between_one_fold_at_a_time_and_all_together(
    train, fit, separate, scans, tmp_path, monkeypatch
):
    folds_of = scans(tmp_path)
    for begun, count in ((fit, 1), (train, 3), (fit, 1)):
        with monkeypatch.context() as patch:
            patch.setattr(folds, "report_epoch", killed_after_epochs(count))
            with pytest.raises(KeyboardInterrupt):
                begun(folds_of)
    train(folds_of)
    assert_same_runs(tmp_path, fit(folds_of), *separate)


def test_a_signal_saves_all_folds_and_they_resume_to_the_same_bits(train, fit, separate, scans, tmp_path, monkeypatch):
    """It arrives when one fold has validated its epoch and two are within theirs."""
    run_epoch, sent = parallel_folds.epoch.run_epoch, itertools.count(1)

    def signaled(program, *arguments, **options):
        def run(state, batch):
            if next(sent) == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return program(state, batch)

        return run_epoch(run, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(parallel_folds.epoch, "run_epoch", signaled)
        with pytest.raises(Interrupted, match=r"^SIGTERM: folds 0, 1, 2 are saved after steps 5, 4, 5; the same com"):
            train(scans(tmp_path))
    assert [len(rows_of(one.folder)) for one in scans(tmp_path)] == [0, 1, 0]
    train(scans(tmp_path))
    assert_same_runs(tmp_path, fit(scans(tmp_path)), *separate)


def test_an_update_that_is_not_finite_is_named_with_its_fold(train, scans, tmp_path, monkeypatch):
    updates, seen = parallel_folds.epoch._updates, itertools.count()

    def broken(metrics):
        made = updates(metrics)
        if next(seen) == 2:
            made[2] = {**made[2], "loss": float("nan"), "finite": False}
        return made

    monkeypatch.setattr(parallel_folds.epoch, "_updates", broken)
    with pytest.raises(InputError, match=r"fold 2 step 2: loss nan, .*; no checkpoint was saved before it"):
        train(scans(tmp_path))


def test_a_finished_fold_is_not_trained_and_changes_no_other(train, fit, separate, scans, tmp_path):
    first, second, third = scans(tmp_path)
    train([one._replace(finished=True) for one in (first, second, third)])
    train([first, second._replace(finished=True), third])
    assert not second.folder.exists()
    for ours, theirs in zip(fit([first, third]), separate[1][::2], strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parallel_folds": -1}, "parallel_folds is -1; expected at least 0"),
        ({"parallel": "pmap"}, "parallel is 'pmap'; expected 'jit' with config.parallel_folds, 3"),
        ({"data.splits": "slice_split"}, "splits is 'slice_split'; expected 'paper' or 'stratified' with config.par"),
        ({"profile_steps": (1, 2)}, r"profile_steps is \(1, 2\); expected \(0, 0\) with config.parallel_folds"),
        ({"train.minutes": 1.0}, "minutes is 1.0; expected 0 with config.parallel_folds"),
        ({"train.steps_per_dispatch": 2}, "steps_per_dispatch is 2; expected 1 with config.parallel_folds"),
        ({"train.resident": True}, "resident is True; expected False with config.parallel_folds"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tiny_config, fields, message):
    config_check.check(tiny_config(**{"parallel_folds": 3}))
    with pytest.raises(InputError, match=message):
        config_check.check(tiny_config(**{"parallel_folds": 3} | fields))


def test_methods_and_processes_that_it_does_not_support_are_refused(
    tiny_config, config, scans, train, tmp_path, monkeypatch
):
    with pytest.raises(InputError, match="parallel_folds is 3; expected 0 with sub-types"):
        registry.make("subtypes", tiny_config(**{"parallel_folds": 3, "model.encoder": "residual"}))
    monkeypatch.setattr(parallel_folds.hosts, "count", lambda: 2)
    with pytest.raises(InputError, match="parallel_folds is 0; expected 0 with 2 processes"):
        train(scans(tmp_path))
