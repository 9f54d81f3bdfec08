"""What training carries from step to step, and how it begins."""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import optax

from ichjax.config import Config
from ichjax.models.network import Network


class TrainState(flax.struct.PyTreeNode):
    """step: int32 [], updates made so far.  fold: int32 [], data rather than a constant of the program, so that one
    program serves all folds.  params: the network's.  opt_state: the optimizer's."""

    step: jax.Array
    fold: jax.Array
    params: dict
    opt_state: optax.OptState


def make_schedule(config: Config, total_steps: int) -> optax.Schedule:
    """Learning rate by step.

    'inverse' is that of the authors' Keras code: lr / (1 + decay x step) with decay = lr / epochs. 'cosine' falls
    to zero at `total_steps`. Either may rise linearly over `warmup_steps` first.
    """
    train = config.train
    if train.schedule == "inverse":
        decay = train.learning_rate / train.epochs
        schedule = lambda step: train.learning_rate / (1.0 + decay * step)  # noqa: E731
    else:
        schedule = optax.cosine_decay_schedule(train.learning_rate, max(1, total_steps - train.warmup_steps))
    if not train.warmup_steps:
        return schedule
    rise = optax.linear_schedule(0.0, train.learning_rate, train.warmup_steps)
    return optax.join_schedules([rise, schedule], [train.warmup_steps])


def make_optimizer(schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam (paper, section 4), without weight decay."""
    return optax.adam(schedule)


def create(network: Network, config: Config, *, fold: int) -> TrainState:
    """The state before the first step, which follows from the network and (config.seed, fold) alone."""
    return _init_program(network, config.seed, config.patch.side)(jnp.int32(fold))


@functools.lru_cache(maxsize=2)
def _init_program(network: Network, seed: int, side: int):
    """fold -> state, compiled once for all folds."""
    optimizer = make_optimizer(lambda step: 0.0)  # a fresh state does not know its schedule

    # It runs once a fold: optimizing its random numbers takes the compiler half a minute on a CPU, running it does not.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def init(fold):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), fold), 0)
        params = network.init(key, side)
        return TrainState(jnp.zeros((), jnp.int32), fold, params, optimizer.init(params))

    return init
