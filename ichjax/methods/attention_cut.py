"""The cut of a method whose probability is that of no pixel, such as an attention map, fitted on training scans."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.data.scan_cache import CachedScan
from ichjax.methods import logistic
from ichjax.methods.base import Prediction
from ichjax.methods.slices import pad_depth

# The cuts that are tried, equally spaced in log odds: the product of a map and an unsure score is small everywhere.
ATTENTION_CUTS = (1 / (1 + np.exp(-np.linspace(-6.0, 4.0, 64)))).astype(np.float32)


@jax.jit
def _overlap(probability: jax.Array, mask: jax.Array) -> jax.Array:
    """int32 [len(ATTENTION_CUTS), 2]: pixels above each cut, in all and inside the mask; from [D, H, W] each."""
    passed = jnp.searchsorted(ATTENTION_CUTS, probability.ravel())  # how many cuts are below a pixel
    inside = (mask > 0).astype(jnp.int32).ravel()
    both = jnp.stack([jnp.ones_like(inside), inside], axis=1)
    counts = jnp.zeros((len(ATTENTION_CUTS) + 1, 2), jnp.int32).at[passed].add(both)
    return counts[::-1].cumsum(axis=0)[::-1][1:]


def fit_cut(predict: Callable[[CachedScan], Prediction], scans: Sequence[CachedScan]) -> float:
    """That of `ATTENTION_CUTS` whose masks have the highest Dice with the scans' masks, pooled over all pixels.

    Args:
      predict: maps a scan to its `Prediction`.
      scans: to fit it on; without a hemorrhage in any, the cut is the highest.
    """
    total, truth = np.zeros((len(ATTENTION_CUTS), 2)), 0
    for scan in scans:
        padded = pad_depth(predict(scan).probability, 0.0), pad_depth(np.asarray(scan.mask), 0)
        total += np.asarray(_overlap(*padded), np.float64)
        truth += int(scan.truth_px.sum())
    if not truth:
        return float(ATTENTION_CUTS[-1])
    dice = 2 * total[:, 1] / (total[:, 0] + truth)
    return float(ATTENTION_CUTS[dice.argmax()])


def at_half(prediction: Prediction, cut: float) -> Prediction:
    """A prediction whose probability, and that before the restriction to the skull, is 1/2 at the cut."""
    unrestricted = None if prediction.unrestricted is None else logistic.centered(prediction.unrestricted, cut)
    return prediction._replace(probability=logistic.centered(prediction.probability, cut), unrestricted=unrestricted)
