"""Calibrates volume intervals: the volumes of each fold's validation subjects, in fold_K/volume_calibration.json."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.errors import InputError
from ichjax.files import read_json, write_json
from ichjax.methods.base import PostProcess
from ichjax.methods.slices import pad_depth
from ichjax.metrics import volume_interval
from ichjax.metrics.records import Results, ScoreRow
from ichjax.metrics.volume_interval import Calibration
from ichjax.ops import metrics
from ichjax.scan.volume import Volume

CALIBRATION_FILE = "volume_calibration.json"  # of a fold
NOT_MEASURED = "the test subjects were predicted by an earlier version"
NOT_CALIBRATED = "the run has no calibration of volumes; `crossval` with its configuration and --workdir adds it"


class ScanVolumes(TypedDict):
    """The volumes of a validation subject, predicted by the network of its fold; `level_ml` as in `scales`."""

    subject: int
    truth_ml: float
    predicted_ml: float
    level_ml: list[float]


def level_volumes(probability: jax.Array, volume: Volume) -> list[float]:
    """mL above each probability of `volume_interval.VOLUME_LEVELS`.

    Args:
      probability: float32 [D, H, W], of the scan's slices or padded with 0 by `pad_depth`.
      volume: the scan.
    """
    pixels = np.asarray(_pixels_above(pad_depth(probability, 0.0)))
    return (pixels[:, : len(volume.hu)] @ volume.pixel_ml).tolist()


@jax.jit
def _pixels_above(probability: jax.Array) -> jax.Array:
    """int32 [2, D]: pixels of each slice above each of the levels, in a scan [D, H, W]."""
    thresholds = jnp.array(volume_interval.VOLUME_LEVELS, jnp.float32)
    return metrics.score(probability, probability < 0, thresholds, closing=0, opening=0)[1]


def write(folder: pathlib.Path, post: PostProcess, fingerprint: str, rows: Sequence[ScanVolumes]) -> None:
    """Writes a fold's calibration.

    Args:
      folder: of the fold.
      post: the post-processing of the predicted volumes.
      fingerprint: of what the fold learned, see `Method.fingerprint`.
      rows: a row for each validation subject.
    """
    record = {
        "levels": volume_interval.VOLUME_LEVELS,
        "post": post._asdict(),
        "fingerprint": fingerprint,
        "subjects": rows,
    }
    write_json(folder / CALIBRATION_FILE, record)


def read(folder: pathlib.Path, post: PostProcess, fingerprint: str | None = None) -> list[ScanVolumes] | None:
    """Reads a fold's calibration; None where there is none of this post-processing and fingerprint (None for any).

    Raises:
      InputError: the file is damaged.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return None
    record = read_json(path)
    try:
        made_of = [record[name] for name in ("levels", "post", "fingerprint")]
        rows = [
            ScanVolumes(
                subject=int(row["subject"]),
                truth_ml=float(row["truth_ml"]),
                predicted_ml=float(row["predicted_ml"]),
                level_ml=[float(ml) for ml in row["level_ml"]],
            )
            for row in record["subjects"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is damaged; expected the volumes of a fold's validation subjects") from error
    plain_post = {name: list(value) if isinstance(value, tuple) else value for name, value in post._asdict().items()}
    expected = [list(volume_interval.VOLUME_LEVELS), plain_post, fingerprint or made_of[2]]
    return rows if made_of == expected else None


def pooled(folds: Iterable[tuple[pathlib.Path, PostProcess]]) -> Calibration:
    """The calibration by the validation subjects of all folds together; of none where no fold is calibrated.

    Args:
      folds: (folder, post-processing) of each.
    """
    rows = [row for folder, post in folds for row in read(folder, post) or ()]
    truth_ml, predicted_ml = np.array([(row["truth_ml"], row["predicted_ml"]) for row in rows]).reshape(-1, 2).T
    level_ml = np.array([row["level_ml"] for row in rows]).reshape(-1, len(volume_interval.VOLUME_LEVELS))
    return volume_interval.calibrate([row["subject"] for row in rows], truth_ml, predicted_ml, level_ml)


def why_none(predicted_ml: float, calibration: Calibration) -> str:
    """Why a scan has no interval, as `volume_interval.why_none`, with what to do where the run has no calibration."""
    return volume_interval.why_none(predicted_ml, calibration) if len(calibration.scores) else NOT_CALIBRATED


def add_intervals(results: Results, rows: Sequence[ScoreRow], calibration: Calibration) -> None:
    """Adds the intervals of the test subjects, and how many of them hold the true volume, to results.json's content.

    A subject that is tested in one fold is validated in another: its own score there does not count for its interval.
    """
    levels: Mapping[int, list[float]] = {row["subject"]: row["level_ml"] for row in rows if "level_ml" in row}
    truth_ml, intervals, reasons = [], [], set()
    for subject in results["subjects"]:
        number, predicted_ml = subject["subject"], subject["predicted_ml"]
        others = calibration.without(number)
        reason = why_none(predicted_ml, others) or ("" if number in levels else NOT_MEASURED)
        one = None if reason else volume_interval.interval(predicted_ml, levels[number], others)
        subject["volume_interval_ml"] = one
        if one is None:
            reasons.add(reason)
        else:
            truth_ml.append(subject["truth_ml"])
            intervals.append(one)
    results["beyond"]["volume_interval"] = {
        **volume_interval.observed_coverage(truth_ml, intervals),
        "calibrated_on": len(calibration.scores),
        "reason": "; ".join(sorted(reasons)),
    }
