"""Memory that runs out: one sentence that says what did not fit and what would, from training and from prediction."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax import xla
from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.data.regrid import Geometry
from ichjax.errors import InputError
from ichjax.methods.slices import SlicePredictor
from ichjax.models import unet
from ichjax.models.network import Network
from ichjax.train import epoch, loop
from ichjax.train import fold as folds

EXHAUSTED = "RESOURCE_EXHAUSTED: Out of memory allocating 3200000000 bytes."


def fail(*_, **__):
    raise jax.errors.JaxRuntimeError(EXHAUSTED)


def test_only_the_error_of_exhausted_memory_is_explained():
    with pytest.raises(InputError) as caught, xla.explain_out_of_memory("a step", lambda: "less"):
        fail()
    assert str(caught.value) == f"a step needs more memory than there is ({EXHAUSTED}); expected less"
    for error in (jax.errors.JaxRuntimeError("INTERNAL: Out of luck"), ValueError(EXHAUSTED)):
        with pytest.raises(type(error), match=re.escape(str(error))), xla.explain_out_of_memory("a step", fail):
            raise error


def doubled(size):
    return jax.jit(lambda x: 2 * x).lower(jnp.zeros(size)).compile()


def test_a_program_needs_its_arguments_and_results_and_donated_ones_once():
    assert xla.memory_bytes(doubled(1000)) == 8000
    donated = jax.jit(lambda x: 2 * x, donate_argnums=0).lower(jnp.zeros(1000)).compile()
    assert xla.memory_bytes(donated) == 4000


@pytest.mark.parametrize(("limit", "fits"), [(None, 1000), (9000, 1000), (8000, 500), (1000, 100), (100, None)])
def test_the_first_choice_that_fits(monkeypatch, limit, fits):
    monkeypatch.setattr(xla, "memory_limit", lambda: limit)
    assert xla.first_that_fits((1000, 500, 100), doubled) == fits


@pytest.mark.parametrize(("taken", "fits"), [(100, 1000), (101, 500), (4101, 100), (7301, None)])
def test_a_choice_fits_into_what_is_not_taken(monkeypatch, taken, fits):
    monkeypatch.setattr(xla, "memory_limit", lambda: 9000)
    assert xla.first_that_fits((1000, 500, 100), doubled, taken=taken) == fits


def test_a_choice_that_cannot_be_compiled_does_not_fit(monkeypatch):
    monkeypatch.setattr(xla, "memory_limit", lambda: 10**9)
    assert xla.first_that_fits((1000, 500, 100), lambda size: fail() if size > 200 else doubled(size)) == 100


@pytest.fixture
def sentence_at(monkeypatch):
    """sentence_at(limit, call): what an InputError of the call says on devices with that memory, and the bytes of the
    programs that were tried."""

    def run(limit, call):
        tried, memory_bytes = [], xla.memory_bytes
        with monkeypatch.context() as patch:
            patch.setattr(xla, "memory_limit", lambda: limit)
            patch.setattr(xla, "memory_bytes", lambda compiled: tried.append(memory_bytes(compiled)) or tried[-1])
            with pytest.raises(InputError) as caught:
                call()
        return str(caught.value), tried

    return run


@pytest.fixture(scope="module")
def train(tiny_root, tiny_config, tmp_path_factory):
    """train(**fields): one epoch of a very small network, 8 patches of 16 x 16 a device."""
    scans, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)
    parts = [scan for scan in scans if scan.number in (49, 50, 51)], [scan for scan in scans if scan.number in (52, 54)]

    def run(**fields):
        small = {"model.base_width": 4, "model.depth": 1, "model.norm": "none", "patch.stride": 4, "train.epochs": 1}
        config = tiny_config(**small, **{"train.batch_size": 8 * jax.device_count()}, **fields)
        folder = tmp_path_factory.mktemp("fold")
        return loop.train_fold(config, unet.network_from_config(config), *parts, folder=folder, fold=0)

    return run


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_training_step_that_does_not_fit(train, sentence_at, monkeypatch, mode):
    monkeypatch.setattr(loop, "measure_step", fail)
    said, tried = sentence_at(None, lambda: train(parallel=mode))
    start = f"fold 0: a training step on 8 patches per device needs more memory than there is ({EXHAUSTED}); expected "
    assert said == (
        f"{start}config.train.accumulate=2, which makes the same updates with 4 patches per device at a time, or "
        f"config.train.batch_size={4 * jax.device_count()}"
    )
    assert tried == []
    said, tried = sentence_at(1, lambda: train(parallel=mode))
    assert said == f"{start}a smaller config.model.base_width or config.patch.side"
    assert len(tried) == 3  # 2, 4 and 8 parts
    assert tried[0] > tried[1] > tried[2]
    said, _ = sentence_at(tried[1] / xla.USABLE_MEMORY + 1, lambda: train(parallel=mode))
    assert f"{start}config.train.accumulate=4, which makes the same updates with 2 patches per device" in said
    said, _ = sentence_at(None, lambda: train(**{"parallel": mode, "train.resident": True}))
    assert said.startswith(f"{start}config.train.resident=False, config.train.accumulate=2, which makes the same")
    said, _ = sentence_at(None, lambda: train(**{"parallel": mode, "train.accumulate": 4}))
    assert "accumulate=8, which makes the same updates with 1 patches per device at a time, or" in said
    assert said.endswith(f"config.train.batch_size={4 * jax.device_count()}")


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        (epoch, "run_epoch", "a training step on 8 patches per device .* expected config.train.accumulate=2"),
        (folds, "validate", f"validation on 8 patches per device .* config.train.batch_size={4 * jax.device_count()}$"),
    ],
)
def test_memory_that_runs_out_later(train, monkeypatch, module, name, said):
    monkeypatch.setattr(module, name, fail)
    with pytest.raises(InputError, match=said):
        train()


def predictor(**options):
    network = Network(unet.UNet(base_width=2, depth=1, dropout=0.0), ((40.0, 120.0),), side_multiple=2)
    weights = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    grid = Geometry(32, 32, 6.0, 6.0)
    made = SlicePredictor(network, side=16, stride=8, **options)
    return made, lambda: made(weights, np.full((4, 32, 32), 40, np.int16), grid, grid)


@pytest.mark.faults
def test_a_prediction_that_does_not_fit(sentence_at):
    made, predict = predictor(batch_size=8)
    made._program = fail
    start = f"a prediction by 8 patches at a time needs more memory than there is ({EXHAUSTED}); expected "
    assert sentence_at(None, predict) == (f"{start}config.predict.batch_size=4", [])
    said, tried = sentence_at(1, predict)
    assert said == f"{start}a smaller config.model.base_width"
    assert len(tried) == 3  # 4, 2 and 1 patches
    assert tried[0] > tried[1] > tried[2]
    assert sentence_at(tried[1] / xla.USABLE_MEMORY + 1, predict)[0] == f"{start}config.predict.batch_size=2"


def test_whole_slices_that_do_not_fit(sentence_at):
    made, predict = predictor(whole_slices=True)
    made._program = fail
    said, _ = sentence_at(None, predict)
    assert said.startswith("a prediction of whole slices needs more memory")
    assert said.endswith("expected config.predict.whole_slices=False")


LIMIT = """
import resource, sys
import jax, jax.numpy as jnp

def limit():
    "Room for compiling, not for what is computed: what does not fit is refused at once, before any of it is touched."
    jax.block_until_ready(jnp.ones((64, 64)) @ jnp.ones((64, 64)))
    pages = int(open("/proc/self/statm").read().split()[0])
    size = pages * resource.getpagesize() + 3 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))
"""
TRAIN = """
import launch
limit()
sys.exit(launch.main(sys.argv[1:]))
"""
PREDICT = """
import numpy as np
from ichjax.data.regrid import Geometry
from ichjax.errors import InputError
from ichjax.methods.slices import SlicePredictor
from ichjax.models import unet
from ichjax.models.network import Network
network = Network(unet.UNet(base_width=32, depth=1, dropout=0.0), ((40.0, 120.0),), side_multiple=2)
weights = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
predict = SlicePredictor(network, side=1024, stride=1024, batch_size=8)
grid = Geometry(1024, 1024, 0.5, 0.5)
limit()
try:
    predict(weights, np.full((8, 1024, 1024), 40, np.int16), grid, grid)
except InputError as error:
    sys.exit(f"ichjax: {error}")
"""


def in_a_process_with_little_memory(code, *words):
    """What a program says on stderr that computes with one device and little memory."""
    environ = {**os.environ, "XLA_FLAGS": "", "ICHJAX_NATIVE": "0"}
    command = [sys.executable, "-c", LIMIT + code, *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (1, 2), done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")
@pytest.mark.faults
def test_memory_that_really_runs_out_in_training(tiny_config, config_file, tmp_path):
    side = dict.fromkeys(("grid.side", "patch.side", "patch.stride"), 1024)
    fields = {"model.base_width": 32, "model.depth": 1, "model.norm": "none", "train.batch_size": 4}
    path = config_file(tmp_path, tiny_config(**side, **fields, **{"train.negatives": "none"}))
    said = in_a_process_with_little_memory(TRAIN, "train", f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert re.match(
        r"ichjax: fold 0: a training step on 4 patches per device needs more memory than there is "
        r"\(RESOURCE_EXHAUSTED: .*\); expected config\.train\.accumulate=2, which makes",
        said,
    )


@pytest.mark.faults  # 20 s; memory that runs out in training is tested above
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")
def test_memory_that_really_runs_out_in_prediction():
    said = in_a_process_with_little_memory(PREDICT)
    assert re.match(
        r"ichjax: a prediction by 8 patches at a time needs more memory than there is \(RESOURCE_EXHAUSTED: .*\); "
        r"expected config\.predict\.batch_size=4$",
        said,
    )
