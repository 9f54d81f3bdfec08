"""jit, pmap and shard_map on 1, 2, 4 and 8 devices give the same parameters for the same batches."""

import functools
import itertools

import jax
import numpy as np
import pytest

from benchmarks import compiled_text
from ichjax.errors import InputError
from ichjax.models import unet
from ichjax.ops.augment import AffineRange
from ichjax.train import parallel
from ichjax.train import state as states
from ichjax.train import step as steps
from tests import eight_devices

STEPS = 20
MODES = [("jit", 2), ("jit", 4), ("pmap", 1), ("pmap", 4), ("shard_map", 2), ("shard_map", 4)]
EIGHT = [("jit", 8), ("pmap", 8), ("shard_map", 8)]


def batch_of(seed, side=8, size=8):
    rng = np.random.default_rng(seed)
    image = rng.integers(-40, 130, (size, side, side)).astype(np.int16)
    return {
        "image": image,
        "mask": (image > 90).astype(np.uint8),
        "index": rng.choice(1000, size, replace=False).astype(np.int32),
        "weight": np.ones(size, np.float32),
    }


def _groups(batches, size):
    while group := tuple(itertools.islice(batches, size)):
        yield group


@pytest.fixture(scope="module")
def train(tiny_config):
    """train(mode, devices, accumulate, group): parameters and losses after `STEPS` steps, with dropout and warps."""
    config = tiny_config(
        **{"patch.side": 8, "model.base_width": 2, "model.depth": 1, "model.dropout": 0.5, "model.norm": "none"}
    )
    start = jax.device_get(states.create(unet.network_from_config(config), config, fold=0))
    optimizer = states.make_optimizer(states.make_schedule(config, 10))
    settings = steps.StepSettings(AffineRange(**config.augment), 0)

    @functools.cache
    def compiled(mode, devices, accumulate, grouped):
        mesh = parallel.make_mesh(jax.devices()[:devices])
        parts = settings._replace(accumulate=accumulate)
        make_step = functools.partial(steps.make_train_step, unet.network_from_config(config), optimizer, parts)
        return parallel.compile_step(make_step, mode=mode, mesh=mesh, grouped=grouped), mesh

    def run(mode, devices, accumulate=1, group=1):
        step, mesh = compiled(mode, devices, accumulate, group > 1)
        state, losses, batches = parallel.replicate(start, mesh), [], map(batch_of, range(STEPS))
        if group > 1:
            batches = (jax.tree.map(lambda *parts: np.stack(parts), *stack) for stack in _groups(batches, group))
        for batch in parallel.prefetch(batches, mode=mode, mesh=mesh, grouped=group > 1):
            state, metrics = step(state, batch)
            losses.append(metrics["loss"].reshape(*metrics["finite"].shape, -1).mean(axis=-1))
        return jax.device_get((state.params, np.concatenate([np.atleast_1d(loss) for loss in losses])))

    run.start, run.compiled = start, compiled
    run.once = functools.cache(run)
    return run


@pytest.mark.parametrize(("mode", "devices"), MODES if len(jax.devices()) < 8 else EIGHT)
def test_every_mode_and_number_of_devices_give_the_same_parameters(train, mode, devices):
    (ours, losses), (theirs, losses_there) = train.once(mode, devices), train.once("jit", 1)
    np.testing.assert_allclose(losses, losses_there, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5), ours, theirs)
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), train.start.params, theirs)
    assert min(jax.tree.leaves(moved)) > 1e-3  # Adam's step is 3e-3, so 2e-5 is rounding


@pytest.mark.faults
def test_eight_devices_give_the_same_parameters():
    assert f"{len(EIGHT)} passed" in eight_devices.run(__file__, "every_mode")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("mode", "devices", "accumulate", "group"),
    [("jit", 2, 4, 1), ("jit", 1, 1, 5), ("pmap", 2, 2, 5), ("shard_map", 4, 1, 5)],
)
def test_accumulation_and_steps_per_dispatch_change_nothing(train, mode, devices, accumulate, group):
    (ours, losses), (theirs, losses_there) = train(mode, devices, accumulate, group), train.once("jit", 1)
    np.testing.assert_allclose(losses, losses_there, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5), ours, theirs)


@pytest.mark.parametrize(("mode", "devices"), [("jit", 4), ("shard_map", 4)])
def test_repeated_runs_are_identical_to_the_bit(train, mode, devices):
    jax.tree.map(np.testing.assert_array_equal, train(mode, devices), train.once(mode, devices))


def test_under_jit_a_step_has_one_all_reduce(train):
    """Losses stay divided by example: their mean in float32 cannot be part of a reduction in bfloat16."""
    step, mesh = train.compiled("jit", 4, 1, False)
    batch = parallel.shard_batch(batch_of(0), mode="jit", mesh=mesh)
    program = step.lower(parallel.replicate(train.start, mesh), batch).compile()
    reductions = compiled_text.collectives(compiled_text.instructions(program.as_text()))
    assert [one.kind.removesuffix("-start") for one in reductions] == ["all-reduce"]
    _, metrics = program(parallel.replicate(train.start, mesh), batch)
    assert [shard.data.shape for shard in metrics["loss"].addressable_shards] == [(2,)] * 4


def test_prefetching_keeps_order_and_number_of_batches():
    mesh = parallel.make_mesh(jax.devices()[:2])
    for count in (0, 1, 2, 5):
        batches = [{"index": np.arange(4) + i} for i in range(count)]
        for mode in ("jit", "pmap"):
            indices = [np.asarray(b["index"]).ravel() for b in parallel.prefetch(iter(batches), mode=mode, mesh=mesh)]
            assert [a.tolist() for a in indices] == [b["index"].tolist() for b in batches]


def test_a_batch_that_does_not_split_over_the_devices_is_refused():
    mesh = parallel.make_mesh()
    parallel.check_batch(8, mesh)
    with pytest.raises(InputError, match="batch_size is 6; expected a multiple of the 4 devices"):
        parallel.check_batch(6, mesh)


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="'xmap'"):
        parallel.compile_step(lambda axis: None, mode="xmap", mesh=parallel.make_mesh())
