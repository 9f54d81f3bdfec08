"""From candidates to a prediction: which of them are lesions in training, their probability, and their pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.methods import logistic
from ichjax.methods.classical import Params, Segmented
from ichjax.methods.lesion_features import CANDIDATES
from ichjax.ops import component_statistics, morphology
from ichjax.ops.subtypes import SUBTYPE_COUNT

LESION_SHARE = 0.3  # of a candidate's pixels in the true mask, from which it counts as a lesion
REGROWN_PX = 5  # side of the square by which a candidate grows back to the edge from which openings took it


def overlaps(number: jax.Array, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(pixels of each candidate in the truth, its pixels), float32 [K], from int32 and bool [D, h, w]."""
    count = lambda image: jnp.zeros(CANDIDATES + 1).at[number].add(image)[:CANDIDATES]  # noqa: E731
    return count(jnp.asarray(truth).astype(jnp.float32)), count(jnp.ones(number.shape, jnp.float32))


class Examples(NamedTuple):
    """Candidates of a training scan: features float [N, F]; their pixels in the truth and all their pixels, [N]."""

    features: np.ndarray
    shared: np.ndarray
    sizes: np.ndarray


def learn(scans: Sequence[Examples], true_px: np.ndarray) -> Params:
    """The probability that a candidate is a lesion, and its cut with the best Dice on pixels.

    Args:
      scans: the candidates of each scan.
      true_px: int, of each scan.

    Returns:
      weights [F], bias and cut.
    """
    features, shared, sizes = (np.concatenate(of_all) for of_all in zip(*scans, strict=True))
    if not len(features):
        return {"weights": np.zeros(features.shape[1], np.float32), "bias": 0.0, "cut": 0.5}
    lesion = shared > LESION_SHARE * np.maximum(sizes, 1)
    model = logistic.fit(features, lesion)
    score = 1 / (1 + np.exp(-(features @ model.weights + model.bias)))
    order = np.argsort(-score, kind="stable")
    ordered, overlap = score[order], np.cumsum(shared[order])
    dice = 2 * overlap / np.maximum(np.cumsum(sizes[order]) + true_px.sum(), 1)
    cut = 0.5
    if overlap[-1] > 0:
        best = int(dice.argmax())
        following = ordered[best + 1] if best + 1 < len(order) else 0.0
        cut = float(np.clip((ordered[best] + following) / 2, 0.02, 0.98))
    return {"weights": model.weights.astype(np.float32), "bias": model.bias, "cut": cut}


def paint(number: jax.Array, score: jax.Array, subtype: jax.Array, blood: jax.Array) -> Segmented:
    """The prediction of candidates.

    Args:
      number: int32 [D, h, w], K outside.
      score: float32 [K], probabilities.
      subtype: int32 [K], index into `label_tables.SUBTYPES`.
      blood: bool [D, h, w], pixels into which a candidate grows back.
    """
    probability = component_statistics.to_pixels(number, score, outside=0.0)
    probability = jnp.where(blood | (number < len(score)), morphology.dilate(probability, side=REGROWN_PX), 0.0)
    of_subtypes = [
        component_statistics.to_pixels(number, jnp.where(subtype == kind, score, 0.0), outside=0.0).max(axis=(1, 2))
        for kind in range(SUBTYPE_COUNT)
    ]
    return Segmented(probability, probability.max(axis=(1, 2)), jnp.stack(of_subtypes, axis=1))
