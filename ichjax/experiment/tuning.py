"""Threshold and post-processing chosen on a fold's validation subjects, never on those it is tested on."""

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

    In the paper's convention, which is what is reported: slices with a hemorrhage, mean over those of a subject, then
    over subjects, without `config.data.leave_out`. So a false positive on a slice without one does not count here,
    and neither such scans nor those left out are predicted. Of equal choices the one nearest to the configuration's
    is taken: in closing first, then opening, then threshold, the lower one where two are as near.

    Args:
      method: fitted; one that chooses thresholds of its own (`chosen` says them) keeps its `post`.
      params: what `method.fit` returned for the fold.
      validation_scans: the fold's validation scans, read and predicted one after the other.
      config: `predict.tune` 'none' gives `method.post` back.

    Returns:
      `method.post` with the values chosen, and `chosen_on` saying so.

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

    def distance(candidate):
        pair, threshold = pairs[candidate[0]], thresholds[candidate[1]]
        away = abs(pair[0] - post.closing_px), abs(pair[1] - post.opening_px), abs(threshold - post.threshold)
        return (*(round(d, 9) for d in away), threshold, pair)

    pair, threshold = min(candidates.tolist(), key=distance)
    closing, opening = pairs[pair]
    return post._replace(threshold=thresholds[threshold], closing_px=closing, opening_px=opening, chosen_on=CHOSEN_ON)


def read(folder: pathlib.Path, post: PostProcess) -> PostProcess:
    """What `write` left in a fold's folder; where nothing was tuned, the method's own `post`."""
    path = folder / POST_FILE
    return PostProcess(**{**read_json(path), "thresholds": post.thresholds}) if path.is_file() else post


def write(folder: pathlib.Path, post: PostProcess) -> None:
    """Keeps what was tuned on a fold's validation scans."""
    write_json(folder / POST_FILE, post._asdict())


def counted_thresholds(post: PostProcess, config: Config) -> tuple[float, ...]:
    """The thresholds at which test scans are counted, ascending: the same in every fold, whatever it chose.

    Args:
      post: the method's own, from before tuning.
      config: `predict.tune_thresholds` are among them where anything is tuned.
    """
    tuned = () if config.predict.tune == "none" else config.predict.tune_thresholds
    return tuple(sorted({*post.all_thresholds, *tuned}))


def combined(posts: Sequence[PostProcess]) -> PostProcess:
    """One post-processing for the mean probability of several folds' networks: the median of what they chose."""
    middle = {
        name: statistics.median_low([getattr(post, name) for post in posts])
        for name in ("threshold", "closing_px", "opening_px")
    }
    return posts[0]._replace(**middle)


def _dice(method, params, scan: CachedScan, thresholds: tuple, pairs: list) -> np.ndarray:
    """float64 [pairs, T], a subject's Dice: mean over its slices with a hemorrhage."""
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
def _counts(probability, truth, thresholds, *, closing: int, opening: int):
    """Pixel counts of a scan at every threshold; no mask leaves the device."""
    return metrics.score(probability, truth > 0, thresholds, closing=closing, opening=opening)
