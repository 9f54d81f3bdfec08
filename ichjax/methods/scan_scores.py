"""Scores of a scan from those of its slices; one compiled program for all scans that pad to the same depth."""

import functools

import jax
import jax.numpy as jnp

from ichjax.methods.base import Prediction
from ichjax.methods.slices import pad_depth


def slice_score_table(prediction: Prediction) -> jax.Array:
    """float32 [D, 6]: the scores of the sub-types and of any hemorrhage of a prediction that has both."""
    return jnp.concatenate([jnp.asarray(prediction.subtype_scores), jnp.asarray(prediction.slice_scores)[:, None]], 1)


def mean_of_highest(scores: jax.Array, count: int) -> jax.Array:
    """float32 [K]: the mean of the `count` highest of scores [D, K] in [0, 1], of all if there are fewer."""
    return _mean_of_highest(pad_depth(scores, -1.0), len(scores), count)


def lowest_of_consecutive(scores: jax.Array, count: int) -> jax.Array:
    """float32 [K]: the highest score that `count` consecutive slices reach, from scores [D, K] in [0, 1].

    A scan is positive at a threshold if so many consecutive slices are. Of all slices where there are fewer.
    """
    return _lowest_of_consecutive(pad_depth(scores, -1.0), len(scores), min(count, len(scores)))


@functools.partial(jax.jit, static_argnums=2)
def _mean_of_highest(padded: jax.Array, depth: jax.Array, count: int) -> jax.Array:
    highest = jnp.sort(padded, axis=0, descending=True)[:count]
    used = (jnp.arange(len(highest)) < depth)[:, None]
    return jnp.where(used, highest, 0.0).sum(axis=0) / jnp.minimum(depth, count)


@functools.partial(jax.jit, static_argnums=2)
def _lowest_of_consecutive(padded: jax.Array, depth: jax.Array, count: int) -> jax.Array:
    runs = jnp.stack([padded[k : len(padded) - count + 1 + k] for k in range(count)]).min(axis=0)
    return jnp.where((jnp.arange(len(runs)) <= depth - count)[:, None], runs, 0.0).max(axis=0)
