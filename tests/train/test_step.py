"""The training step against a reference implementation, and the dependencies of its random numbers."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ichjax.models import unet
from ichjax.models.network import Network
from ichjax.ops.augment import AffineRange
from ichjax.train import state as states
from ichjax.train import step as steps

OPTIMIZER = states.make_optimizer(lambda step: 1e-3)
SIDE, WINDOWS = 16, ((40.0, 120.0), (60.0, 60.0))
RANGES, STILL = AffineRange(), AffineRange(0.0, 0.0, 0.0, 0.0)


class Tiny(nn.Module):
    """A minimal network with a convolution and per-example dropout."""

    dropout: float = 0.5

    @nn.compact
    def __call__(self, images, *, dropout_keys=None):
        x = nn.tanh(nn.Conv(4, (3, 3))(images))
        if dropout_keys is not None and self.dropout:
            keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.dropout, x.shape[1:]))(dropout_keys)
            x = jnp.where(keep, x / (1 - self.dropout), 0)
        return nn.Conv(1, (1, 1))(x)[..., 0]


def batch_of(seed, size=6):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(-40, 130, (size, SIDE, SIDE)).astype(np.int16),
        "mask": (rng.random((size, SIDE, SIDE)) < 0.2).astype(np.uint8),
        "index": rng.choice(1000, size, replace=False).astype(np.int32),
        "weight": np.ones(size, np.float32),
    }


@functools.cache
def make(ranges=RANGES, dropout=0.5, seed=3, fold=1, dice_weight=0.0):
    """(state before the first step, jitted step) of `Tiny` with Adam at 0.01."""
    network, optimizer = Network(Tiny(dropout), WINDOWS, dice_weight=dice_weight), optax.adam(1e-2)
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), SIDE)
    state = states.TrainState(jnp.int32(0), jnp.int32(fold), params, jax.jit(optimizer.init)(params))
    return state, jax.jit(steps.make_train_step(network, optimizer, steps.StepSettings(ranges, seed)))


def close(ours, theirs, tolerance):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), ours, theirs)


@pytest.mark.parametrize("dice_weight", [0.0, 0.7])
def test_three_steps_equal_a_reference_implementation(dice_weight):
    """Without augmentation and dropout; loss from sigmoid and logarithm, Adam from its paper's formulas."""
    state, step = make(STILL, 0.0, dice_weight=dice_weight)

    def loss_of(params, images, truth):
        conv = lambda x, p, pad: jax.lax.conv_general_dilated(  # noqa: E731
            x, p["kernel"], (1, 1), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
        )
        x = jnp.tanh(conv(images, params["Conv_0"], "SAME") + params["Conv_0"]["bias"][None, None, None])
        z = conv(x, params["Conv_1"], "VALID") + params["Conv_1"]["bias"][None, None, None]
        p = 1 / (1 + jnp.exp(-z[..., 0]))
        entropy = -(truth * jnp.log(p) + (1 - truth) * jnp.log(1 - p)).mean()
        dice = (2 * (p * truth).sum((1, 2)) + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)
        return entropy + dice_weight * (1 - dice).mean()

    reference = jax.jit(jax.value_and_grad(loss_of))
    expected = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params)
    first = jax.tree.map(np.zeros_like, expected)
    second = first
    for number in range(1, 4):
        batch = batch_of(number)
        channels = [np.clip((batch["image"] - (level - width / 2)) / width, 0, 1) for level, width in WINDOWS]
        loss, gradient = reference(expected, np.stack(channels, axis=-1), batch["mask"].astype(float))
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * np.asarray(g, np.float64), first, gradient)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * np.asarray(g, np.float64) ** 2, second, gradient)
        expected = jax.tree.map(
            lambda p, m, v, n=number: p - 0.01 * (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8),
            expected, first, second,
        )  # fmt: skip
        state, metrics = step(state, batch)
        np.testing.assert_allclose(metrics["loss"].mean(), loss, rtol=1e-5)
        norm = np.sqrt(sum((np.asarray(g, float) ** 2).sum() for g in jax.tree.leaves(gradient)))
        np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-4)
    close(state.params, expected, 1e-4)
    assert int(state.step) == 3


def test_keys_depend_on_seed_fold_step_and_index_alone():
    data = lambda *a: np.asarray(jax.random.key_data(keys(*a)))  # noqa: E731
    keys = jax.jit(steps.example_keys)
    index = np.array([5, 900, 0, 77], np.int32)
    there = data(1, 2, 3, index)
    np.testing.assert_array_equal(data(1, 2, 3, index[::-1].copy()), there[::-1])
    np.testing.assert_array_equal(data(1, 2, 3, np.array([77] * 4, np.int32))[0], there[3])
    seen = [there, data(2, 2, 3, index), data(1, 1, 3, index), data(1, 2, 4, index)]
    assert len({tuple(key) for keys in seen for key in keys}) == 16


def test_order_within_a_batch_does_not_matter():
    state, step = make()
    batch, order = batch_of(0), np.array([3, 0, 5, 1, 4, 2])
    one, metrics = step(state, batch)
    other, other_metrics = step(state, {name: array[order] for name, array in batch.items()})
    np.testing.assert_allclose(metrics["loss"].mean(), other_metrics["loss"].mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["gradient_norm"], other_metrics["gradient_norm"], rtol=1e-5)
    close(one.opt_state[0].mu, other.opt_state[0].mu, 1e-6)
    renamed, _ = step(state, {**batch, "index": batch["index"] + 1})  # the same pixels with other indices
    assert (
        float(abs(renamed.opt_state[0].mu["Conv_0"]["kernel"] - one.opt_state[0].mu["Conv_0"]["kernel"]).max()) > 1e-4
    )


@pytest.mark.parametrize("other", [{"seed": 4}, {"fold": 0}])
def test_seed_and_fold_change_the_random_numbers(other):
    (state, step), (there, step_there) = make(), make(**other)
    assert float(step(state, batch_of(0))[1]["loss"].mean()) != float(step_there(there, batch_of(0))[1]["loss"].mean())


def test_random_numbers_change_with_the_step():
    state, step = make()
    later = state.replace(step=jnp.ones((), jnp.int32))
    assert float(step(state, batch_of(0))[1]["loss"].mean()) != float(step(later, batch_of(0))[1]["loss"].mean())


def test_validation_sums_merge_exactly_and_exclude_padding():
    rng = np.random.default_rng(5)
    network = Network(Tiny(), WINDOWS)
    params = jax.tree.map(lambda x: 3 * x, make()[0].params)
    step = jax.jit(steps.make_validation_step(network))
    parts = [batch_of(11, 4), batch_of(12, 4)]
    parts[1]["weight"][2:] = 0.0
    merged = steps.merge([jax.device_get(step(params, part)) for part in parts])
    for part in parts:  # the content of the padding does not matter
        part["image"][part["weight"] == 0] = rng.integers(-40, 130)
        part["mask"][part["weight"] == 0] = 1
    assert steps.merge([jax.device_get(step(params, part)) for part in parts]) == merged

    real = {name: np.concatenate([part[name][part["weight"] > 0] for part in parts]) for name in parts[0]}
    channels = [np.clip((real["image"] - (level - width / 2)) / width, 0, 1) for level, width in WINDOWS]
    logits = jax.jit(network.logits)(params, np.stack(channels, axis=-1).astype(np.float32))
    p, truth = 1 / (1 + np.exp(-np.asarray(logits, np.float64))), real["mask"].astype(float)
    expected = {
        "validation_loss": -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean(),
        "validation_jaccard": (p * truth).sum() / (p + truth - p * truth).sum(),
        "validation_dice": 2 * ((p > 0.5) * truth).sum() / ((p > 0.5).sum() + truth.sum()),
        "constant_output": False,
    }
    assert merged.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(merged[name], value, rtol=1e-5, err_msg=name)
    assert 0 < merged["validation_dice"] < 1


def test_the_corner_pixel_is_set_in_training_and_validation():
    """As if the last pixel of every patch were at the top of both windows; its mask does not change."""
    state, _ = make(STILL, 0.0)
    bright = batch_of(0)
    bright["image"][:, -1, -1] = 3000
    networks = [Network(Tiny(0.0), WINDOWS, corner_pixel=corner) for corner in (False, True)]
    train = [jax.jit(steps.make_train_step(n, optax.adam(1e-2), steps.StepSettings(STILL, 3))) for n in networks]
    validate = [jax.jit(steps.make_validation_step(network)) for network in networks]
    assert float(train[1](state, batch_of(0))[1]["loss"].mean()) == float(train[0](state, bright)[1]["loss"].mean())
    assert float(train[1](state, batch_of(0))[1]["loss"].mean()) != float(
        train[0](state, batch_of(0))[1]["loss"].mean()
    )
    close(validate[1](state.params, batch_of(0)), validate[0](state.params, bright), 0)
    assert float(validate[1](state.params, batch_of(0))["loss"]) != float(
        validate[0](state.params, batch_of(0))["loss"]
    )


def test_a_constant_output_is_detected_across_batches():
    sums = {"examples": 1, "loss": 1, "intersection": 0, "union": 1, "overlap": 0, "area": 1}
    constant = [{**sums, "lowest": 0.25, "highest": 0.25}] * 2
    assert steps.merge(constant)["constant_output"]
    assert not steps.merge([constant[0], {**sums, "lowest": 0.26, "highest": 0.26}])["constant_output"]


def test_a_step_is_traced_once(tiny_config):
    config = tiny_config(**{"augment.zoom": 0.0, "model.depth": 1, "model.base_width": 2})
    state = states.create(unet.network_from_config(config), config, fold=0)
    settings = steps.StepSettings(AffineRange(**config.augment), 0)
    step = steps.make_train_step(unet.network_from_config(config), OPTIMIZER, settings)
    chex.clear_trace_counter()
    jitted = jax.jit(chex.assert_max_traces(step, n=1), donate_argnums=0)
    before = state
    for number in range(3):
        state, _ = jitted(state, batch_of(number, 8))
    assert int(state.step) == 3
    assert jax.tree.leaves(before.params)[0].is_deleted()  # donated


def test_bfloat16_computes_with_float32_parameters(tiny_config):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        config = tiny_config(**{"model.dtype": dtype, "model.depth": 1, "model.base_width": 2})
        state = states.create(unet.network_from_config(config), config, fold=0)
        settings = steps.StepSettings(AffineRange(**config.augment), 0)
        step = jax.jit(steps.make_train_step(unet.network_from_config(config), OPTIMIZER, settings))
        if dtype == "bfloat16":
            assert "bf16" in str(jax.make_jaxpr(step)(state, batch_of(0, 8)))
        after, metrics = step(state, batch_of(0, 8))
        floats = [
            leaf.dtype
            for leaf in jax.tree.leaves((after.params, after.opt_state, metrics))
            if leaf.dtype not in ("int32", "bool")
        ]
        assert set(floats) == {np.dtype("float32")}
        losses[dtype] = float(metrics["loss"].mean())
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.02)
    assert losses["bfloat16"] != losses["float32"]


def test_the_first_state_depends_on_seed_and_fold(tiny_config):
    def first(seed, fold):
        config = tiny_config(seed=seed, **{"model.base_width": 2, "model.depth": 1, "model.norm": "none"})
        state = states.create(unet.network_from_config(config), config, fold=fold)
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params)])

    np.testing.assert_array_equal(first(0, 0), first(0, 0))
    assert (first(0, 0) != first(1, 0)).any()
    assert (first(0, 0) != first(0, 1)).any()


def test_learning_rates(tiny_config):
    config = tiny_config(**{"train.learning_rate": 0.02, "train.epochs": 10})
    keras = states.make_schedule(config, 1000)
    for step in (0, 1, 250, 999):
        np.testing.assert_allclose(keras(step), 0.02 / (1 + 0.02 / 10 * step), rtol=1e-6)
    config.train.schedule, config.train.warmup_steps = "cosine", 100
    cosine = states.make_schedule(config, 1000)
    expected = {0: 0.0, 50: 0.01, 100: 0.02, 550: 0.01, 1000: 0.0}
    for step, rate in expected.items():
        np.testing.assert_allclose(cosine(step), rate, atol=1e-7)


@pytest.mark.parametrize("skip", [False, True])
def test_a_nonfinite_update_is_flagged_and_optionally_skipped(skip):
    state, _ = make(STILL, 0.0)
    settings = steps.StepSettings(STILL, 3, skip_nonfinite=skip)
    step = jax.jit(steps.make_train_step(Network(Tiny(0.0), WINDOWS), optax.adam(1e-2), settings))
    state, metrics = step(state, batch_of(1))
    assert bool(metrics["finite"])
    kernel = state.params["Conv_1"]["kernel"]
    broken = {**state.params, "Conv_1": {**state.params["Conv_1"], "kernel": kernel.at[0, 0, 0, 0].set(jnp.inf)}}
    after, metrics = step(state.replace(params=broken), batch_of(2))
    assert not bool(metrics["finite"])
    assert int(after.step) == 2
    if skip:
        jax.tree.map(np.testing.assert_array_equal, after.params, broken)
        jax.tree.map(np.testing.assert_array_equal, after.opt_state, state.opt_state)
    else:
        assert not np.isfinite(np.asarray(after.params["Conv_0"]["kernel"])).all()


def test_the_loss_of_one_example_that_is_not_finite_flags_the_update():
    class OneInfinite(Network):
        """Its gradient would be finite."""

        def loss(self, *arguments, **options):
            losses = super().loss(*arguments, **options)
            return losses + jnp.where(jnp.arange(len(losses)) == 2, jnp.inf, 0.0)

    state, _ = make(STILL, 0.0)
    settings = steps.StepSettings(STILL, 3, accumulate=3)
    _, metrics = jax.jit(steps.make_train_step(OneInfinite(Tiny(0.0), WINDOWS), optax.adam(1e-2), settings))(
        state, batch_of(1, size=9)
    )
    assert np.flatnonzero(~np.isfinite(metrics["loss"])).tolist() == [6, 7, 8]  # the third example of each part
    assert not bool(metrics["finite"])
