"""Means over a run's folds, interpolated from slabs to slices where thin slices were averaged to slabs."""

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.methods.slices import DEPTH_STEP, pad_depth


def mean_probability(of_folds: Sequence[jax.Array], weights: np.ndarray | None) -> jax.Array:
    """The mean over folds of probabilities.

    Args:
      of_folds: float32 [S, H, W] of each fold, or [S, H, W, C] for classes.
      weights: float [D, S], from slabs to slices (`slabs.interpolation_weights`); None where slabs are slices.

    Returns:
      float32 [D, H, W] or [D, H, W, C], padded with slices of 0 to a multiple of `DEPTH_STEP`, so that few programs are
      compiled.
    """
    mean = functools.reduce(operator.add, of_folds) / len(of_folds)
    probability = pad_depth(mean, 0.0)
    if weights is None:
        return probability
    padding = ((0, -len(weights) % DEPTH_STEP), (0, len(probability) - weights.shape[1]))
    return _slabs_to_slices(np.pad(weights, padding), probability)


def mean_scores(scores: Sequence[jax.Array | np.ndarray | None], weights: np.ndarray | None) -> np.ndarray | None:
    """The mean over folds of scores [S] or [S, 5], interpolated from slabs to slices by weights [D, S], not padded; of
    scores of scans, [6], without weights.

    None for methods without such scores, whose folds have None.
    """
    if scores[0] is None:
        return None
    mean = np.mean([np.asarray(of_fold, np.float32) for of_fold in scores], axis=0)
    return mean if weights is None else (weights @ mean).astype(np.float32)


@jax.jit
def _slabs_to_slices(weights: jax.Array, probability: jax.Array) -> jax.Array:
    """Probability of every slice [D, H, W, ...] from that of slabs [S, H, W, ...], by weights [D, S]."""
    return jnp.einsum("ds,s...->d...", weights, probability, precision=jax.lax.Precision.HIGHEST)
