"""Which sub-type scores highest where exactly one is true, in slices and in scans."""

from collections.abc import Sequence

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics.detection_records import Confusion
from ichjax.metrics.statistics import share


def subtype_confusion(scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], *, seed: int = 0) -> Confusion | None:
    """Counts the sub-type with the highest score against the true one, where there is exactly one.

    Args:
      scores: per scan float [K, 5], of its K slices, or of itself with K = 1; NaN for a sub-type without a score.
      labels: per scan bool [K, 5].
      seed: of the bootstrap over scans.

    Returns:
      None where fewer than two sub-types have scores.
    """
    highest, truth = np.concatenate(scores), np.concatenate(labels)
    if (~np.isnan(highest)).any(axis=0).sum() < 2:
        return None
    owner = np.repeat(np.arange(len(scores)), [len(rows) for rows in scores])
    single = (truth.sum(axis=1) == 1) & ~np.isnan(highest).all(axis=1)
    highest, true, owner = np.nan_to_num(highest[single], nan=-np.inf), truth[single].argmax(axis=1), owner[single]
    guess = highest.argmax(axis=1)
    tied = (highest == highest.max(axis=1, keepdims=True)).sum(axis=1) > 1
    counts, undecided = np.zeros((len(SUBTYPES), len(SUBTYPES)), np.int64), np.bincount(true[tied], minlength=5)
    np.add.at(counts, (true[~tied], guess[~tied]), 1)
    right = np.bincount(owner[~tied & (guess == true)], minlength=len(scores))
    return {
        "counts": {
            name: dict(zip(SUBTYPES, row, strict=True)) for name, row in zip(SUBTYPES, counts.tolist(), strict=True)
        },
        "undecided": dict(zip(SUBTYPES, undecided.tolist(), strict=True)),
        "right": share(right, np.bincount(owner, minlength=len(scores)), seed=seed),
    }
