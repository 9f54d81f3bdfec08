"""Several processes connected over localhost, as on several hosts: the same weights and one set of files."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from ichjax import hosts
from ichjax.errors import InputError
from ichjax.train import initial

pytestmark = pytest.mark.xdist_group("processes")
ROOT = pathlib.Path(__file__).parents[1]
SMALL = {"model.depth": 1, "model.base_width": 2, "model.norm": "none", "model.dropout": 0.3, "train.epochs": 1}


def start(words, *, devices, process=None, processes=2, port=None, program=("launch.py",)):
    """Starts launch.py, or another program, with that many devices; if `process` is given, as one of several connected
    processes."""
    others = " ".join(flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag)
    flags = f"{others} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "ICHJAX_TRACEBACK": "1"}
    if process is not None:
        words = [*words, f"--coordinator=localhost:{port}", f"--processes={processes}", f"--process={process}"]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def run_connected(words, *, devices, processes=2, **options):
    """Runs connected processes and returns what each printed; all must end with status 0."""
    port = free_port()
    connected = {"devices": devices, "processes": processes, "port": port, **options}
    running = [start(words, process=k, **connected) for k in range(processes)]
    outputs = [process.communicate(timeout=400)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes, "\n".join(outputs)
    return outputs


@pytest.fixture(scope="module")
def words(tiny_config, config_file, tiny_root, tmp_path_factory):
    """words(command, name, **fields): the command line of a run in the folder `name`."""
    parent = tmp_path_factory.mktemp("processes")

    def make(command, name, **fields):
        path = config_file(parent / f"{name}_config", tiny_config(**SMALL | fields))
        return [command, f"--config={path}", f"--workdir={parent / name}", f"--config.data.root={tiny_root}"]

    make.parent = parent
    return make


@pytest.fixture(scope="module")
def alone(words):
    """The weights of fold 0 that one process with four devices trains."""
    process = start(words("train", "alone"), devices=4)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 0, output
    return initial.read(words.parent / "alone" / "fold_0" / "weights")


def assert_same(weights, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), weights, expected)


@pytest.mark.faults
def test_two_processes_train_the_same_weights_as_one(words, alone):
    outputs = run_connected(words("train", "jit"), devices=2)
    assert_same(initial.read(words.parent / "jit" / "fold_0" / "weights"), alone)
    assert "fold 0 epoch" in outputs[0]
    assert "epoch" not in outputs[1]  # only the first process prints


@pytest.mark.faults
def test_two_processes_cross_validate_one_fold(words, alone):
    outputs = run_connected([*words("crossval", "two"), "--config.folds=0"], devices=2)
    run = words.parent / "two"
    assert_same(initial.read(run / "fold_0" / "weights"), alone)
    for folder in (run, run / "baselines" / "threshold"):
        results = json.loads((folder / "results.json").read_text())
        tested = json.loads((run / "splits.json").read_text())["folds"][0]["test"]
        assert sorted(row["subject"] for row in results["subjects"]) == sorted(tested)
        assert len(list((folder / "predictions").iterdir())) == len(tested) > 1
        assert not list(folder.glob("fold_*/scores_*.json"))
    assert len(json.loads((run / "results.json").read_text())["devices"]) == 4
    assert (run / "report.html").is_file()
    assert "fold 0 epoch" in outputs[0]
    assert "epoch" not in outputs[1]  # only the first process prints


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_pmap_and_shard_map_train_the_same_weights(words, alone, mode):
    run_connected(words("train", mode, parallel=mode), devices=2)
    assert_same(initial.read(words.parent / mode / "fold_0" / "weights"), alone)


DIVIDED = """
import sys
import launch
from ichjax.train import resident
resident.number_of_parts = lambda bytes_of_part, devices, limit: devices
sys.exit(launch.main(sys.argv[1:]))
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("mode", "program", "where"),
    [
        ("jit", ("launch.py",), "in the memory of every device"),
        ("pmap", ("-c", DIVIDED), "divided by subjects over the memory of 4 devices"),
        ("shard_map", ("-c", DIVIDED), "divided by subjects over the memory of 4 devices"),
    ],
)
def test_two_processes_train_the_same_weights_on_resident_scans(words, alone, mode, program, where):
    name = f"resident_{mode}"
    outputs = run_connected(words("train", name, parallel=mode, **{"train.resident": True}), devices=2, program=program)
    assert f"the training scans are {where}" in outputs[0]
    assert_same(initial.read(words.parent / name / "fold_0" / "weights"), alone)


@pytest.mark.faults
def test_two_processes_measure_one_budget(words):
    outputs = run_connected(words("train", "minutes", **{"train.minutes": 0.02}), devices=2)
    record = json.loads((words.parent / "minutes" / "budget.json").read_text())
    assert f"0.02 minutes a fold: {record['epochs']} epochs" in outputs[0]
    fold = words.parent / "minutes" / "fold_0"
    assert len((fold / "metrics.jsonl").read_text().splitlines()) == record["epochs"]
    assert not (fold / "measured_checkpoint").exists()


@pytest.mark.faults
def test_two_processes_mine_the_same_hard_negatives(words):
    fields = {"train.epochs": 2, "train.hard_negatives": 0.5, "train.mine_every": 1}
    process = start(words("train", "mined_alone", **fields), devices=4)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 0, output
    run_connected(words("train", "mined", **fields), devices=2)
    alone, together = (words.parent / name / "fold_0" for name in ("mined_alone", "mined"))
    np.testing.assert_allclose(*(np.load(fold / "hard_negatives_1.npy") for fold in (alone, together)), rtol=1e-4)
    assert_same(*(initial.read(fold / "weights") for fold in (together, alone)))


CONNECTED_BY_CALLER = """
import sys, jax
from ichjax import hosts
assert (hosts.number(), hosts.count(), hosts.share([5, 6, 7])) == (0, 1, [5, 6, 7])
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))  # by the caller, not by ichjax
hosts.start(sys.argv[1], 2, int(sys.argv[2]))  # already connected: nothing to do
from jax._src import xla_bridge
assert (hosts.number(), hosts.count()) == (int(sys.argv[2]), 2)
assert not xla_bridge.backends_are_initialized()  # counting used no device
hosts.wait("asked")
assert (jax.process_index(), jax.process_count()) == (hosts.number(), hosts.count())
assert hosts.any_of(hosts.number() == 1)
"""


def test_processes_connected_by_the_caller_are_counted_without_using_a_device():
    port = free_port()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CONNECTED_BY_CALLER, f"localhost:{port}", str(k)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"}, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for k in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(outputs)


def test_without_jax_there_is_one_process():
    code = "import sys; from ichjax import hosts; assert hosts.count() == 1; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4"}, False),  # of the job, but srun did not start this process
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, True),
    ],
)
def test_launchers_of_several_processes_are_detected(environment, several):
    assert hosts.launched_together(environment) is several


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("localhost:1", None, None), "belong together"), (("localhost:1", 2, 2), "--process is 2 of 2 --processes")],
)
def test_inconsistent_process_flags_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        hosts.start(*arguments)
