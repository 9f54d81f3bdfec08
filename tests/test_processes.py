"""Several processes connected on the loopback, as several hosts are: the same weights, one set of files."""

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


def start(words, *, devices, process=None, processes=2, port=None):
    """A process of launch.py with so many devices; one of several where `process` says which."""
    others = " ".join(flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag)
    flags = f"{others} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "ICHJAX_TRACEBACK": "1"}
    if process is not None:
        words = [*words, f"--coordinator=localhost:{port}", f"--processes={processes}", f"--process={process}"]
    return subprocess.Popen(
        [sys.executable, "launch.py", *map(str, words)], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def together(words, *, devices, processes=2):
    """What each of several connected processes printed; all must end with status 0."""
    port = free_port()
    running = [start(words, devices=devices, process=k, processes=processes, port=port) for k in range(processes)]
    said = [process.communicate(timeout=400)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes, "\n".join(said)
    return said


@pytest.fixture(scope="module")
def words(tiny_config, config_file, tiny_root, tmp_path_factory):
    """words(command, name, **fields): of a command that works in the folder `name`."""
    place = tmp_path_factory.mktemp("processes")

    def make(command, name, **fields):
        path = config_file(place / f"{name}_config", tiny_config(**SMALL, **fields))
        return [command, f"--config={path}", f"--workdir={place / name}", f"--config.data.root={tiny_root}"]

    make.place = place
    return make


@pytest.fixture(scope="module")
def alone(words):
    """The weights of fold 0 that one process with four devices trains."""
    process = start(words("train", "alone"), devices=4)
    said = process.communicate(timeout=400)[0]
    assert process.returncode == 0, said
    return initial.read(words.place / "alone" / "fold_0" / "weights")


def same(weights, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), weights, expected)


def test_two_processes_train_alike(words, alone):
    said = together(words("train", "jit"), devices=2)
    same(initial.read(words.place / "jit" / "fold_0" / "weights"), alone)
    assert "fold 0 epoch" in said[0]
    assert "epoch" not in said[1]  # one of them speaks


@pytest.mark.faults
def test_two_processes_cross_validate_a_fold(words, alone):
    said = together([*words("crossval", "two"), "--config.folds=0"], devices=2)
    run = words.place / "two"
    same(initial.read(run / "fold_0" / "weights"), alone)
    for place in (run, run / "baselines" / "threshold"):
        results = json.loads((place / "results.json").read_text())
        tested = json.loads((run / "splits.json").read_text())["folds"][0]["test"]
        assert sorted(row["subject"] for row in results["subjects"]) == sorted(tested)
        assert len(list((place / "predictions").iterdir())) == len(tested) > 1
        assert not list(place.glob("fold_*/scores_*.json"))
    assert len(json.loads((run / "results.json").read_text())["devices"]) == 4
    assert (run / "report.html").is_file()
    assert "fold 0 epoch" in said[0]
    assert "epoch" not in said[1]  # one of them speaks


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_and_in_every_mode(words, alone, mode):
    together(words("train", mode, parallel=mode), devices=2)
    same(initial.read(words.place / mode / "fold_0" / "weights"), alone)


COUNTED_BY_JAX = """
import sys, jax
from ichjax import hosts
assert (hosts.number(), hosts.count(), hosts.share([5, 6, 7])) == (0, 1, [5, 6, 7])
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))  # by the caller, not by us
hosts.start(sys.argv[1], 2, int(sys.argv[2]))  # already connected: nothing to do
from jax._src import xla_bridge
assert (hosts.number(), hosts.count()) == (int(sys.argv[2]), 2)
assert not xla_bridge.backends_are_initialized()  # asking did not touch a device
hosts.wait("asked")
assert (jax.process_index(), jax.process_count()) == (hosts.number(), hosts.count())
assert hosts.any_of(hosts.number() == 1)
"""


def test_processes_that_someone_else_connected_are_counted():
    port = free_port()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTED_BY_JAX, f"localhost:{port}", str(k)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"}, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for k in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)


def test_without_jax_there_is_one_process():
    code = "import sys; from ichjax import hosts; assert hosts.count() == 1; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4"}, False),  # of the job; this process was not started by srun
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, True),
    ],
)
def test_what_starts_several_processes_is_noticed(environment, several):
    assert hosts.launched_together(environment) is several


@pytest.mark.parametrize(
    ("given", "said"),
    [(("localhost:1", None, None), "belong together"), (("localhost:1", 2, 2), "--process is 2 of 2 --processes")],
)
def test_flags_that_make_no_sense_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        hosts.start(*given)
