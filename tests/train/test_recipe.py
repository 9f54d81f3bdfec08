"""Optimizers against optax and by hand, the average of the weights, and the whole recipe: equal over devices and modes,
and after a resume."""

import functools
import json

import jax
import numpy as np
import optax
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.models import residual_unet
from ichjax.ops.augment import AffineRange
from ichjax.train import augmentation, average, loop
from ichjax.train import fold as folds
from ichjax.train import state as states
from ichjax.train import step as steps
from ichjax.train.state import OptimizerSettings
from tests.train.test_parallel import batch_of

pytestmark = pytest.mark.faults

NOTHING = {"augment.rotation_degrees": 0.0, "augment.shift": 0.0, "augment.shear_degrees": 0.0, "augment.zoom": 0.0}
EVERYTHING = {
    **NOTHING,
    "model.base_width": 2, "model.depth": 2, "model.norm": "instance", "model.dropout": 0.3,
    "model.encoder": "residual", "model.blocks": (1, 1, 1), "model.deep_supervision": True,
    "train.optimizer": "sgd", "train.learning_rate": 1e-2, "train.weight_decay": 1e-4, "train.momentum": 0.9,
    "train.clip_norm": 1.0, "train.ema_decay": 0.9, "train.schedule": "poly", "train.focal_gamma": 2.0,
    "train.dice_weight": 1.0, "train.sampling": "lesions",
    **{name: 0.5 for name in ("transforms.affine_probability", "transforms.mirror_probability",
       "transforms.calibration_probability", "transforms.noise_probability", "transforms.gamma_probability")},
}  # fmt: skip
PARAMS = {"layer": {"kernel": np.array([[1.0, -2.0]], np.float32), "bias": np.array([0.5], np.float32)}}
GRADIENT = {"layer": {"kernel": np.array([[3.0, 0.0]], np.float32), "bias": np.array([4.0], np.float32)}}


def updated(settings, times=1):
    """(parameters, optimizer state) after equal gradients, at a learning rate of 0.1."""
    optimizer = states.make_optimizer(lambda step: 0.1, settings)
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(times):
        updates, state = optimizer.update(GRADIENT, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def close(ours, theirs):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), ours, theirs)


def test_the_default_is_optax_adam():
    adam = optax.adam(lambda step: 0.1)
    updates, _ = adam.update(GRADIENT, adam.init(PARAMS), PARAMS)
    close(updated(states.PAPER_OPTIMIZER)[0], optax.apply_updates(PARAMS, updates))
    assert jax.tree.structure(updated(states.PAPER_OPTIMIZER)[1]) == jax.tree.structure(adam.init(PARAMS))


def test_adamw_decays_kernels_alone():
    with_decay = updated(OptimizerSettings("adamw", weight_decay=0.01))[0]["layer"]
    without = updated(OptimizerSettings("adam"))[0]["layer"]
    np.testing.assert_allclose(
        with_decay["kernel"], without["kernel"] - 0.1 * 0.01 * PARAMS["layer"]["kernel"], rtol=1e-5
    )
    np.testing.assert_allclose(with_decay["bias"], without["bias"])


def test_sgd_with_nesterov_momentum_by_hand():
    # Two equal gradients g: the velocities are g and g + m g; a step is g + m v.
    bias = updated(OptimizerSettings("sgd", momentum=0.9), times=2)[0]["layer"]["bias"]
    np.testing.assert_allclose(bias, 0.5 - 0.1 * 4 * ((1 + 0.9) + (1 + 0.9 * 1.9)), rtol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    bias = updated(OptimizerSettings("sgd", momentum=0.0, clip_norm=1.0))[0]["layer"]["bias"]
    np.testing.assert_allclose(bias, 0.5 - 0.1 * 4 / 5, rtol=1e-6)  # the norm of (3, 0, 4) is 5


def test_the_average_of_the_weights_by_hand():
    settings = OptimizerSettings("sgd", momentum=0.0, ema_decay=0.75)
    params, state = updated(settings, times=3)
    visited = [0.5 - 0.4 * k for k in (1, 2, 3)]
    weights = [0.25 * 0.75**k for k in (2, 1, 0)]
    expected = np.dot(visited, weights) / sum(weights)
    np.testing.assert_allclose(average.averaged(params, state)["layer"]["bias"], [expected], rtol=1e-6)


def test_without_an_average_the_weights_are_the_parameters():
    params, state = updated(states.PAPER_OPTIMIZER)
    assert average.averaged(params, state) is params


def test_the_poly_schedule_by_hand(tiny_config):
    schedule = states.make_schedule(tiny_config(**{"train.schedule": "poly", "train.learning_rate": 2.0}), 100)
    np.testing.assert_allclose([schedule(k) for k in (0, 50, 100)], [2.0, 2 * 0.5**0.9, 0.0], rtol=1e-6)


@pytest.fixture(scope="module")
def trained(tiny_config, after_steps):
    """trained(mode, devices): parameters and average after 6 steps of the whole recipe."""
    config = tiny_config(**EVERYTHING | {"patch.side": 8})
    network = residual_unet.network_from_config(config)
    start = jax.device_get(states.create(network, config, fold=0))
    optimizer = states.make_optimizer(states.make_schedule(config, 10), states.optimizer_settings(config))
    settings = steps.StepSettings(AffineRange(**config.augment), 0, recipe=augmentation.from_config(config))

    def run(mode, devices):
        batches = map(batch_of, range(6))
        state = after_steps(start, batches, network, optimizer, settings, mode=mode, devices=devices)
        return jax.device_get((state.params, average.averaged(state.params, state.opt_state)))

    return functools.cache(run)


@pytest.mark.parametrize(("mode", "devices"), [("jit", 2), ("pmap", 2), ("shard_map", 2)])
def test_the_whole_recipe_gives_the_same_weights_on_any_number_of_devices(trained, mode, devices):
    tolerance = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5)
    jax.tree.map(tolerance, trained(mode, devices), trained("jit", 1))


def test_the_whole_recipe_resumes_to_the_same_bits(tiny_root, tiny_config, tmp_path, monkeypatch):
    scans, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)
    train, valid = ([scan for scan in scans if scan.number in numbers] for numbers in ((49, 50, 51), (52, 54)))
    config = tiny_config(**EVERYTHING | {"train.epochs": 2})
    network = residual_unet.network_from_config(config)
    fit = functools.partial(loop.train_fold, config, network, train, valid, fold=0)
    whole = fit(folder=tmp_path / "whole")
    report = folds.report_epoch

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folds, "report_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(folder=tmp_path / "killed")
    monkeypatch.setattr(folds, "report_epoch", report)
    jax.tree.map(np.testing.assert_array_equal, fit(folder=tmp_path / "killed").params, whole.params)
    rows = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
