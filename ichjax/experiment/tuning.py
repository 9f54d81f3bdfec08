"""Tunes threshold and post-processing on a fold's validation subjects, never on its test subjects."""

import functools
import itertools
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ichjax.config import Config
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.experiment import volume_calibration
from ichjax.experiment.volume_calibration import ScanVolumes
from ichjax.files import read_json, write_json
from ichjax.methods import gates
from ichjax.methods.base import GATE_FIELDS, Method, PostProcess
from ichjax.methods.slices import pad_depth
from ichjax.metrics.overlap import dice
from ichjax.ops import components, metrics

POST_FILE = "post.json"  # of a fold
CHOSEN_ON = {
    "paper_dice": "validation subjects of each fold (highest mean Dice in the paper's convention)",
    "volume_dice": "validation subjects of each fold (highest mean volume Dice, less false positives in scans without "
    "a hemorrhage)",
}
TUNED = ("closing_px", "opening_px", "threshold", *GATE_FIELDS)  # of `PostProcess`
NEGLIGIBLE_ML, HALF_ML = 0.1, 1.0  # of false positives in a scan without a hemorrhage, for `volume_score`


def tune(
    method: Method, params: Any, validation_scans: Sequence[CachedScan], config: Config
) -> tuple[PostProcess, list[ScanVolumes]]:
    """Chooses a fold's threshold, and its kernels and gates with config.predict.tune 'all', by the highest mean score.

    With config.predict.tune_by 'paper_dice' the score is the paper's Dice, which is the one reported: mean over a
    subject's slices with a hemorrhage, then over subjects, without `config.data.leave_out`. False positives on other
    slices therefore do not count, and scans without a hemorrhage are not predicted. With 'volume_dice' it is the mean
    of `volume_score` over all validation scans but `config.data.leave_out`. Among equally good choices, the one nearest
    to the configuration wins: by closing, opening, threshold, then by gates, and the lower of two equally near ones.

    Args:
      method: fitted; a method that chooses its own thresholds (see `Method.chosen`) keeps its `post`.
      params: what `method.fit` returned for the fold.
      validation_scans: the fold's validation scans.
      config: `method.post` is returned if its `predict.tune` is 'none'.

    Returns:
      (`method.post` with the chosen values and `chosen_on`, the volumes of the scans that were predicted for it, which
      spare them `measure_volumes`).

    Raises:
      InputError: no validation scan has a hemorrhage to tune on.
    """
    predict, post = config.predict, method.post
    if predict.tune == "none" or "thresholds" in method.chosen(params):
        return post, []
    scans = [s for s in validation_scans if s.number not in config.data.leave_out]
    bleeding = [s for s in scans if s.truth_px.any()]
    if not bleeding:
        raise InputError(
            f"config.predict.tune is {predict.tune!r}, but none of {len(validation_scans)} validation scans has a "
            "hemorrhage; expected at least one to tune on"
        )
    thresholds = tuple(sorted(set(predict.tune_thresholds)))
    pairs, gate_choices = [(post.closing_px, post.opening_px)], [tuple(getattr(post, name) for name in GATE_FIELDS)]
    if predict.tune == "all":
        pairs = [(c, o) for c in sorted(set(predict.tune_closing_px)) for o in sorted(set(predict.tune_opening_px))]
        searched = predict.tune_find_thresholds, predict.tune_min_lesion_ml, predict.tune_min_lesion_slices
        lists = [sorted(set(tried)) or [own] for tried, own in zip(searched, gate_choices[0], strict=True)]
        gate_choices = list(itertools.product(*lists))
    score, tuned_on = (_paper_dice, bleeding) if predict.tune_by == "paper_dice" else (_volume_score, scans)
    scored, volumes = [], []
    for scan in tuned_on:
        probability = pad_depth(method.predict(params, scan.volume).probability, 0.0)
        counts = _count(probability, scan, post, thresholds, pairs, gate_choices)
        scored.append(score(scan, *counts))
        volumes.append((counts[1] @ _padded_pixel_ml(scan), volume_calibration.level_volumes(probability, scan.volume)))
    mean_score = np.mean(scored, axis=0)
    candidates = np.argwhere(mean_score >= mean_score.max() - 1e-12)  # equal but for rounding of the mean

    def values(candidate: list[int]) -> tuple:
        pair, threshold, choice = candidate
        return (*pairs[pair], thresholds[threshold], *gate_choices[choice])

    own = tuple(getattr(post, name) for name in TUNED)

    def distance(tried: tuple) -> tuple:
        away = [round(abs(a - b), 9) for a, b in zip(tried, own, strict=True)]
        return (*away[:3], tried[2], tried[:2], *away[3:], tried[3:])

    best = min(candidates.tolist(), key=lambda candidate: distance(values(candidate)))
    tuned = post._replace(**dict(zip(TUNED, values(best), strict=True)), chosen_on=CHOSEN_ON[predict.tune_by])
    return tuned, [
        _volumes(scan, predicted_ml[tuple(best)], level_ml)
        for scan, (predicted_ml, level_ml) in zip(tuned_on, volumes, strict=True)
    ]


def measure_volumes(method: Method, params: Any, post: PostProcess, scans: Sequence[CachedScan]) -> list[ScanVolumes]:
    """Predicts scans and measures their volumes, for intervals.

    Args:
      method: fitted.
      params: what `method.fit` returned for the fold.
      post: of the fold.
      scans: with their truth, not seen in training.
    """
    rows = []
    kernels, choice = (post.closing_px, post.opening_px), tuple(getattr(post, name) for name in GATE_FIELDS)
    for scan in scans:
        probability = pad_depth(method.predict(params, scan.volume).probability, 0.0)
        _, predicted, _ = _count(probability, scan, post, (post.threshold,), [kernels], [choice])
        level_ml = volume_calibration.level_volumes(probability, scan.volume)
        rows.append(_volumes(scan, predicted[0, 0, 0] @ _padded_pixel_ml(scan), level_ml))
    return rows


def _volumes(scan: CachedScan, predicted_ml: float, level_ml: list[float]) -> ScanVolumes:
    truth_ml = float(scan.truth_px @ scan.volume.pixel_ml)
    return {"subject": scan.number, "truth_ml": truth_ml, "predicted_ml": float(predicted_ml), "level_ml": level_ml}


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
    medians = {name: statistics.median_low([getattr(post, name) for post in posts]) for name in TUNED}
    return posts[0]._replace(**medians)


def volume_score(
    truth_px: np.ndarray, predicted_px: np.ndarray, overlap_px: np.ndarray, predicted_ml: np.ndarray
) -> np.ndarray:
    """The score of scans for tuning: what is missed and what is predicted where there is nothing both count.

    The volume Dice (over all voxels of a scan) of a scan with a hemorrhage. Of one without, 1 up to 0.1 mL of false
    positives, and from there 1 / (1 + mL): never 0, since among settings that all leave several mL, fewer are better.

    Args:
      truth_px, predicted_px, overlap_px: voxel counts [...] of whole scans.
      predicted_ml: volume of the predicted voxels [...].

    Returns:
      float64 [...], 0 to 1.
    """
    without = 1.0 / (1.0 + np.maximum(predicted_ml - NEGLIGIBLE_ML, 0.0) / HALF_ML)
    return np.where(truth_px > 0, dice(truth_px, predicted_px, overlap_px, empty=1.0), without)


def _paper_dice(scan: CachedScan, truth: np.ndarray, predicted: np.ndarray, both: np.ndarray) -> np.ndarray:
    """A subject's mean Dice over its slices with a hemorrhage: [...] from counts [D], [..., D], [..., D]."""
    bleeding = truth > 0
    return dice(truth[bleeding], predicted[..., bleeding], both[..., bleeding], empty=np.nan).mean(axis=-1)


def _volume_score(scan: CachedScan, truth: np.ndarray, predicted: np.ndarray, both: np.ndarray) -> np.ndarray:
    """`volume_score` of a scan: [...] from counts [D], [..., D], [..., D]."""
    return volume_score(truth.sum(), predicted.sum(axis=-1), both.sum(axis=-1), predicted @ _padded_pixel_ml(scan))


def _padded_pixel_ml(scan: CachedScan) -> np.ndarray:
    """float64 [D], with padding."""
    return gates.pad_pixel_ml(scan.volume.pixel_ml).astype(np.float64)


def _count(
    probability: jax.Array,
    scan: CachedScan,
    post: PostProcess,
    thresholds: tuple[float, ...],
    pairs: list[tuple[int, int]],
    gate_choices: list[tuple],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of a scan's slices, with padding: truth float64 [D]; predicted and both [pairs, T, gate choices, D]."""
    truth_mask = pad_depth(np.asarray(scan.mask), 0)
    tried = np.array(thresholds, np.float32)
    arrays = None
    if any(post._replace(**dict(zip(GATE_FIELDS, choice, strict=True))).gates for choice in gate_choices):
        high, min_ml, min_slices = (np.array(values) for values in zip(*gate_choices, strict=True))
        of_choices = {"high": np.float32(high), "min_ml": np.float32(min_ml), "min_slices": np.int32(min_slices)}
        arrays = gates.pad_pixel_ml(scan.volume.pixel_ml), of_choices
    counts = []
    for closing, opening in pairs:
        counted = _counts(probability, truth_mask, tried, arrays, closing=closing, opening=opening)
        counts.append([np.asarray(count, np.float64) for count in jax.device_get(counted)])
    truths, predicted, both = zip(*counts, strict=True)
    return truths[0], np.stack(predicted), np.stack(both)


@functools.partial(jax.jit, static_argnames=("closing", "opening"))
def _counts(
    probability: jax.Array,
    truth: jax.Array,
    thresholds: jax.Array,
    gate_choices: tuple[jax.Array, dict[str, jax.Array]] | None,
    *,
    closing: int,
    opening: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pixel counts of a scan at every threshold and choice of gates; no mask leaves the device.

    Args:
      gate_choices: (pixel volumes in mL [D], {argument of `components.apply_gates`: [G]}), or None for no gates.

    Returns:
      (truth int32 [D], predicted int32 [T, G, D], both int32 [T, G, D]); G is 1 without gates.
    """
    kernels = {"closing": closing, "opening": opening}
    if gate_choices is None:
        truth_px, predicted, both = metrics.score(probability, truth > 0, thresholds, **kernels)
        return truth_px, predicted[:, None], both[:, None]
    slice_pixel_ml, choices = gate_choices

    def at_threshold(low: jax.Array) -> tuple[jax.Array, ...]:
        measured = components.measure(probability, slice_pixel_ml, low)

        def with_gates(choice: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
            gated = components.apply_gates(probability, measured, low, **choice)
            truth_px, predicted, both = metrics.score(gated, truth > 0, low[None], **kernels)
            return truth_px, predicted[0], both[0]

        return jax.lax.map(with_gates, choices)

    truth_px, predicted, both = jax.lax.map(at_threshold, thresholds)
    return truth_px[0, 0], predicted, both
