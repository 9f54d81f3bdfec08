"""Dice of multi-class masks by sub-type, in three conventions side by side, from voxel counts of each scan."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics import overlap
from ichjax.metrics.secondary_records import SubtypeConvention, SubtypeCounts, SubtypeDice, SubtypeScores
from ichjax.metrics.statistics import or_none, summary

SUBTYPE_CONVENTIONS: Mapping[SubtypeConvention, str] = {
    "present_only": "present-only",
    "nnunet": "by class, nnU-Net's mean",
    "pooled": "pooled",
}
MEANS_OVER_SCANS: tuple[Literal["present_only", "nnunet"], ...] = ("present_only", "nnunet")
SUBTYPE_DICE_IN_WORDS: Mapping[SubtypeConvention, str] = {
    "present_only": (
        "One Dice per scan and sub-type, over all its voxels; mean over the scans whose truth has the sub-type, so "
        "what is predicted in the others does not count."
    ),
    "nnunet": (
        "As nnU-Net's evaluation: mean over the scans in which truth or prediction has the sub-type, 0 where only the "
        "prediction has it, then the mean over the sub-types; one that no scan has is left out."
    ),
    "pooled": "Twice the common voxels of all scans over the sum of the true and the predicted ones.",
}


def subtype_dice(counts: Sequence[SubtypeCounts], *, seed: int = 0) -> SubtypeDice | None:
    """Dice of each sub-type in each convention of `SUBTYPE_CONVENTIONS`, and the means over the sub-types.

    Args:
      counts: of each scan, at the reported threshold.
      seed: of the bootstrap.

    Returns:
      None if the truth of no scan has a voxel of known sub-type. A mean is over the sub-types that have a score.
    """
    rows = [[count["truth_px"], count["predicted_px"], count["overlap_px"]] for count in counts]
    truth_px, predicted_px, overlap_px = np.array(rows, np.int64).reshape(-1, 3, len(SUBTYPES)).swapaxes(0, 1)  # [N, 5]
    if not truth_px.any():
        return None
    present_only = overlap.score_positive(overlap.dice, truth_px, predicted_px, overlap_px)
    either = overlap.dice(truth_px, predicted_px, overlap_px, empty=np.nan)
    totals = truth_px.sum(axis=0), predicted_px.sum(axis=0), overlap_px.sum(axis=0)
    pooled = overlap.dice(*totals, empty=np.nan)
    by_subtype: dict[str, SubtypeScores] = {
        name: {
            "present_only": summary(present_only[:, k], seed=seed),
            "nnunet": summary(either[:, k], seed=seed),
            "pooled": {
                "dice": or_none(pooled[k]),
                "truth_px": int(totals[0][k]),
                "predicted_px": int(totals[1][k]),
                "overlap_px": int(totals[2][k]),
            },
        }
        for k, name in enumerate(SUBTYPES)
    }
    return {
        "by_subtype": by_subtype,
        "mean": {
            "present_only": _mean([scores["present_only"]["mean"] for scores in by_subtype.values()]),
            "nnunet": _mean([scores["nnunet"]["mean"] for scores in by_subtype.values()]),
            "pooled": _mean([scores["pooled"]["dice"] for scores in by_subtype.values()]),
        },
        "in_words": dict(SUBTYPE_DICE_IN_WORDS),
        "subjects": len(counts),
        "unknown_px": sum(count["unknown_px"] for count in counts),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that exist; None if there is none."""
    existing = [value for value in values if value is not None]
    return float(np.mean(existing)) if existing else None
