"""An exponential moving average of the weights, as the last part of an optimizer: saved and resumed with its state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class WeightAverage(NamedTuple):
    """The average so far, without a share of the initial weights.

    Attributes:
      weight: float32 [], the sum of the weights of all updates, below 1.
      total: the weighted sum of the parameters after each update.
    """

    weight: jax.Array
    total: Any


def average_weights(decay: float) -> optax.GradientTransformation:
    """Leaves updates as they are and averages the parameters that they lead to; must be the last transformation.

    The parameters after the update t of T have the weight (1 - decay) decay ** (T - t).
    """

    def init(params: optax.Params) -> WeightAverage:
        return WeightAverage(jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: optax.Updates, state: WeightAverage, params: optax.Params | None = None
    ) -> tuple[optax.Updates, WeightAverage]:
        new = optax.apply_updates(params, updates)
        mix = lambda old, now: decay * old + (1.0 - decay) * now  # noqa: E731
        return updates, WeightAverage(mix(state.weight, 1.0), jax.tree.map(mix, state.total, new))

    return optax.GradientTransformation(init, update)


def averaged(params: dict[str, Any], opt_state: Any) -> dict[str, Any]:
    """The averaged weights of a state after its first update; `params` themselves without an average."""
    last = opt_state[-1]
    if not isinstance(last, WeightAverage):
        return params
    return jax.tree.map(lambda x: x / last.weight, last.total)
