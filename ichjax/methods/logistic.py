"""From scores to probabilities: a logistic regression of training pixels or lesions, and the cut for the best Dice."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from sklearn.linear_model import LogisticRegression

PENALTY_C = 1.0  # inverse strength of the L2 penalty on weights of standardized features


class Logistic(NamedTuple):
    """sigmoid(features @ weights + bias).

    Attributes:
      weights: float64 [K].
      bias: float.
    """

    weights: np.ndarray
    bias: float


def fit(features: np.ndarray, truth: np.ndarray, sample_weight: np.ndarray | None = None) -> Logistic:
    """Fits a logistic regression on standardized features, by scikit-learn; deterministic.

    Args:
      features: float [N, K], finite.
      truth: bool [N]; if all are the same, the weights are 0 and the bias gives the share, drawn in by one of each.
      sample_weight: float [N], or None.
    """
    positive = int(np.count_nonzero(truth))
    if positive in (0, len(truth)):
        return Logistic(np.zeros(features.shape[1]), float(np.log((positive + 1) / (len(truth) - positive + 1))))
    mean, sd = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.where(sd > 0, sd, 1.0)
    model = LogisticRegression(C=PENALTY_C, max_iter=1000, tol=1e-8)
    model.fit((features - mean) / scale, truth, sample_weight=sample_weight)
    weights = model.coef_[0] / scale
    return Logistic(weights, float(model.intercept_[0] - weights @ mean))


def probability(features: jax.Array, weights: ArrayLike, bias: ArrayLike) -> jax.Array:
    """sigmoid(features @ weights + bias): float32 [...], from float32 [..., K], [K] and []."""
    return jax.nn.sigmoid(features @ jnp.asarray(weights, jnp.float32) + jnp.asarray(bias, jnp.float32))


def best_cut(probabilities: np.ndarray, truth: np.ndarray, missed: int = 0) -> float:
    """The cut above which pixels have the highest Dice, pooled.

    Args:
      probabilities: float [N], of candidates.
      truth: bool [N].
      missed: true pixels that are no candidates.

    Returns:
      Halfway between the lowest probability above the cut and the next lower one; 0.5 where no pixel is true.
    """
    if not truth.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order].astype(np.float64)
    overlap = np.cumsum(truth[order])
    dice = 2 * overlap / (np.arange(1, len(order) + 1) + overlap[-1] + missed)
    following = np.append(ordered[1:], 0.0)
    dice[ordered == following] = -1.0  # no cut lies between equal values
    best = int(dice.argmax())
    return float((ordered[best] + following[best]) / 2)


def centered(probabilities: jax.Array, cut: ArrayLike) -> jax.Array:
    """Probabilities whose odds are scaled such that `cut` becomes 0.5; 0 stays 0, 1 stays 1, and order is kept."""
    odds, kept = probabilities * (1.0 - cut), (1.0 - probabilities) * cut
    return odds / jnp.maximum(odds + kept, jnp.finfo(jnp.float32).tiny)
