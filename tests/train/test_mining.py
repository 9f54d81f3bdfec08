"""Mining of hard negatives: scores by hand, on any number of devices, and the same bits after a kill."""

import functools

import chex
import jax
import numpy as np
import pytest

from ichjax import config_check
from ichjax.data.hard_negatives import HardNegatives
from ichjax.errors import InputError
from ichjax.models import unet
from ichjax.train import checkpoint, mining, parallel, programs
from ichjax.train import fold as folds

pytestmark = pytest.mark.faults

SMALL = {"model.base_width": 2, "model.depth": 1, "model.norm": "none", "model.dropout": 0.3, "train.epochs": 4}
MINING = {**SMALL, "train.hard_negatives": 0.5, "train.mine_every": 2, "train.ema_decay": 0.8}


@pytest.fixture(scope="module")
def train(train):
    """train(folder, **fields): of four epochs, with hard negatives."""
    return functools.partial(train, **MINING)


@pytest.mark.parametrize("devices", [1, 4])
def test_scores_by_hand_on_any_number_of_devices(parts, tiny_config, tmp_path, monkeypatch, devices):
    config = tiny_config(**MINING)
    network = unet.network_from_config(config)
    reader, epochs = folds.examples(config, network, parts[0], "matched", 0)
    hard = mining.with_hard_negatives(config, epochs).hard
    assert len(hard.rows) % 8  # the last batch is padded
    assert not epochs.table.positive[hard.rows].any()
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    mesh = parallel.make_mesh(jax.devices()[:devices])
    chex.clear_trace_counter()
    traced = chex.assert_max_traces(n=1)(mining.make_mass_step(network))
    monkeypatch.setattr(mining, "make_mass_step", lambda network: traced)
    monkeypatch.setattr(mining, "_program", functools.lru_cache(mining._program.__wrapped__))
    for epoch in (2, 4):
        weights = parallel.replicate(params, mesh)
        mining.mine(hard, network, config, weights, reader, mesh=mesh, folder=tmp_path, epoch=epoch)
    hu = reader.read(hard.rows)["image"]
    probability = np.asarray(jax.jit(network.probability)(params, network.images(hu)), np.float64)
    np.testing.assert_allclose(hard.masses[2], (probability**2).sum(axis=(1, 2)), rtol=1e-4)
    again = HardNegatives(0.5, hard.rows)
    mining.restore(again, config, folder=tmp_path, epochs_done=3)
    np.testing.assert_array_equal(again.masses[2], hard.masses[2], strict=True)
    assert list(again.masses) == [2]


def test_batches_of_a_period_are_read_after_the_last_one_is_used():
    events = []

    def read(start, stop):
        events.append((start, stop))
        yield from list(range(start, stop))

    for step in mining.by_period(read, start=4, stop=12, period=5):
        events.append(step)
    assert events == [(4, 5), 4, (5, 10), 5, 6, 7, 8, 9, (10, 12), 10, 11]
    assert list(mining.by_period(read, start=1, stop=3, period=0)) == [1, 2]
    assert events[-1] == (1, 3)


def test_a_fold_mines_at_the_configured_epochs_and_draws_from_them(whole, train, tmp_path):
    folder, _ = whole
    assert [path.name for path in sorted(folder.glob("*.npy"))] == ["hard_negatives_2.npy"]  # none after the last epoch
    plain = train(tmp_path, **{"train.hard_negatives": 0.0})
    assert not list(tmp_path.glob("*.npy"))
    rows, same = (
        [line.split('"loss": ')[1].split(",")[0] for line in (at / "metrics.jsonl").read_text().splitlines()]
        for at in (folder, tmp_path)
    )
    assert rows[:2] == same[:2]  # before the first scores
    assert rows[2] != same[2]
    assert plain.epoch in (1, 2, 3, 4)


@pytest.mark.parametrize(("module", "name", "calls"), [(folds, "report_epoch", 2), (folds, "report_epoch", 3),
                                                       (checkpoint.Checkpoints, "save", 2)])  # fmt: skip
def test_a_killed_run_resumes_to_the_same_bits(train, whole, tmp_path, monkeypatch, module, name, calls):
    """After the scores' checkpoint, an epoch later, and between the scores and their checkpoint."""
    folder, expected = whole
    function, seen = getattr(module, name), []

    def killed(*arguments):
        seen.append(1)
        if len(seen) == calls:
            raise KeyboardInterrupt
        return function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path)
    assert (tmp_path / "hard_negatives_2.npy").is_file()
    fitted = train(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, fitted.params, expected.params)
    np.testing.assert_array_equal(*(np.load(at / "hard_negatives_2.npy") for at in (tmp_path, folder)))


@pytest.mark.parametrize(
    ("mode", "devices"), [("shard_map", 4), pytest.param("pmap", 2, marks=pytest.mark.faults), ("jit", 1)]
)
def test_every_mode_and_number_of_devices_give_the_same_weights(train, whole, tmp_path, monkeypatch, mode, devices):
    make = parallel.make_mesh
    monkeypatch.setattr(parallel, "make_mesh", lambda: make(jax.devices()[:devices]))
    programs.make.cache_clear()
    fitted = train(tmp_path, parallel=mode)
    programs.make.cache_clear()
    folder, expected = whole
    masses = [np.load(at / "hard_negatives_2.npy") for at in (tmp_path, folder)]
    np.testing.assert_allclose(*masses, rtol=1e-3)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), fitted.params, expected.params)


@pytest.mark.parametrize("content", [None, b"", b"damaged", "short"])
def test_scores_that_are_missing_damaged_or_of_other_patches_are_refused(tiny_config, tmp_path, content):
    path = tmp_path / "hard_negatives_2.npy"
    if content == "short":
        np.save(path, np.zeros(3, np.float32))
    elif content is not None:
        path.write_bytes(content)
    hard = HardNegatives(0.5, np.arange(5))
    restore = functools.partial(mining.restore, hard, tiny_config(**MINING), folder=tmp_path)
    restore(epochs_done=1)
    assert not hard.masses
    with pytest.raises(InputError, match=r"hard_negatives_2\.npy: cannot be read .*of 5 patches after epoch 2"):
        restore(epochs_done=2)


def test_a_folder_that_cannot_be_written_is_an_input_error(parts, tiny_config, tmp_path):
    config = tiny_config(**MINING)
    network, mesh = unet.network_from_config(config), parallel.make_mesh()
    reader, epochs = folds.examples(config, network, parts[0], "matched", 0)
    hard = mining.with_hard_negatives(config, epochs).hard
    params = parallel.replicate(jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16), mesh)
    with pytest.raises(InputError, match=r"hard_negatives_2\.npy: cannot be written"):
        mining.mine(hard, network, config, params, reader, mesh=mesh, folder=tmp_path / "none", epoch=2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train.hard_negatives": 1.0}, "hard_negatives is 1.0; expected 0 or more, below 1"),
        ({"train.negatives": "none"}, "hard_negatives is 0.5; expected 0 unless config.train.negatives is 'matched'"),
        ({"train.mine_every": 4}, "mine_every is 4; expected fewer than config.train.epochs"),
        ({"train.mine_every": 0}, "mine_every is 0; expected at least 1"),
    ],
)
def test_contradictory_settings_are_refused(tiny_config, fields, message):
    config_check.check(tiny_config(**MINING))
    config_check.check(tiny_config(**MINING | {"train.mine_every": 9, "train.minutes": 1.0}))
    with pytest.raises(InputError, match=message):
        config_check.check(tiny_config(**MINING | fields))
