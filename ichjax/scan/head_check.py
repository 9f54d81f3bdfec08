"""Whether a few slices of a CT show a head: a closed skull whose inside has a head's size; and enhanced vessels in it.

The limits were set on phantoms of seeds 61 and 62, with and without painted vessels, and on one real head;
docs/prediction.md says what was measured on others.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from ichjax.scan.hu_check import MAX_CT_HU
from ichjax.scan.skull import inside_skull
from ichjax.scan.volume import AIR_HU

MAX_CHECK_SIDE = 256  # pixels of a slice; larger ones are averaged
MIN_IMAGE_MM = 60  # of a side of the image: no head fits into less
INSIDE_CM2 = (30.0, 300.0)  # of the largest slice; in 24 phantoms, one of them 2 years old, 146 to 198
MAX_INSIDE_MM = 230  # height; no head is higher
MIN_INSIDE_SHARE = 0.4  # of the body in that slice; in heads 0.68 to 0.74, while a pelvis is mostly outside its ring
INSIDE_MEDIAN_HU = (0.0, 90.0)  # brain, of a newborn too, and brain with contrast
MIN_BODY_HU = -200  # above air
SINGLE_SLICE_MM = 5.0  # height of a single slice
MAX_TOP_SHARE = 0.5  # of the largest slice's inside, in the uppermost slice of a head that is shown up to the vertex
MIN_SLICE_CM2 = 5.0  # a slice with less shows no inside
VESSEL_HU = (150, 600)  # above clotted blood; mean of a vessel, which coils and dense calcifications exceed
NOISE_SD = 5.0  # times the noise above brain: in thin slices and with sharp kernels, noise exceeds 150 HU
SKULL_MM = 3.0  # next to the skull, partial volume looks like a vessel
MIN_VESSEL_SHARE = 6e-4  # of the inside, in the median slice above the base: 0 in heads without contrast
# Of the largest inside, in slices searched for vessels above and below it: brain, and not the skull base
MIN_UPPER_SHARE, MIN_LOWER_SHARE = 0.3, 0.9
MIN_VESSEL_SLICES = 3  # fewer do not distinguish vessels from calcifications


@dataclasses.dataclass(frozen=True)
class HeadCheck:
    """What slices of a CT show.

    Attributes:
      is_head: whether there is a closed skull whose inside has a head's size.
      height_mm: of the inside of the skull.
      has_vertex: whether the head ends within the scan, or nearly so.
      has_vessels: whether vessels are enhanced by contrast.
    """

    is_head: bool
    height_mm: float = 0.0
    has_vertex: bool = False
    has_vessels: bool = False


def check_head(hu: np.ndarray, positions_mm: np.ndarray, pixel_mm: tuple[float, float]) -> HeadCheck | None:
    """Checks slices of a series, a bounded number of which is enough.

    Args:
      hu: int16 [D, H, W], from feet to head.
      positions_mm: float [D], of the slices along their normal.
      pixel_mm: of rows and columns.

    Returns:
      What they show; None if the image is too small to tell.
    """
    if min(np.multiply(hu.shape[1:], pixel_mm)) < MIN_IMAGE_MM:
        return None
    slices, side_mm = _averaged(_without_padding(hu), pixel_mm)
    gaps = np.diff(positions_mm)
    slice_mm = float(np.median(gaps)) if len(gaps) else SINGLE_SLICE_MM
    inside = _head_inside(slices, (slice_mm, *side_mm))
    if inside is None:  # noise of a sharp kernel looks like bone
        inside = _head_inside(ndimage.uniform_filter(slices, (1, 3, 3)), (slice_mm, *side_mm))
    if inside is None:
        return HeadCheck(False)
    area_px = inside.sum(axis=(1, 2))
    ends = np.concatenate([[slice_mm], gaps, [slice_mm]])
    shown = area_px * side_mm[0] * side_mm[1] > MIN_SLICE_CM2 * 100
    height_mm = float(((ends[:-1] + ends[1:]) / 2)[shown].sum())
    if height_mm > MAX_INSIDE_MM:
        return HeadCheck(False)
    has_vertex = bool(area_px[-1] <= MAX_TOP_SHARE * area_px.max())
    # Lower slices hold islands of the skull base that look like vessels, and a smaller inside.
    above = np.arange(len(slices)) >= area_px.argmax()
    above = area_px >= np.where(above, MIN_UPPER_SHARE, MIN_LOWER_SHARE) * area_px.max()
    return HeadCheck(True, height_mm, has_vertex, _has_vessels(slices[above], inside[above], side_mm))


def _head_inside(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray | None:
    """bool [D, H, W], the inside of the skull; None unless there is a closed skull of a head's size around a brain."""
    inside, found = inside_skull(hu, spacing_mm)
    if not found:
        return None
    largest = int(inside.sum(axis=(1, 2)).argmax())
    pixel_cm2 = spacing_mm[1] * spacing_mm[2] / 100
    inside_cm2, body_cm2 = inside[largest].sum() * pixel_cm2, (hu[largest] > MIN_BODY_HU).sum() * pixel_cm2
    median_hu = np.median(hu[largest][inside[largest]])
    is_head = (
        INSIDE_CM2[0] <= inside_cm2 <= INSIDE_CM2[1]
        and inside_cm2 >= MIN_INSIDE_SHARE * body_cm2
        and INSIDE_MEDIAN_HU[0] <= median_hu <= INSIDE_MEDIAN_HU[1]
    )
    return inside if is_head else None


def _has_vessels(hu: np.ndarray, inside: np.ndarray, pixel_mm: tuple[float, float]) -> bool:
    """Whether most slices have bright spots away from the skull, unlike with calcifications and drains."""
    if len(hu) < MIN_VESSEL_SLICES:
        return False
    brain = hu[inside].astype(np.float32)
    noise = 1.4826 * float(np.median(np.abs(brain - np.median(brain))))
    lowest = max(VESSEL_HU[0], float(np.median(brain)) + NOISE_SD * noise)
    shares = []
    for plane, within in zip(hu, inside, strict=True):
        depth = ndimage.distance_transform_edt(np.pad(within, 1), sampling=pixel_mm)[1:-1, 1:-1]
        labels, _ = ndimage.label(plane > lowest, np.ones((3, 3)))
        of_each = np.arange(1, labels.max() + 1)
        nearest_mm = np.asarray(ndimage.minimum(depth, labels, of_each))
        mean_hu = np.asarray(ndimage.mean(plane, labels, of_each))
        is_vessel = (nearest_mm > SKULL_MM) & (mean_hu < VESSEL_HU[1])
        shares.append(np.isin(labels, of_each[is_vessel]).sum() / within.sum())
    return bool(np.median(shares) >= MIN_VESSEL_SHARE)


def _without_padding(hu: np.ndarray) -> np.ndarray:
    """Air in place of values that are too high, in slices with such a value at a corner, which is padding."""
    highest = hu[:, [0, 0, -1, -1], [0, -1, 0, -1]].max(axis=1).reshape(-1, 1, 1)
    return np.where((highest >= MAX_CT_HU) & (hu >= MAX_CT_HU), np.int16(AIR_HU), hu)


def _averaged(hu: np.ndarray, pixel_mm: tuple[float, float]) -> tuple[np.ndarray, tuple[float, float]]:
    """(slices of at most `MAX_CHECK_SIDE` pixels, size of their pixels)."""
    depth, height, width = hu.shape
    step = -(-max(height, width) // MAX_CHECK_SIDE)
    down, across = height // step, width // step
    blocks = hu[:, : down * step, : across * step].reshape(depth, down, step, across, step)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.int16), (step * pixel_mm[0], step * pixel_mm[1])
