"""Simulates the CT scanner: draws the slices of a scene, then adds blur, streaks, cupping and noise."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from ichjax.phantom import compose, physics
from ichjax.phantom import fields as pf
from ichjax.phantom.lesions import Lesion

BLUR_MM = 0.6  # SD of the in-plane blur
TAIL, TAIL_MM = 0.10, 1.8  # weight and SD of a wider blur, of bone into the tissue next to it
MIN_TAIL_HU = -100  # air has no such tail, so the skin stays bright
VERTEX = 2.1  # factor on the beam-hardening error near the vertex, fitted to a real scan
SKULL_BASE = 0.45  # likewise at the skull base and below
PHOTONS = 1.0e7  # per ray, fitted to the noise of a real scan
FAINT_BONE_HU = 110.0  # brighter than any blood
MAX_BONE_HU = 20.0  # where blurred bone adds more, a reader takes blood for bone
BLOOD_RANGE_HU = (0.0, 95.0)  # of a lesion's own blood, however much partial volume hides of it
SCANNER_RANGE_HU = (-1024, 3071)  # 12 bits
ORIENTED, GRAIN = 0.45, 1.03  # weights of the streaked and of the fine-grained noise


def draw(scene: compose.Scene, slices: int, *, side: int, fov_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws all slices, before the scanner's physics.

    Returns:
      (HU float32 [D, 256, 256]; occupancy of each pixel by each lesion, float32 [L, D, side, side]; area of the
      cranial cavity on each slice, float64 [D], cm2).
    """
    hu = np.repeat(compose.background(scene)[np.newaxis], slices, axis=0)
    cavity_cm2 = np.zeros(slices)
    shares = np.zeros((len(scene.lesions), slices, side, side), np.float32)
    for k in range(slices):
        for i, share in compose.draw_slice(scene, k, hu[k]).items():
            shares[i, k] = np.clip(_to_side(share, side), 0, 1)
        inner = scene.head.wall[k * pf.SUB : (k + 1) * pf.SUB] < 0
        cavity_cm2[k] = inner.sum() / pf.SUB * (fov_mm / pf.COARSE / 10) ** 2
    return hu, shares, cavity_cm2


def hidden_by_bone(clean: np.ndarray, *, side: int, fov_mm: float) -> np.ndarray:
    """Where bone and its blur hide blood, bool [D, side, side], on the slices from `draw`."""
    hidden = np.empty((len(clean), side, side), bool)
    for d, bone in enumerate(np.maximum(clean - np.float32(FAINT_BONE_HU), 0)):
        hidden[d] = _to_side(_blur(bone, bone, fov_mm), side) > MAX_BONE_HU
    return hidden


def scan(rng: Generator, clean: np.ndarray, cavity_cm2: np.ndarray, *, side: int, fov_mm: float) -> np.ndarray:
    """Adds streaks, cupping, blur and noise to the slices from `draw`; float32 [D, side, side] HU."""
    coarse = clean.reshape(len(clean), physics.GRID, 2, physics.GRID, 2).mean(axis=(2, 4))
    pixel = fov_mm / physics.GRID
    share = np.clip((coarse - FAINT_BONE_HU) / 350, 0, 1)
    density = 1 + np.maximum(coarse, -1000) / 1000
    soft, bone = density * (1 - share), density * share
    streak, oriented, spread = physics.scan_errors(rng, soft, bone, pixel, PHOTONS)
    smooth = _cupping(cavity_cm2)[:, None, None] * streak + np.float32(ORIENTED) * oriented
    image = np.empty((len(clean), side, side), np.float32)
    for k in range(len(clean)):
        image[k] = _to_side(_blur(clean[k], np.maximum(clean[k], MIN_TAIL_HU), fov_mm), side)
        error, sd = _to_side(np.stack([smooth[k], spread[k]]), side)
        image[k] += error + GRAIN * np.maximum(sd, 0) * physics.grain(rng, 1, side, fov_mm / side)[0]
    return image


def settle_blood(
    image: np.ndarray, lesions: Sequence[Lesion], shares: np.ndarray, masks: np.ndarray, *, fov_mm: float
) -> None:
    """Shifts the HU of each lesion's blood, in place, so that their median inside its mask is `Lesion.hu`.

    Partial volume lowers the HU of thin bleeds, cupping and the blur of bone raise those of bleeds along the skull; the
    tables of real bleeds hold what is seen.

    Args:
      image: float32 [D, H, W] from `scan`.
      shares, masks: [L, D, H, W], occupancy by each lesion and the reader's outlines.
    """
    sigma = BLUR_MM * image.shape[-1] / fov_mm
    for lesion, share, mask in zip(lesions, shares, masks, strict=True):
        if not mask.any():
            continue
        seen = {d: ndimage.gaussian_filter(share[d], sigma, truncate=3.0) for d in np.flatnonzero(share.any((1, 2)))}
        weight = float(np.mean(np.concatenate([blurred[mask[d]] for d, blurred in seen.items()])))
        shift = (lesion.hu - float(np.median(image[mask]))) / max(weight, 0.3)
        low, high = BLOOD_RANGE_HU
        shift = float(np.clip(shift, low - lesion.hu, high - lesion.hu))
        for d, blurred in seen.items():
            image[d] += np.float32(shift) * blurred


def digitize(image: np.ndarray) -> np.ndarray:
    """The scanner's output, int16 HU."""
    return np.clip(np.rint(image), *SCANNER_RANGE_HU).astype(np.int16)


def _blur(image: np.ndarray, tissue: np.ndarray, fov_mm: float) -> np.ndarray:
    """`image` with the in-plane blur, and `tissue` spread by its wider tail; both [256, 256]."""
    per_mm = compose.FINE / fov_mm
    sharp = ndimage.gaussian_filter(image, BLUR_MM * per_mm, truncate=3.0)
    return sharp + TAIL * (ndimage.gaussian_filter(tissue, TAIL_MM * per_mm, truncate=3.0) - tissue)


def _to_side(image: np.ndarray, side: int) -> np.ndarray:
    """Upsamples the last two axes to `side` pixels."""
    factor = side // image.shape[-1]
    return image if factor == 1 else pf.upsample(image, factor)


def _cupping(cavity_cm2: np.ndarray) -> np.ndarray:
    """Factor on the beam-hardening error of each slice, float32 [D].

    It rises towards the vertex, where a real scanner's correction for larger cross-sections leaves more of the error,
    and falls towards the skull base, where its correction for bone removes about half.
    """
    above = np.arange(len(cavity_cm2)) > np.argmax(cavity_cm2)
    share = cavity_cm2 / max(cavity_cm2.max(), 1.0)
    high, low = np.interp(share, (0.2, 0.7), (VERTEX, 1.0)), np.interp(share, (0.6, 0.9), (SKULL_BASE, 1.0))
    return np.where(above, high, low).astype(np.float32)
