"""Support vector machines with a radial basis function, fitted elsewhere, evaluated on the device.

As in libsvm, there is a decision for each pair of classes, in the order (0, 1), (0, 2), ..., (1, 2), ...; two classes
are one pair.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

EXAMPLES_AT_ONCE = 256


class Svm(NamedTuple):
    """A machine for C classes, with S support vectors of F features and P = C (C - 1) / 2 pairs.

    Attributes:
      support: float32 [S, F].
      weights: float32 [P, S], of each support vector in the decision of each pair; 0 for other classes' vectors.
      intercept: float32 [P].
      gamma: float32 [], of the kernel exp(-gamma |x - y|^2).
    """

    support: jax.Array
    weights: jax.Array
    intercept: jax.Array
    gamma: jax.Array


def decide(svm: Svm, features: jax.Array) -> jax.Array:
    """The decision of each pair of classes: above 0 for the first class of the pair, below 0 for the second.

    Args:
      svm: the machine.
      features: float32 [V, F], scaled as in training.

    Returns:
      float32 [V, P].
    """
    chex.assert_rank([features, svm.support, svm.weights], 2)
    chex.assert_equal(features.shape[1], svm.support.shape[1])

    def decide_one(example: jax.Array) -> jax.Array:
        squares = ((example[None] - svm.support) ** 2).sum(axis=1)  # |x|^2 - 2 x y + |y|^2 would lose digits
        kernel = jnp.exp(-svm.gamma * squares)
        return jnp.matmul(svm.weights, kernel, precision=jax.lax.Precision.HIGHEST) + svm.intercept

    return jax.lax.map(decide_one, features, batch_size=EXAMPLES_AT_ONCE)


def class_scores(decisions: jax.Array, *, classes: int) -> jax.Array:
    """One score for each class from the decisions of pairs: its votes, and its confidence where votes are equal.

    The score that scikit-learn's SVC gives for three or more classes (`decision_function_shape='ovr'`): the votes, plus
    the sum of its decisions, mapped to between -1/3 and 1/3.

    Args:
      decisions: float32 [V, P], from `decide`.
      classes: C.

    Returns:
      float32 [V, C].
    """
    first, second = np.triu_indices(classes, 1)
    chex.assert_shape(decisions, (None, len(first)))
    signs = np.zeros((len(first), classes), np.float32)  # of each pair's decision for each class
    signs[np.arange(len(first)), first], signs[np.arange(len(first)), second] = 1.0, -1.0
    for_first = (decisions >= 0).astype(jnp.float32)
    votes = for_first @ jnp.asarray(np.maximum(signs, 0)) + (1 - for_first) @ jnp.asarray(np.maximum(-signs, 0))
    confidence = jnp.matmul(decisions, jnp.asarray(signs), precision=jax.lax.Precision.HIGHEST)
    return votes + confidence / (3 * (jnp.abs(confidence) + 1))
