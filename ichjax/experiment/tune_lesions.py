"""Tunes the threshold and the gates on lesions by whole scans, so that false positives count."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.config import Config
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.methods.base import Method, PostProcess
from ichjax.methods.slices import pad_depth
from ichjax.ops import components

CHOSEN_ON = "validation subjects of each fold (whole scans, false positives included)"
NEGLIGIBLE_ML, WRONG_ML = (
    0.1,
    2.0,
)  # predicted in a scan without a hemorrhage: scores 1 up to the first, 0 from the other


def scan_score(truth_ml: float, predicted_ml: np.ndarray, overlap_ml: np.ndarray) -> np.ndarray:
    """The score of a scan, between 0 and 1: its volume Dice, or, without a hemorrhage, how little is predicted.

    Args:
      truth_ml: true volume.
      predicted_ml, overlap_ml: of any shape.
    """
    if truth_ml > 0:
        return 2 * overlap_ml / (truth_ml + predicted_ml)
    return np.interp(predicted_ml, (NEGLIGIBLE_ML, WRONG_ML), (1.0, 0.0))


def tune(method: Method, params: Any, validation_scans: Sequence[CachedScan], config: Config) -> PostProcess:
    """Chooses threshold, `find_threshold` and `min_lesion_ml` by the highest mean `scan_score`.

    The trials leave out closing and opening, which would have to be repeated for every choice. Among equally good
    choices, the one nearest to the configuration wins.

    Raises:
      InputError: there is no validation scan.
    """
    predict, post = config.predict, method.post
    scans = [scan for scan in validation_scans if scan.number not in config.data.leave_out]
    if not scans:
        raise InputError("config.predict.tune is 'lesions', but there is no validation scan; expected at least one")
    choices = (
        sorted(set(predict.tune_thresholds)),
        sorted({0.0, *predict.tune_find_thresholds}),
        sorted({0.0, *predict.tune_min_lesion_ml}),
    )
    arrays = [np.array(values, np.float32) for values in choices]
    scores = np.mean([_scores(method, params, scan, arrays) for scan in scans], axis=0)
    best = np.argwhere(scores >= scores.max() - 1e-9).tolist()
    candidates = [tuple(values[i] for values, i in zip(choices, indices, strict=True)) for indices in best]

    def distance(candidate: tuple[float, ...]) -> tuple[float, ...]:
        configured = (post.threshold, post.find_threshold, post.min_lesion_ml)
        return (*(round(abs(a - b), 9) for a, b in zip(candidate, configured, strict=True)), *candidate)

    threshold, find, smallest_ml = min(candidates, key=distance)
    return post._replace(threshold=threshold, find_threshold=find, min_lesion_ml=smallest_ml, chosen_on=CHOSEN_ON)


def _scores(method: Method, params: Any, scan: CachedScan, choices: Sequence[np.ndarray]) -> np.ndarray:
    """`scan_score` of a scan for every choice: float64 [T, F, M]."""
    probability = pad_depth(method.predict(params, scan.volume).probability, 0.0)
    pixel_ml = np.pad(np.asarray(scan.volume.pixel_ml, np.float32), (0, len(probability) - len(scan.mask)))
    volumes = _volumes(probability, pad_depth(np.asarray(scan.mask), 0), pixel_ml, *choices)
    predicted_ml, overlap_ml = (np.asarray(volume, np.float64) for volume in jax.device_get(volumes))
    return scan_score(float(scan.truth_px @ scan.volume.pixel_ml), predicted_ml, overlap_ml)


@jax.jit
def _volumes(
    probability: jax.Array,
    truth: jax.Array,
    pixel_ml: jax.Array,
    thresholds: jax.Array,
    finds: jax.Array,
    smallest_ml: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """(predicted, correctly predicted) mL for every threshold and pair of gates: float32 [T, F, M] each."""

    def at_threshold(low: jax.Array) -> tuple[jax.Array, jax.Array]:
        mask = probability > low
        found = components.components(mask)
        lesions = components.describe(found, probability, pixel_ml)
        true_ml = jnp.where(truth > 0, pixel_ml[:, None, None], 0.0)
        per_pixel = true_ml.ravel().at[found.pixel].get(mode="fill", fill_value=0.0)
        overlap_ml = jnp.zeros_like(lesions.volume_ml).at[found.label].add(per_pixel, mode="drop")

        def gated(find: jax.Array, smallest: jax.Array) -> tuple[jax.Array, jax.Array]:
            passes = components.accepted(lesions, components.Gates(find, smallest))
            return jnp.where(passes, lesions.volume_ml, 0.0).sum(), jnp.where(passes, overlap_ml, 0.0).sum()

        def of_find(find: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jax.lax.map(lambda smallest: gated(find, smallest), smallest_ml)

        predicted, overlap = jax.lax.map(of_find, finds)
        predicted_of_all = jnp.where(mask, pixel_ml[:, None, None], 0.0).sum()
        overlap_of_all = jnp.where(mask, true_ml, 0.0).sum()
        complete = found.complete
        return jnp.where(complete, predicted, predicted_of_all), jnp.where(complete, overlap, overlap_of_all)

    return jax.lax.map(at_threshold, thresholds)
