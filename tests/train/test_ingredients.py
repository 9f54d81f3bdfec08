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
from ichjax.train import parallel
from ichjax.train import state as states
from ichjax.train import step as steps
from tests.train.test_parallel import batch_of
from tests.train.test_recipe import EVERYTHING

SLICES = {**EVERYTHING, "model.neighbors": 1, "model.slice_levels": 2, "model.mirrored_channel": True}


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:5])[0]


@pytest.fixture(scope="module")
def train(tiny_config):
    """train(mode, devices): parameters after 4 steps on stacks of slices."""
    config = tiny_config(**SLICES, **{"patch.side": 8})
    network = residual_unet.network_from_config(config)
    start = jax.device_get(states.create(network, config, fold=0))
    optimizer = states.make_optimizer(states.make_schedule(config, 10), states.optimizer_settings(config))
    settings = steps.StepSettings(steps.augment.AffineRange(**config.augment), 0)
    count = network.input_shape(8).shape[-1] // len(config.windows)

    def stacked(seed):
        images = [batch_of(100 * seed + k)["image"] for k in range(count - 1)]
        batch = batch_of(seed)
        return {**batch, "image": np.stack([batch["image"], *images], axis=-1)}

    def run(mode, devices):
        mesh = parallel.make_mesh(jax.devices()[:devices])
        make_step = functools.partial(steps.make_train_step, network, optimizer, settings)
        step, state = parallel.compile_step(make_step, mode=mode, mesh=mesh), parallel.replicate(start, mesh)
        for batch in parallel.prefetch(map(stacked, range(4)), mode=mode, mesh=mesh):
            state, _ = step(state, batch)
        return jax.device_get(state.params)

    run.start = start.params
    return functools.cache(run)


@pytest.mark.parametrize(("mode", "devices"), [("jit", 2), ("pmap", 2), ("shard_map", 4)])
def test_stacks_of_slices_give_the_same_weights_on_any_number_of_devices(train, mode, devices):
    one = train("jit", 1)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5), train(mode, devices), one)


def test_a_fold_is_trained_loaded_and_predicted_and_not_exported(scans, tiny_config, tmp_path):
    method = registry.make("unet", tiny_config(**SLICES, **{"train.epochs": 1}))
    params = method.fit(scans[:3], scans[3:], workdir=tmp_path, fold=0)
    loaded = method.load(tmp_path)
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
        ({"model.encoder": "plain", "model.deep_supervision": False}, "slice_levels is 2; expected 0 unless"),
        ({"model.slice_levels": 4}, "slice_levels is 4; expected at most 3"),
        ({"model.neighbors": -1}, "neighbors is -1; expected at least 0"),
    ],
)
def test_contradictory_settings_are_refused(tiny_config, fields, message):
    config_check.check(tiny_config(**SLICES))
    with pytest.raises(InputError, match=message):
        config_check.check(tiny_config(**SLICES | fields))
