"""Data of the report's slice viewer: an image, mask outlines and scores for each slice of a scan."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from ichjax.metrics import overlap, statistics
from ichjax.report.figures import case as cases
from ichjax.report.figures import contours
from ichjax.report.figures.contact_sheet import BAR_MM

MAX_BYTES = 9_000_000  # of all images together, encoded
QUALITIES = (85, 75, 60, 45, 30)  # of the JPEGs; the first that fits is used


class ViewerSlice(TypedDict):
    """One slice; Dice is None where the truth is empty."""

    image: str  # a data URI
    truth: str  # SVG path of the outline, in pixels of the image
    prediction: str
    truth_ml: float
    predicted_ml: float
    dice: float | None


class Viewer(TypedDict):
    """One scan, ready for JSON."""

    subject: int
    why: str  # the reason it is shown
    width: int  # of the images, in pixels
    height: int
    aspect: float  # width by height in mm
    bar: float  # `BAR_MM` as a fraction of the width
    start: int  # index of the slice to show first
    truth_ml: float
    predicted_ml: float
    dice: float | None  # mean over its slices, the paper's convention
    volume_dice: float | None  # over all voxels
    slices: list[ViewerSlice]


def viewers(chosen: Sequence[tuple[str, cases.Case]]) -> list[Viewer]:
    """Viewers of several scans, with images of the best quality that keeps the report small.

    Args:
      chosen: [(the reason it is shown, the scan)].
    """
    for quality in QUALITIES:
        data = [viewer(case, why=why, quality=quality) for why, case in chosen]
        if sum(len(s["image"]) for v in data for s in v["slices"]) <= MAX_BYTES:
            break
    return data


def viewer(case: cases.Case, *, why: str, quality: int = QUALITIES[0]) -> Viewer:
    """The viewer of one scan; `quality` is that of its images, if they are JPEGs."""
    volume = case.volume
    box = cases.body_box(volume.hu, case.truth, case.prediction)
    gray = cases.brain_window(volume.hu[(slice(None), *box)])
    height, width = gray.shape[1:]
    truth_px, predicted_px = (mask.sum(axis=(1, 2)) for mask in (case.truth, case.prediction))
    truth_ml, predicted_ml = truth_px * volume.pixel_ml, predicted_px * volume.pixel_ml
    overlap_px = (case.truth & case.prediction).sum(axis=(1, 2))
    counts = truth_px, predicted_px, overlap_px
    dice = overlap.score_positive(overlap.dice, *counts)
    volume_dice = overlap.score_positive(overlap.dice, *(px.sum() for px in counts))
    row_mm, column_mm = volume.pixel_mm
    return {
        "subject": case.number,
        "why": why,
        "width": width,
        "height": height,
        "aspect": width * column_mm / (height * row_mm),
        "bar": BAR_MM / (width * column_mm),
        "start": int(np.argmax(truth_ml if truth_ml.any() else predicted_ml)),
        "truth_ml": float(truth_ml.sum()),
        "predicted_ml": float(predicted_ml.sum()),
        "dice": None if np.isnan(dice).all() else float(np.nanmean(dice)),
        "volume_dice": statistics.or_none(float(volume_dice)),
        "slices": [
            {
                "image": cases.encode(gray[d], quality=quality),
                "truth": contours.svg_path(case.truth[d][box]),
                "prediction": contours.svg_path(case.prediction[d][box]),
                "truth_ml": float(truth_ml[d]),
                "predicted_ml": float(predicted_ml[d]),
                "dice": statistics.or_none(dice[d]),
            }
            for d in range(volume.shape[0])
        ],
    }
