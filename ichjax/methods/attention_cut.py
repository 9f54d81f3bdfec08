"""The cut of a method whose probability is that of no pixel, such as an attention map, fitted on training scans."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.data.scan_cache import CachedScan
from ichjax.methods import logistic
from ichjax.methods.base import Prediction
from ichjax.methods.slices import pad_depth

CUT_LEVELS = 64  # cuts that are tried
MIN_CUT, MAX_CUT = 0.02, 0.98


@jax.jit
def _overlap(probability: jax.Array, mask: jax.Array) -> jax.Array:
    """int32 [CUT_LEVELS, 2]: pixels above each cut, in all and inside the mask; from [D, H, W] each."""
    level = jnp.clip(jnp.ceil(probability * CUT_LEVELS).astype(jnp.int32) - 1, -1, CUT_LEVELS - 1)
    inside = (mask > 0).astype(jnp.int32).ravel()
    both = jnp.stack([jnp.ones_like(inside), inside], axis=1)
    counts = jnp.zeros((CUT_LEVELS + 1, 2), jnp.int32).at[level.ravel() + 1].add(both)
    return counts[::-1].cumsum(axis=0)[::-1][1:]


def fit_cut(predict: Callable[[CachedScan], Prediction], scans: Sequence[CachedScan]) -> float:
    """The cut in (0, 1) whose masks have the highest Dice with the scans' masks, pooled over all pixels.

    Args:
      predict: maps a scan to its `Prediction`.
      scans: to fit it on; without a hemorrhage in any, the cut is `MAX_CUT`.
    """
    total, truth = np.zeros((CUT_LEVELS, 2)), 0
    for scan in scans:
        padded = pad_depth(predict(scan).probability, 0.0), pad_depth(np.asarray(scan.mask), 0)
        total += np.asarray(_overlap(*padded), np.float64)
        truth += int(scan.truth_px.sum())
    if not truth:
        return MAX_CUT
    dice = 2 * total[:, 1] / (total[:, 0] + truth)
    return float(np.clip(np.arange(CUT_LEVELS)[dice.argmax()] / CUT_LEVELS, MIN_CUT, MAX_CUT))


def at_half(prediction: Prediction, cut: float) -> Prediction:
    """A prediction whose probability, and that before the restriction to the skull, is 1/2 at the cut."""
    unrestricted = None if prediction.unrestricted is None else logistic.centered(prediction.unrestricted, cut)
    return prediction._replace(probability=logistic.centered(prediction.probability, cut), unrestricted=unrestricted)
