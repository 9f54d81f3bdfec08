"""Tunes threshold and post-processing on a fold's validation subjects, never on its test subjects."""

import functools
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ichjax.config import Config
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.files import read_json, write_json
from ichjax.methods.base import Method, PostProcess
from ichjax.methods.slices import pad_depth
from ichjax.metrics.overlap import dice
from ichjax.ops import metrics

POST_FILE = "post.json"  # of a fold
CHOSEN_ON = "validation subjects of each fold (highest mean Dice in the paper's convention)"


def tune(method: Method, params: Any, validation_scans: Sequence[CachedScan], config: Config) -> PostProcess:
    """Chooses a fold's threshold, and its kernels with config.predict.tune 'all', by the highest mean Dice.

    The Dice is the paper's, which is the one reported: mean over a subject's slices with a hemorrhage, then over
    subjects, without `config.data.leave_out`. False positives on other slices therefore do not count, and scans without
    a hemorrhage are not predicted. Among equally good choices, the one nearest to the configuration wins: by closing,
    then opening, then threshold, and the lower of two equally near ones.

    Args:
      method: fitted; a method that chooses its own thresholds (see `Method.chosen`) keeps its `post`.
      params: what `method.fit` returned for the fold.
      validation_scans: the fold's validation scans.
      config: `method.post` is returned if its `predict.tune` is 'none'.

    Returns:
      `method.post` with the chosen values and `chosen_on`.

    Raises:
      InputError: no validation scan has a hemorrhage to tune on.
    """
    predict, post = config.predict, method.post
    if predict.tune == "none" or "thresholds" in method.chosen(params):
        return post
    scans = [s for s in validation_scans if s.truth_px.any() and s.number not in config.data.leave_out]
    if not scans:
        raise InputError(
            f"config.predict.tune is {predict.tune!r}, but none of {len(validation_scans)} validation scans has a "
            "hemorrhage; expected at least one to tune on"
        )
    thresholds = tuple(sorted(set(predict.tune_thresholds)))
    pairs = [(post.closing_px, post.opening_px)]
    if predict.tune == "all":
        pairs = [(c, o) for c in sorted(set(predict.tune_closing_px)) for o in sorted(set(predict.tune_opening_px))]
    mean_dice = np.mean([_dice(method, params, scan, thresholds, pairs) for scan in scans], axis=0)
    candidates = np.argwhere(mean_dice >= mean_dice.max() - 1e-12)  # equal but for rounding of the mean

    def distance(candidate: list[int]) -> tuple:
        pair, threshold = pairs[candidate[0]], thresholds[candidate[1]]
        away = abs(pair[0] - post.closing_px), abs(pair[1] - post.opening_px), abs(threshold - post.threshold)
        return (*(round(d, 9) for d in away), threshold, pair)

    pair, threshold = min(candidates.tolist(), key=distance)
    closing, opening = pairs[pair]
    return post._replace(threshold=thresholds[threshold], closing_px=closing, opening_px=opening, chosen_on=CHOSEN_ON)


def read(folder: pathlib.Path, post: PostProcess) -> PostProcess:
    """Reads a fold's tuned post-processing; the method's own `post` if nothing was tuned."""
    path = folder / POST_FILE
    return PostProcess(**{**read_json(path), "thresholds": post.thresholds}) if path.is_file() else post


def write(folder: pathlib.Path, post: PostProcess) -> None:
    """Writes a fold's tuned post-processing."""
    write_json(folder / POST_FILE, post._asdict())


def counted_thresholds(post: PostProcess, config: Config) -> tuple[float, ...]:
    """The thresholds at which test scans are counted, ascending; the same in every fold.

    Args:
      post: the method's own, before tuning.
      config: its `predict.tune_thresholds` are included if anything is tuned.
    """
    tuned = () if config.predict.tune == "none" else config.predict.tune_thresholds
    return tuple(sorted({*post.all_thresholds, *tuned}))


def combined(posts: Sequence[PostProcess]) -> PostProcess:
    """The post-processing for the mean probability of several folds: the median of their values."""
    medians = {
        name: statistics.median_low([getattr(post, name) for post in posts])
        for name in ("threshold", "closing_px", "opening_px")
    }
    return posts[0]._replace(**medians)


def _dice(
    method: Method, params: Any, scan: CachedScan, thresholds: tuple[float, ...], pairs: list[tuple[int, int]]
) -> np.ndarray:
    """A subject's mean Dice over its slices with a hemorrhage: float64 [pairs, T]."""
    probability = pad_depth(method.predict(params, scan.volume).probability, 0.0)
    truth_mask = pad_depth(np.asarray(scan.mask), 0)
    scores = []
    for closing, opening in pairs:
        counts = _counts(probability, truth_mask, np.array(thresholds, np.float32), closing=closing, opening=opening)
        truth, predicted, both = (np.asarray(count, np.float64) for count in jax.device_get(counts))
        bleeding = truth > 0
        scores.append(dice(truth[bleeding], predicted[:, bleeding], both[:, bleeding], empty=np.nan).mean(axis=1))
    return np.stack(scores)


@functools.partial(jax.jit, static_argnames=("closing", "opening"))
def _counts(
    probability: jax.Array, truth: jax.Array, thresholds: jax.Array, *, closing: int, opening: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pixel counts of a scan at every threshold; no mask leaves the device."""
    return metrics.score(probability, truth > 0, thresholds, closing=closing, opening=opening)
