"""A random forest per finding that scores a scan from the scores of its slices, as Chilamkurthy et al. (2018) do.

Which summaries of the slices their forests see is not published; here the maximum, means of the highest, quantiles, the
number and the share of slices above 1/2, and the position of the highest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.methods import learners
from ichjax.methods.slices import pad_depth
from ichjax.ops import forest
from ichjax.ops.forest import Forest

TOP = (3, 5)  # slices whose mean is a feature
QUANTILES = (0.9, 0.75, 0.5)
TREES, LEAVES, SMALLEST_LEAF = 50, 6, 2


def features(scores: jax.Array, depth: jax.Array | int) -> jax.Array:
    """float32 [K, F], the summaries of each finding, from scores [P, K] of which the first `depth` are slices."""
    real = (jnp.arange(len(scores)) < depth)[:, None]
    order = jnp.sort(jnp.where(real, scores, -1.0), axis=0, descending=True)
    rank = jnp.arange(len(scores))[:, None]
    means = [jnp.where(rank < jnp.minimum(k, depth), order, 0.0).sum(axis=0) / jnp.minimum(k, depth) for k in TOP]
    quantiles = [order[jnp.int32(jnp.floor((1.0 - q) * (depth - 1)))] for q in QUANTILES]
    above = ((scores > 0.5) & real).sum(axis=0).astype(jnp.float32)
    position = jnp.where(real, scores, -1.0).argmax(axis=0) / jnp.maximum(depth - 1, 1)
    return jnp.stack([order[0], *means, *quantiles, above, above / depth, position], axis=1)


def summarize(scores: jax.Array) -> np.ndarray:
    """`features` of a scan's scores [D, K], on the host: float32 [K, F]."""
    return np.asarray(_features(pad_depth(scores, 0.0), len(scores)))


def fit(tables: Sequence[np.ndarray], truth: np.ndarray, weights: Sequence[int], *, seed: int) -> dict[str, Any]:
    """Fits a forest per finding; a finding that all scans have, or none, gets the score 1, or 0.

    Args:
      tables: float32 [K, F] of each scan, from `summarize`.
      truth: bool [N, K], which scan has which finding.
      weights: how often each scan counts.
      seed: of the forests.

    Returns:
      The fields of a `Forest` with a first axis [K], as lists.
    """
    fitted = []
    for finding in range(truth.shape[1]):
        examples = np.repeat(np.stack([table[finding] for table in tables]), weights, axis=0)
        labels = np.repeat(truth[:, finding], weights)
        if labels.all() or not labels.any():
            fitted.append(_constant(float(labels[0])))
            continue
        fitted.append(
            learners.fit_forest(
                examples, labels, trees=TREES, max_leaves=LEAVES, min_leaf_examples=SMALLEST_LEAF, seed=seed
            )
        )
    return {name: np.stack([np.asarray(getattr(each, name)) for each in fitted]).tolist() for name in Forest._fields}


def predict(fitted: Mapping[str, Any], scores: jax.Array) -> jax.Array:
    """float32 [K]: the score of a scan for each finding, from those of its slices [D, K] and the result of `fit`."""
    kinds = np.int32, np.float32, np.int32, np.float32, np.int32
    arrays: Any = [np.array(fitted[name], kind) for name, kind in zip(Forest._fields, kinds, strict=True)]
    return _predict(Forest(*arrays), pad_depth(scores, 0.0), len(scores))


@jax.jit
def _features(padded: jax.Array, depth: jax.Array) -> jax.Array:
    return features(padded, depth)


@jax.jit
def _predict(trees: Forest, padded: jax.Array, depth: jax.Array) -> jax.Array:
    table = features(padded, depth)
    return jax.vmap(lambda each, row: forest.predict(each, row[None])[0, 1])(trees, table)


def _constant(score: float) -> Forest:
    """A forest of which each tree is one leaf."""
    nodes = 2 * LEAVES - 1
    value = np.broadcast_to(np.array([1.0 - score, score], np.float32), (TREES, nodes, 2))
    zeros, children = np.zeros((TREES, nodes)), np.tile(np.repeat(np.arange(nodes), 2), (TREES, 1))
    arrays: Any = zeros.astype(np.int32), zeros, children, value, np.zeros(TREES, np.int32)
    return Forest(*arrays)
