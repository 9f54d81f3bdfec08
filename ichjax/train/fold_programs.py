"""The training step of several folds as one program: one fold a device, or several of small networks by vmap."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, PartitionSpec

from ichjax import xla
from ichjax.config import Config
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.network import Network
from ichjax.train import programs
from ichjax.train.state import TrainState, make_schedule
from ichjax.train.step import DeviceBatch, Metrics

FOLD_AXIS = "folds"
TRAINING_ROW = "row"  # of a batch of `fold_step`: int32 [], which training it is


class Training(NamedTuple):
    """What a training of one fold does not share with the others of a program.

    Attributes:
      seed: of its random numbers.
      updates: in all, which learning rates depend on.
    """

    seed: int
    updates: int


def fold_mesh(count: int, devices: Sequence[jax.Device]) -> tuple[Mesh, int]:
    """(a mesh of as few devices as take the same time, folds per device), for `count` folds on these devices."""
    rows = -(-count // len(devices))
    used = list(devices)[: -(-count // rows)]
    return jax.make_mesh((len(used),), (FOLD_AXIS,), axis_types=(AxisType.Auto,), devices=used), rows


def make_fold_step(network: Network, config: Config, trainings: Sequence[Training]) -> Callable:
    """Returns fold_step(state, batch) -> (state, metrics): the training step of any of the folds.

    Args:
      network, config: of the step.
      trainings: all of them; `batch[TRAINING_ROW]` tells which one a batch is of.
    """
    isolated = jax.lax.optimization_barrier
    schedules = [make_schedule(config, training.updates) for training in trainings]
    seeds = np.array([training.seed for training in trainings], np.int64).astype(np.int32)  # as `jax.random.key` does

    def schedule_of(row: jax.Array) -> optax.Schedule:
        def schedule(step: jax.Array) -> jax.Array:
            return jnp.stack([jnp.asarray(rate(step), jnp.float32) for rate in schedules])[row]

        return schedule

    def fold_step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, Metrics]:
        row, batch = batch[TRAINING_ROW], {name: value for name, value in batch.items() if name != TRAINING_ROW}
        step = programs.step_maker(network, config, schedule_of(row), seed=jnp.asarray(seeds)[row])(axis=None)
        # The compiler may not merge the step with what surrounds it here, which would change its rounding.
        return isolated(step(*isolated((state, batch))))

    return fold_step


def compile_folds(fold_step: Callable, *, mesh: Mesh, rows: int) -> Callable:
    """Compiles fold_step(state, batch) of one fold for all of them.

    Args:
      fold_step: from `make_fold_step`.
      mesh, rows: from `fold_mesh`.

    Returns:
      A function of trees with a first axis [F], F = devices x rows, sharded over the mesh; the state's buffers are
      donated.
    """

    def on_device(*arguments: Any) -> Any:
        if rows == 1:  # without a batch axis, it is the program of one fold
            return jax.tree.map(lambda x: x[None], fold_step(*jax.tree.map(lambda x: x[0], arguments)))
        with xla_convolutions_only():  # calls of other libraries cannot be vectorized
            return jax.vmap(fold_step)(*arguments)

    spec = PartitionSpec(FOLD_AXIS)
    # Without the check of varying axes, as nothing is averaged over the axis.
    mapped = jax.shard_map(on_device, mesh=mesh, in_specs=(spec, spec), out_specs=(spec, spec), check_vma=False)
    return xla.jit(mapped, donate_argnums=0)
