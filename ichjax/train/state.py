"""The training state, its initialization, the optimizer and the learning rate schedule."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from ichjax.config import Config, training_seed
from ichjax.models.network import Network
from ichjax.train.average import average_weights

POLY_POWER = 0.9  # of the 'poly' schedule, as in DeepLab (Chen et al., 2018)


class TrainState(flax.struct.PyTreeNode):
    """The state that a training step updates.

    Attributes:
      step: int32 [], updates made.
      fold: int32 [], an array and not a constant, so that one program serves all folds.
      params: of the network.
      opt_state: of the optimizer.
    """

    step: jax.Array
    fold: jax.Array
    params: dict[str, Any]
    opt_state: optax.OptState


def make_schedule(config: Config, total_steps: int) -> optax.Schedule:
    """Learning rate by step.

    'inverse' is that of the authors' Keras code: lr / (1 + decay x step) with decay = lr / epochs. 'cosine' and
    'poly' decay to zero at `total_steps`. Either may follow a linear warmup over `warmup_steps`.
    """
    train = config.train
    if train.schedule == "inverse":
        decay = train.learning_rate / train.epochs
        schedule = lambda step: train.learning_rate / (1.0 + decay * step)  # noqa: E731
    elif train.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(train.learning_rate, max(1, total_steps - train.warmup_steps))
    else:
        steps = max(1, total_steps - train.warmup_steps)
        schedule = optax.polynomial_schedule(train.learning_rate, 0.0, POLY_POWER, steps)
    if not train.warmup_steps:
        return schedule
    warmup = optax.linear_schedule(0.0, train.learning_rate, train.warmup_steps)
    return optax.join_schedules([warmup, schedule], [train.warmup_steps])


class OptimizerSettings(NamedTuple):
    """The fields of `config.train` of the same names; 'name' is `optimizer`."""

    name: str = "adam"
    weight_decay: float = 0.0
    momentum: float = 0.99
    clip_norm: float = 0.0
    ema_decay: float = 0.0


PAPER_OPTIMIZER = OptimizerSettings()


def optimizer_settings(config: Config) -> OptimizerSettings:
    """The settings of a configuration's optimizer."""
    train = config.train
    return OptimizerSettings(train.optimizer, train.weight_decay, train.momentum, train.clip_norm, train.ema_decay)


def make_optimizer(
    schedule: optax.Schedule, settings: OptimizerSettings = PAPER_OPTIMIZER
) -> optax.GradientTransformation:
    """Adam (paper, section 4), without weight decay, unless the settings say otherwise.

    Gradient clipping comes first, the moving average of the weights (`average.averaged`) last. Only kernels decay, not
    biases and normalizations.
    """
    decay = optax.add_decayed_weights(settings.weight_decay, lambda params: jax.tree.map(lambda x: x.ndim > 1, params))
    momentum = optax.trace(settings.momentum, nesterov=True)
    directions = {
        "adam": [optax.scale_by_adam()],
        "adamw": [optax.scale_by_adam(), decay],
        "sgd": [decay, momentum],
    }
    clip = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm else []
    average = [average_weights(settings.ema_decay)] if settings.ema_decay else []
    rate = optax.scale_by_learning_rate(schedule)
    return optax.chain(*clip, *directions[settings.name], rate, *average)


def create(network: Network, config: Config, *, fold: int) -> TrainState:
    """The state before the first step, a function of the network and (seed, fold) alone.

    It is computed on the CPU, so it is the same on all platforms; a GPU's compiler is slow on so many random numbers.
    """
    with jax.default_device(_cpu()):
        return _init_program(network, training_seed(config), config.patch.side, optimizer_settings(config))(
            jnp.int32(fold)
        )


def _cpu() -> jax.Device | None:
    """A CPU; None, for the default device, where JAX was started without."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def shapes(network: Network, config: Config) -> TrainState:
    """Shapes and dtypes of the state; nothing is computed or compiled."""
    optimizer, params = _optimizer_for_init(optimizer_settings(config)), network.shapes(config.patch.side)
    number = jnp.zeros((), jnp.int32)
    return jax.eval_shape(lambda params: TrainState(number, number, params, optimizer.init(params)), params)


def _optimizer_for_init(settings: OptimizerSettings) -> optax.GradientTransformation:
    """An optimizer for initial states and shapes alone, which do not depend on the schedule."""
    return make_optimizer(lambda step: 0.0, settings)


@functools.lru_cache(maxsize=2)
def _init_program(
    network: Network, seed: int, side: int, settings: OptimizerSettings
) -> Callable[[jax.Array], TrainState]:
    """fold -> state, compiled once for all folds."""
    optimizer = _optimizer_for_init(settings)

    # Runs once per fold: optimizing the random number generation takes a CPU's compiler half a minute for no gain.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def init(fold: jax.Array) -> TrainState:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), fold), 0)
        params = network.init(key, side)
        return TrainState(jnp.zeros((), jnp.int32), fold, params, optimizer.init(params))

    return init
