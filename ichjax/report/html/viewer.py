"""What the report's viewer needs of a scan: an image, outlines and figures for each slice."""

from collections.abc import Sequence

import numpy as np

from ichjax.metrics import overlap, statistics
from ichjax.report.figures import case as cases
from ichjax.report.figures import contours

LARGEST_BYTES = 9_000_000  # of all images together, encoded
QUALITIES = (85, 75, 60, 45, 30)  # of the JPEGs, the first that fits


def viewers(chosen: Sequence[tuple[str, cases.Case]]) -> list[dict]:
    """Viewers of several scans, with images of the best quality that keeps the report small.

    Args:
      chosen: [(why it was chosen, the scan)].

    Returns:
      As `viewer`, one each.
    """
    for quality in QUALITIES:
        made = [viewer(case, why=why, quality=quality) for why, case in chosen]
        if sum(len(s["image"]) for v in made for s in v["slices"]) <= LARGEST_BYTES:
            break
    return made


def viewer(case: cases.Case, *, why: str, quality: int = QUALITIES[0]) -> dict:
    """One scan, ready for JSON.

    Args:
      case: the scan, its truth and the prediction.
      why: why it was chosen, in words.
      quality: of the images, where they are JPEGs.

    Returns:
      {'subject', 'why', 'width', 'height' (of the images, in pixels), 'aspect' (width by height in mm), 'bar'
      (50 mm as a share of the width), 'start' (index of the slice to show first), 'truth_ml', 'predicted_ml',
      'dice' (mean over its slices, the paper's convention), 'volume_dice' (over all voxels),
      'slices': [{'image' (a data URI), 'truth', 'prediction' (SVG paths in pixels of the image), 'truth_ml',
      'predicted_ml', 'dice' (None without truth)}]}.
    """
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
        "bar": 50.0 / (width * column_mm),
        "start": int(np.argmax(truth_ml if truth_ml.any() else predicted_ml)),
        "truth_ml": float(truth_ml.sum()),
        "predicted_ml": float(predicted_ml.sum()),
        "dice": None if np.isnan(dice).all() else float(np.nanmean(dice)),
        "volume_dice": statistics.or_none(volume_dice),
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
