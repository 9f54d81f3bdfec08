"""Compiler options of whole programs and of the process."""

import os
import subprocess
import sys

import jax
import pytest
from jax._src import xla_bridge

from ichjax import xla
from ichjax.errors import InputError
from ichjax.experiment import crossval

FLAGS = "--xla_cpu_enable_fast_math=false"


@pytest.fixture
def before_devices(monkeypatch):
    """As in a process that has not touched a device yet."""
    monkeypatch.setenv("XLA_FLAGS", FLAGS)
    monkeypatch.setattr(xla_bridge, "backends_are_initialized", lambda: False)


@pytest.mark.parametrize("entry", [crossval.crossval, crossval.train_one])
def test_deterministic_reaches_xla_from_the_python_api(before_devices, tiny_config, tmp_path, entry):
    with pytest.raises(InputError, match="nowhere"):  # opening the data is what comes next
        entry(tiny_config(**{"deterministic": True, "data.root": "/nowhere"}), tmp_path / "run")
    assert os.environ["XLA_FLAGS"] == f"{FLAGS} {xla.DETERMINISTIC}"
    xla.require_deterministic()  # a second run in the process
    assert os.environ["XLA_FLAGS"] == f"{FLAGS} {xla.DETERMINISTIC}"


def test_without_it_the_flags_stay(before_devices, tiny_config, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        crossval.crossval(tiny_config(**{"data.root": "/nowhere"}), tmp_path / "run")
    assert os.environ["XLA_FLAGS"] == FLAGS


def test_a_gpu_that_was_started_without_it_is_refused(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", FLAGS)
    jax.devices()
    xla.require_deterministic()  # a CPU gives the same bits anyway
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(InputError, match="has already used the GPU"):
        xla.require_deterministic()
    assert os.environ["XLA_FLAGS"] == FLAGS
    monkeypatch.setenv("XLA_FLAGS", xla.DETERMINISTIC)
    xla.require_deterministic()


def test_xla_knows_the_flag():
    """XLA ends the process at a flag that it does not know."""
    code = "from ichjax import xla; xla.require_deterministic(); import jax; jax.devices()"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    assert subprocess.run([sys.executable, "-c", code], env=environment | {"JAX_PLATFORMS": "cpu"}).returncode == 0
