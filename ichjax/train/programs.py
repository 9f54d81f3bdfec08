"""The compiled programs of a fold's training."""

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections
import optax
from jax.sharding import Mesh

from ichjax import xla
from ichjax.config import Config, fields_of, training_seed
from ichjax.data import loader
from ichjax.models.network import Network
from ichjax.ops.augment import AffineRange
from ichjax.train import augmentation, parallel
from ichjax.train.resident import ResidentScans
from ichjax.train.state import TrainState, make_optimizer, make_schedule, optimizer_settings
from ichjax.train.step import DeviceBatch, StepSettings, make_train_step, make_validation_step


class Programs(NamedTuple):
    """The devices, the learning rate by step, and the two compiled steps."""

    mesh: Mesh
    schedule: optax.Schedule
    train_step: Callable
    validation_step: Callable


@functools.lru_cache(maxsize=2)
def make(network: Network, config: ml_collections.FrozenConfigDict, total_steps: int) -> Programs:
    """The programs of a configuration; made once for all folds, so that each is compiled once."""
    mesh = parallel.make_mesh()
    schedule = make_schedule(config, total_steps)
    make_step = step_maker(network, config, schedule)
    grouped = config.train.steps_per_dispatch > 1
    train_step = parallel.compile_step(make_step, mode=config.parallel, mesh=mesh, grouped=grouped)
    validation_step = xla.jit(make_validation_step(network), out_shardings=parallel.replicated(mesh))
    return Programs(mesh, schedule, train_step, validation_step)


def step_maker(
    network: Network, config: Config, schedule: optax.Schedule, *, seed: jax.Array | None = None
) -> Callable:
    """`step.make_train_step` with every argument but the device axis, from a configuration and, if it is given, a seed
    in place of the configuration's, int32 []."""
    ranges = AffineRange(**fields_of(config.augment))
    recipe, skip = augmentation.from_config(config), config.on_nonfinite == "skip"
    settings = StepSettings(
        ranges, training_seed(config) if seed is None else seed, config.train.accumulate, skip, recipe
    )
    return functools.partial(make_train_step, network, make_optimizer(schedule, optimizer_settings(config)), settings)


def empty_batch(
    reader: loader.BatchReader, config: Config, mesh: Mesh, held: ResidentScans | None = None
) -> DeviceBatch:
    """A batch of padding, or several stacked, on the devices; from `held`, patches of the first example."""
    group = config.train.steps_per_dispatch
    here = len(parallel.local_examples(mesh, config.train.batch_size))
    empty = reader.empty_batch(*((group, here) if group > 1 else (here,)))
    if held:
        return next(held.batches(iter([{"index": empty["index"], "weight": empty["weight"]}])))
    return parallel.shard_batch(empty, mode=config.parallel, mesh=mesh, grouped=group > 1)


def compiled_in_parts(
    network: Network,
    config: Config,
    total_steps: int,
    state: TrainState,
    reader: loader.BatchReader,
    parts: int,
) -> jax.stages.Compiled:
    """The training step with another `config.train.accumulate`; the buffers of `state` may be gone."""
    changed = copy.deepcopy(config)
    changed.train.accumulate = parts
    train_step: Any
    mesh, _, train_step, _ = make(network, ml_collections.FrozenConfigDict(changed), total_steps)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    return train_step.lower(shapes, empty_batch(reader, config, mesh)).compile()
