"""Training survives kills, damaged checkpoints, a full disk and a second process in the same folder."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from ichjax.errors import InputError
from ichjax.models import unet
from ichjax.train import checkpoint, initial
from ichjax.train import state as states

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {
    "model.depth": 1, "model.base_width": 2, "model.norm": "none", "model.dropout": 0.3, "train.epochs": 40,
}  # fmt: skip
KILLS = 20
CUTS = 200
BLOCKS = 8  # of 512 bytes: more than any file before the first checkpoint, less than a checkpoint


@pytest.fixture(scope="module")
def command(tiny_config, config_file, tiny_root, tmp_path_factory):
    """command(folder): starts launch.py train of 40 short epochs in a process; programs are compiled once for all."""
    shared = tmp_path_factory.mktemp("faults")
    path = config_file(shared, tiny_config(**SMALL))
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(shared / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def start(folder, *, before=()):
        words = ["train", f"--config={path}", f"--workdir={folder}", f"--config.data.root={tiny_root}"]
        return subprocess.Popen(
            [*before, sys.executable, "launch.py", *words], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory):
    """(folder of an undisturbed run, seconds from its first checkpoint to the end)."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = command(folder)
    wait_for(folder, process)
    started = time.perf_counter()
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output
    return folder, time.perf_counter() - started


@pytest.mark.faults
def test_kills_of_folds_that_are_trained_together_change_no_bit(tiny_config, config_file, tiny_root, tmp_path):
    """Three folds on two devices, so that each device has two; kills while they train, and while they are tested."""
    fields = {**SMALL, "parallel_folds": 3, "train.epochs": 6, "compare_with": ()}
    path = config_file(tmp_path, tiny_config(**fields))
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def start(folder):
        words = ["crossval", f"--config={path}", f"--workdir={folder}", f"--config.data.root={tiny_root}"]
        command = [sys.executable, "launch.py", *words]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    process = start(tmp_path / "whole")
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output
    assert "in one program, 2 folds a device on 2 cpu devices" in output
    folder, finished, kills = tmp_path / "killed", False, 0
    for file in [f"fold_{fold}/metrics.jsonl" for fold in (0, 1, 2)] + ["fold_0/model.json", "fold_1/model.json"]:
        process = start(folder)
        rows = len((folder / file).read_text().splitlines()) if (folder / file).is_file() else 0
        while process.poll() is None:
            if (folder / file).is_file() and len((folder / file).read_text().splitlines()) > rows:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        finished = process.wait() == 0
        process.stdout.close()
    assert kills >= 4
    if not finished:
        process = start(folder)
        output = process.communicate(timeout=500)[0]
        assert process.returncode == 0, output
    for fold in range(3):
        ours, theirs = (initial.read(run / f"fold_{fold}" / "weights") for run in (folder, tmp_path / "whole"))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
        assert rows_of(folder, fold) == rows_of(tmp_path / "whole", fold)


def wait_for(folder, process, limit_s=300.0):
    """Waits until the process has written an epoch or ended."""
    log, started = folder / "fold_0" / "metrics.jsonl", time.time()
    while process.poll() is None and time.time() - started < limit_s:
        if log.is_file() and log.stat().st_mtime > started - 0.01 and log.stat().st_size:
            return
        time.sleep(0.01)


def rows_of(folder, fold=0):
    timing = ("examples_per_second", "wait_share", "seconds")
    rows = [json.loads(line) for line in (folder / f"fold_{fold}" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in timing} for row in rows]


def assert_same_run(folder, expected):
    ours, theirs = (initial.read(run / "fold_0" / "weights") for run in (folder, expected))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert rows_of(folder) == rows_of(expected)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_kills_at_any_moment_change_no_bit(command, undisturbed, tmp_path, number):
    """20 kills spread over the run; epochs are short, so some hit a save."""
    expected, seconds = undisturbed
    moments, kills = random.Random(int(number)), 0
    while True:
        process = command(tmp_path)
        wait_for(tmp_path, process)
        try:
            output = process.communicate(timeout=moments.uniform(0, 2.5 * seconds / KILLS))[0]
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            output = process.communicate(timeout=120)[0]
            kills += 1
            if number == signal.SIGTERM:
                assert process.returncode in (130, 0) or "trained ->" in output, output  # or it had just finished
                # It ends in 'there' after an update that it names; before and after all updates there is none.
                assert process.returncode != 130 or "the same command resumes" in output
            continue
        assert process.returncode == 0, output
        if kills >= KILLS:
            break
        shutil.rmtree(tmp_path / "fold_0")  # it finished before enough kills: start again
    assert_same_run(tmp_path, expected)


@pytest.mark.faults
def test_a_full_disk_loses_nothing(command, undisturbed, tmp_path):
    """A limit on file sizes that a checkpoint exceeds stands in for a full disk."""
    process = command(tmp_path / "run", before=["sh", "-c", f'ulimit -f {BLOCKS}; exec "$0" "$@"'])
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 2, output
    assert "Traceback" not in output
    assert "a checkpoint cannot be written" in output
    process = command(tmp_path / "run")
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output
    assert_same_run(tmp_path / "run", undisturbed[0])


@pytest.fixture(scope="module")
def saved(tiny_config, tmp_path_factory):
    """(a folder with checkpoints of steps 1 and 2, the saved states by step)."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    state = states.create(unet.network_from_config(tiny_config(**SMALL)), tiny_config(**SMALL), fold=0)
    made = {step: state.replace(step=state.step + step) for step in (1, 2)}
    checkpoints = checkpoint.Checkpoints(folder)
    for step, one in made.items():
        checkpoints.save(checkpoint.Progress(step, step), one, 0.5)
    checkpoints.wait()
    checkpoints.close()
    return folder, made


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # from tasks that orbax abandons
@pytest.mark.parametrize("part", range(4))
def test_a_checkpoint_truncated_at_any_byte_is_read_completely_or_skipped(saved, tmp_path, part):
    folder, made = saved
    moments, complete, skipped = random.Random(part), 0, 0
    files = sorted(path.relative_to(folder) for path in (folder / "2").rglob("*") if path.is_file())
    for case in range(CUTS // 4):
        copy = tmp_path / str(case)
        shutil.copytree(folder, copy)
        path = copy / moments.choice(files)
        path.write_bytes(path.read_bytes()[: moments.randrange(max(1, path.stat().st_size))])
        lines = []
        checkpoints = checkpoint.Checkpoints(copy)
        try:
            state, progress = checkpoints.restore_newest(made[1], lines.append)
        except InputError as error:  # not even the previous one was read
            pytest.fail(f"{path.name}: {error}")
        finally:
            checkpoints.close()
        assert int(state.step) == progress.step
        jax.tree.map(np.testing.assert_array_equal, state, made[progress.step])
        complete, skipped = complete + (progress.step == 2), skipped + (progress.step == 1)
        shutil.rmtree(copy)
    assert complete + skipped == CUTS // 4
    assert skipped  # else no truncation mattered


@pytest.mark.faults
def test_a_second_run_in_the_same_folder_is_refused(command, undisturbed, tmp_path):
    first = command(tmp_path)
    wait_for(tmp_path, first)
    first.send_signal(signal.SIGSTOP)  # or it may have finished before the second begins
    second = command(tmp_path)
    output = second.communicate(timeout=300)[0]
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 2, output
    assert "fold_0: another process is working in it" in output
    output = first.communicate(timeout=500)[0]
    assert first.returncode == 0, output
    assert_same_run(tmp_path, undisturbed[0])
