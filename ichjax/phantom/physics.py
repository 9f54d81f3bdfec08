"""CT physics: projection and filtered back-projection, beam hardening and noise."""

import functools

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.random import Generator

GRID = 128  # side of the projected image, and detector cells
ANGLES = 120
# Share of the detected photons at three energies, and attenuation of soft tissue and bone there, relative to the
# effective energy at which HU are calibrated.
WEIGHTS = (0.30, 0.45, 0.25)
SOFT_ATTENUATION = (1.13, 1.0, 0.90)
BONE_ATTENUATION = (1.5, 1.0, 0.72)
WATER_PER_MM = 0.0205  # attenuation of water at the effective energy, 1 / mm
NOISY_BONE = 1.5  # factor on bone's attenuation for noise, because of photon starvation
PEAK_LP_CM = 4.5  # noise power ~ f exp(-(f / 4.5 lp/cm)^2)


@functools.lru_cache(maxsize=1)
def projector() -> scipy.sparse.csr_matrix:
    """A parallel-beam projector, float32 [120 * 128, 128 * 128]: rays one pixel wide, path lengths in pixels.

    Each pixel is split linearly between the two nearest detector cells; pixels outside the inscribed circle count as 0.
    """
    side = np.arange(GRID) - (GRID - 1) / 2
    row, column = np.meshgrid(side, side, indexing="ij")
    pixels = np.flatnonzero((row**2 + column**2).ravel() < (GRID / 2 - 1) ** 2)
    row, column = row.ravel()[pixels], column.ravel()[pixels]
    rows, columns, values = [], [], []
    for k in range(ANGLES):
        theta = np.pi * k / ANGLES
        position = column * np.cos(theta) + row * np.sin(theta) + (GRID - 1) / 2
        cell = np.floor(position).astype(np.int32)
        share = (position - cell).astype(np.float32)
        rows += [k * GRID + cell, k * GRID + cell + 1]
        columns += [pixels, pixels]
        values += [1 - share, share]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csr_matrix(entries, shape=(ANGLES * GRID, GRID * GRID), dtype=np.float32)


@functools.lru_cache(maxsize=1)
def back_projector() -> scipy.sparse.csr_matrix:
    """Transpose of `projector`, scaled so that back-projecting ramp-filtered projections returns the image."""
    return (projector().T * np.float32(np.pi / ANGLES)).tocsr()


@functools.lru_cache(maxsize=1)
def water_table() -> tuple[np.ndarray, np.ndarray]:
    """(measured, true) attenuation of rays through water: the scanner's correction for beam hardening."""
    true = np.linspace(0, 12, 400)
    measured = -np.log(sum(w * np.exp(-s * true) for w, s in zip(WEIGHTS, SOFT_ATTENUATION, strict=True)))
    return measured, true


@functools.lru_cache(maxsize=1)
def ramp_gain() -> np.ndarray:
    """Frequency response of the sampled ramp kernel, float32 [GRID + 1]; keeps the mean of the image (Kak and Slaney,
    Principles of Computerized Tomographic Imaging, section 3.3)."""
    n = np.arange(-GRID, GRID)
    kernel = np.where(n % 2, -1 / (np.pi * np.where(n == 0, 1, n)) ** 2, 0.0)
    kernel[GRID] = 0.25
    return scipy.fft.rfft(np.roll(kernel, GRID)).real.astype(np.float32)


def ramp(sinogram: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """Ramp-filters projections, float32 [..., ANGLES, GRID], with a Hann roll-off if `smooth`."""
    gain = ramp_gain()
    if smooth:
        gain = gain * (0.5 + 0.5 * np.cos(2 * np.pi * scipy.fft.rfftfreq(2 * GRID))).astype(np.float32)
    spectrum = scipy.fft.rfft(sinogram, n=2 * GRID, axis=-1) * gain
    return scipy.fft.irfft(spectrum, n=2 * GRID, axis=-1)[..., :GRID].astype(np.float32)


def sinograms(soft: np.ndarray, bone: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Line integrals of attenuation through soft tissue and through bone, float32 [n, ANGLES, GRID] each.

    Args:
      soft, bone: float32 [n, 128, 128], density relative to water (1 = 0 HU).
      pixel_mm: pixel spacing of these images.
    """
    flat = np.ascontiguousarray(np.concatenate([soft, bone]).reshape(2 * len(soft), -1).T)
    lines = (projector() @ flat).T.reshape(2, -1, ANGLES, GRID) * np.float32(pixel_mm * WATER_PER_MM)
    return lines[0], lines[1]


def to_image(filtered: np.ndarray) -> np.ndarray:
    """Back-projects float32 [n, ANGLES, GRID] to [n, 128, 128]."""
    flat = np.ascontiguousarray(filtered.reshape(len(filtered), -1).T)
    return (back_projector() @ flat).T.reshape(-1, GRID, GRID)


def scan_errors(
    rng: Generator, soft: np.ndarray, bone: np.ndarray, pixel_mm: float, photons: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Beam-hardening artifacts and noise of each slice.

    Args:
      soft, bone, pixel_mm: as for `sinograms`.
      photons: photons per unattenuated ray.

    Returns:
      three float32 [n, 128, 128] in HU: beam hardening that remains after water correction (streaks between dense
      bones, cupping near the skull); photon noise at this resolution, streaked along the densest rays; expected SD of
      that noise.
    """
    p_soft, p_bone = sinograms(soft, bone, pixel_mm)
    intensity = sum(
        np.float32(w) * np.exp(-np.float32(s) * p_soft - np.float32(b) * p_bone)
        for w, s, b in zip(WEIGHTS, SOFT_ATTENUATION, BONE_ATTENUATION, strict=True)
    )
    error = np.interp(-np.log(intensity), *water_table()).astype(np.float32) - p_soft - p_bone
    variance = np.exp(np.minimum(p_soft + np.float32(NOISY_BONE) * p_bone, 14)) / np.float32(photons)
    speckle = rng.standard_normal(variance.shape, dtype=np.float32) * np.sqrt(variance)
    # Each angle contributes variance by the squared filter kernel, after linear interpolation between cells.
    kernel = ramp(np.eye(1, GRID, GRID // 2, dtype=np.float32), smooth=False)[0]
    gain = np.float32((2 * np.sum(kernel**2) + np.sum(kernel[1:] * kernel[:-1])) / 3 * np.pi / ANGLES)
    images = to_image(np.concatenate([ramp(error), ramp(speckle, smooth=False), variance * gain]))
    to_hu = np.float32(1000 / (pixel_mm * WATER_PER_MM))
    streaks, noise, power = np.split(images * to_hu, 3)
    return streaks, noise, np.sqrt(np.maximum(power, 0) * to_hu)


def grain(rng: Generator, slices: int, side: int, pixel_mm: float) -> np.ndarray:
    """Noise of unit SD with power proportional to f exp(-(f / 4.5 lp/cm)^2); float32 [slices, side, side]."""
    fy = scipy.fft.fftfreq(side, pixel_mm / 10)[:, None]
    fx = scipy.fft.rfftfreq(side, pixel_mm / 10)[None, :]
    f = np.hypot(fx, fy)
    gain = np.sqrt(f * np.exp(-((f / PEAK_LP_CM) ** 2))).astype(np.float32)
    power = 2 * np.sum(gain**2)  # the half plane that rfft omits has the same power
    gain *= np.float32(side * side) / np.sqrt(np.float32(2 * power))
    white = rng.standard_normal((slices, 2, *gain.shape), dtype=np.float32)
    return scipy.fft.irfft2((white[:, 0] + 1j * white[:, 1]) * gain, s=(side, side)).astype(np.float32)
