"""Networks that see more than a slice train alike on any number of devices, resume, predict, and cannot be exported."""

import functools

import jax
import numpy as np
import pytest

from ichjax import config_check
from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.data.regrid import own_grid
from ichjax.errors import InputError
from ichjax.methods import registry
from ichjax.models import residual_unet
from ichjax.ops.augment import AffineRange
from ichjax.train import augmentation
from ichjax.train import fold as folds
from ichjax.train import state as states
from ichjax.train import step as steps
from tests.train.test_parallel import batch_of
from tests.train.test_recipe import NOTHING

pytestmark = pytest.mark.faults

SLICES = {
    **NOTHING,
    "model.base_width": 2, "model.depth": 1, "model.norm": "instance", "model.encoder": "residual",
    "model.blocks": (1, 1), "model.neighbors": 1, "model.slice_levels": 2, "model.mirrored_channel": True,
    "transforms.mirror_probability": 0.5, "transforms.slice_average_probability": 0.5, "train.ema_decay": 0.9,
    # Biases before a normalization have no gradient but rounding, which Adam would scale to a full step.
    "train.optimizer": "sgd", "train.learning_rate": 1e-2, "train.momentum": 0.9,
}  # fmt: skip


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:5])[0]


@pytest.fixture(scope="module")
def train(tiny_config, after_steps):
    """train(mode, devices): parameters after 4 steps on stacks of slices."""
    config = tiny_config(**SLICES, **{"patch.side": 8})
    network = residual_unet.network_from_config(config)
    start = jax.device_get(states.create(network, config, fold=0))
    optimizer = states.make_optimizer(states.make_schedule(config, 10), states.optimizer_settings(config))
    settings = steps.StepSettings(AffineRange(**config.augment), 0, recipe=augmentation.from_config(config))
    count = network.input_shape(8).shape[-1] // len(config.windows)

    def stacked(seed):
        images = [batch_of(100 * seed + k)["image"] for k in range(count - 1)]
        batch = batch_of(seed)
        return {**batch, "image": np.stack([batch["image"], *images], axis=-1)}

    def run(mode, devices):
        batches = map(stacked, range(4))
        state = after_steps(start, batches, network, optimizer, settings, mode=mode, devices=devices)
        return jax.device_get(state.params)

    run.start = start.params
    return functools.cache(run)


@pytest.mark.parametrize(
    ("mode", "devices"), [("jit", 2), pytest.param("pmap", 2, marks=pytest.mark.faults), ("shard_map", 4)]
)
def test_stacks_of_slices_give_the_same_weights_on_any_number_of_devices(train, mode, devices):
    one = train("jit", 1)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5), train(mode, devices), one)


@pytest.mark.faults  # 20 s; test_recipe.py resumes the whole recipe
def test_a_fold_is_resumed_to_the_same_bits_loaded_and_predicted_and_not_exported(
    scans, tiny_config, tmp_path, monkeypatch
):
    fields = {"train.epochs": 2, "train.hard_negatives": 0.5, "train.mine_every": 1}
    method = registry.make("unet", tiny_config(**SLICES, **fields))
    fit = functools.partial(method.fit, scans[:3], scans[3:], fold=0)
    params = fit(workdir=tmp_path / "whole")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folds, "report_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(workdir=tmp_path / "killed")
    fit(workdir=tmp_path / "killed")
    loaded = method.load(tmp_path / "killed")
    jax.tree.map(np.testing.assert_array_equal, loaded.weights, params.weights)
    probability = np.asarray(method.predict(loaded, scans[0].volume).probability)
    assert probability.shape == scans[0].volume.shape
    assert np.isfinite(probability).all()
    assert method.slice_program(params, own_grid(scans[0].volume)) is None
    assert sum(row["parameters"] for row in method.layers()) == sum(x.size for x in jax.tree.leaves(params.weights))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model.neighbors": 0},
            "slice_levels is 2; expected 0 unless .*'residual' and config.model.neighbors",
        ),
        ({"model.encoder": "plain"}, "slice_levels is 2; expected 0 unless"),
        ({"model.slice_levels": 3}, "slice_levels is 3; expected at most 2"),
        ({"model.neighbors": -1}, "neighbors is -1; expected at least 0"),
    ],
)
def test_contradictory_settings_are_refused(tiny_config, fields, message):
    config_check.check(tiny_config(**SLICES))
    with pytest.raises(InputError, match=message):
        config_check.check(tiny_config(**SLICES | fields))
