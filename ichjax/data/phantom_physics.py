"""What the scanner does to the phantom: streaks and cupping from a polychromatic beam, noise, blur."""

import functools

import numpy as np
import scipy.fft
import scipy.sparse

GRID = 128  # the projector's own image side
ANGLES = 120
# Three energies: their share of the detected photons, and attenuation of soft tissue and bone relative to the
# effective energy at which HU are calibrated.
WEIGHTS = (0.30, 0.45, 0.25)
SOFT = (1.13, 1.0, 0.90)
BONE = (1.5, 1.0, 0.72)
WATER_PER_MM = 0.0205  # attenuation of water at the effective energy, 1 / mm
PEAK_LP_CM = 4.5  # noise power ~ f exp(-(f / 4.5 lp/cm)^2)


@functools.lru_cache(maxsize=1)
def projector() -> scipy.sparse.csr_matrix:
    """A parallel-beam projector: float32 [120 * 128, 128 * 128], rays of one pixel's width, lengths in pixels.

    Each pixel's shadow is shared linearly by the two nearest detector cells; only the inscribed circle counts.
    """
    side = np.arange(GRID) - (GRID - 1) / 2
    row, column = np.meshgrid(side, side, indexing="ij")
    pixels = np.flatnonzero((row**2 + column**2).ravel() < (GRID / 2 - 1) ** 2)
    row, column = row.ravel()[pixels], column.ravel()[pixels]
    rows, columns, values = [], [], []
    for k in range(ANGLES):
        theta = np.pi * k / ANGLES
        place = column * np.cos(theta) + row * np.sin(theta) + (GRID - 1) / 2
        cell = np.floor(place).astype(np.int32)
        share = (place - cell).astype(np.float32)
        rows += [k * GRID + cell, k * GRID + cell + 1]
        columns += [pixels, pixels]
        values += [1 - share, share]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csr_matrix(entries, shape=(ANGLES * GRID, GRID * GRID), dtype=np.float32)


@functools.lru_cache(maxsize=1)
def back_projector() -> scipy.sparse.csr_matrix:
    """The transpose of `projector`, scaled so that `back_projector() @ ramp(P)` returns the image."""
    return (projector().T * np.float32(np.pi / ANGLES)).tocsr()


@functools.lru_cache(maxsize=1)
def water_table() -> tuple[np.ndarray, np.ndarray]:
    """(what a ray through water reads, what it should read): the scanner's pre-correction for beam hardening."""
    true = np.linspace(0, 12, 400)
    read = -np.log(sum(w * np.exp(-s * true) for w, s in zip(WEIGHTS, SOFT, strict=True)))
    return read, true


def ramp(sinogram: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """The ramp filter of filtered back-projection, if `smooth` with a Hann roll-off; float32 [..., ANGLES, GRID]."""
    frequency = scipy.fft.rfftfreq(2 * GRID).astype(np.float32)
    gain = frequency * (0.5 + 0.5 * np.cos(2 * np.pi * frequency)) if smooth else frequency
    spectrum = scipy.fft.rfft(sinogram, n=2 * GRID, axis=-1) * gain.astype(np.float32)
    return scipy.fft.irfft(spectrum, n=2 * GRID, axis=-1)[..., :GRID].astype(np.float32)


def sinograms(soft: np.ndarray, bone: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Line integrals of soft tissue and bone.

    Args:
      soft, bone: float32 [n, 128, 128], density relative to water (1 = 0 HU).
      pixel_mm: of those images.

    Returns:
      two float32 [n, ANGLES, GRID] arrays, in units of attenuation.
    """
    unit = np.float32(pixel_mm * WATER_PER_MM)
    out = []
    for image in (soft, bone):
        flat = np.ascontiguousarray(image.reshape(len(image), -1).T)
        out.append((projector() @ flat).T.reshape(-1, ANGLES, GRID) * unit)
    return out[0], out[1]


def to_image(filtered: np.ndarray) -> np.ndarray:
    """Back-projects float32 [n, ANGLES, GRID] to [n, 128, 128]."""
    flat = np.ascontiguousarray(filtered.reshape(len(filtered), -1).T)
    return (back_projector() @ flat).T.reshape(-1, GRID, GRID)


def hardening(soft: np.ndarray, bone: np.ndarray, pixel_mm: float) -> np.ndarray:
    """The error in HU that beam hardening leaves after a water correction; float32 [n, 128, 128].

    Arguments as `sinograms` says. What the errors of many rays add up to are dark and bright streaks between
    dense bones, and a rise of HU towards the skull.
    """
    p_soft, p_bone = sinograms(soft, bone, pixel_mm)
    intensity = sum(
        np.float32(w) * np.exp(-np.float32(s) * p_soft - np.float32(b) * p_bone)
        for w, s, b in zip(WEIGHTS, SOFT, BONE, strict=True)
    )
    read, true = water_table()
    corrected = np.interp(-np.log(intensity), read, true).astype(np.float32)
    error = to_image(ramp(corrected - p_soft - p_bone))
    return error * np.float32(1000 / (pixel_mm * WATER_PER_MM))


def quantum_noise(rng: np.random.Generator, soft, bone, pixel_mm: float, photons: float):
    """Photon noise.

    Returns:
      (noise in HU at the projector's resolution, streaked along the densest rays, float32 [n, 128, 128];
      its expected SD there, same shape, which the finer grain follows).
    """
    p_soft, p_bone = sinograms(soft, bone, pixel_mm)
    variance = np.exp(np.minimum(p_soft + 1.5 * p_bone, 14)) / np.float32(photons)
    hu = np.float32(1000 / (pixel_mm * WATER_PER_MM))
    speckle = rng.standard_normal(variance.shape, dtype=np.float32) * np.sqrt(variance)
    # Filtering multiplies white noise by the SD of the filter's kernel; each angle adds its share of variance.
    kernel = ramp(np.eye(1, GRID, GRID // 2, dtype=np.float32), smooth=False)
    gain = float(np.sum(kernel**2)) * np.pi / ANGLES
    spread = np.sqrt(np.maximum(to_image(variance) * np.float32(gain), 0)) * hu
    return to_image(ramp(speckle, smooth=False)) * hu, spread


def grain(rng: np.random.Generator, slices: int, side: int, pixel_mm: float) -> np.ndarray:
    """Noise of unit SD whose power is ~ f exp(-(f / 4.5 lp/cm)^2); float32 [slices, side, side]."""
    fy = scipy.fft.fftfreq(side, pixel_mm / 10)[:, None]
    fx = scipy.fft.rfftfreq(side, pixel_mm / 10)[None, :]
    f = np.hypot(fx, fy)
    gain = np.sqrt(f * np.exp(-((f / PEAK_LP_CM) ** 2))).astype(np.float32)
    full = np.concatenate([gain, gain[:, 1 : (side + 1) // 2]], axis=1)  # the half plane that rfft leaves out
    gain /= np.sqrt(np.mean(full**2))
    white = rng.standard_normal((slices, side, side), dtype=np.float32)
    return scipy.fft.irfft2(scipy.fft.rfft2(white) * gain, s=(side, side)).astype(np.float32)
