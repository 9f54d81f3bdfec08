"""XLA flags for determinism: set before a device is used, refused after a GPU was used without them; kept programs."""

import os
import subprocess
import sys

import jax
import pytest
from jax._src import xla_bridge

from ichjax import xla
from ichjax.errors import InputError
from ichjax.experiment import crossval
from ichjax.files import cache_folder

FLAGS = "--xla_cpu_enable_fast_math=false"


@pytest.fixture
def before_devices(monkeypatch):
    """Simulates a process that has not used a device yet."""
    monkeypatch.setenv("XLA_FLAGS", FLAGS)
    monkeypatch.setattr(xla_bridge, "backends_are_initialized", lambda: False)


@pytest.mark.parametrize("entry", [crossval.crossval, crossval.train_one])
def test_deterministic_reaches_xla_from_the_python_api(before_devices, tiny_config, tmp_path, entry):
    with pytest.raises(InputError, match="nowhere"):  # raised when the data is opened, which comes next
        entry(tiny_config(**{"deterministic": True, "data.root": "/nowhere"}), tmp_path / "run")
    assert os.environ["XLA_FLAGS"] == f"{FLAGS} {xla.DETERMINISTIC}"
    xla.require_deterministic()  # a second run in the same process
    assert os.environ["XLA_FLAGS"] == f"{FLAGS} {xla.DETERMINISTIC}"


def test_without_deterministic_the_flags_are_unchanged(before_devices, tiny_config, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        crossval.crossval(tiny_config(**{"data.root": "/nowhere"}), tmp_path / "run")
    assert os.environ["XLA_FLAGS"] == FLAGS


def test_deterministic_is_refused_after_the_gpu_was_used_without_it(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", FLAGS)
    jax.devices()
    xla.require_deterministic()  # a CPU is deterministic anyway
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(InputError, match="has already used the GPU"):
        xla.require_deterministic()
    assert os.environ["XLA_FLAGS"] == FLAGS
    monkeypatch.setenv("XLA_FLAGS", xla.DETERMINISTIC)
    xla.require_deterministic()


def test_xla_accepts_the_flag():
    """XLA aborts the process on an unknown flag."""
    code = "from ichjax import xla; xla.require_deterministic(); import jax; jax.devices()"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    assert subprocess.run([sys.executable, "-c", code], env=environment | {"JAX_PLATFORMS": "cpu"}).returncode == 0


@pytest.mark.parametrize(
    ("backend", "before", "kept"), [("gpu", None, True), ("gpu", "own", False), ("cpu", None, False)]
)
def test_compiled_programs_of_accelerators_are_kept(monkeypatch, backend, before, kept):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    jax.config.update("jax_compilation_cache_dir", before)
    try:
        xla.start()
        assert jax.config.jax_compilation_cache_dir == (str(cache_folder() / "programs") if kept else before)
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
