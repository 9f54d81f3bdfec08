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
SOFT_ATTENUATION = (1.13, 1.0, 0.90)
BONE_ATTENUATION = (1.5, 1.0, 0.72)
WATER_PER_MM = 0.0205  # attenuation of water at the effective energy, 1 / mm
NOISY_BONE = 1.5  # bone starves a ray of photons more than its mean attenuation says
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
    read = -np.log(sum(w * np.exp(-s * true) for w, s in zip(WEIGHTS, SOFT_ATTENUATION, strict=True)))
    return read, true


@functools.lru_cache(maxsize=1)
def ramp_gain() -> np.ndarray:
    """The ramp filter's gain, float32 [GRID + 1]: of its sampled kernel, so that the mean of an image is kept
    (Kak and Slaney, Principles of Computerized Tomographic Imaging, section 3.3)."""
    n = np.arange(-GRID, GRID)
    kernel = np.where(n % 2, -1 / (np.pi * np.where(n == 0, 1, n)) ** 2, 0.0)
    kernel[GRID] = 0.25
    return scipy.fft.rfft(np.roll(kernel, GRID)).real.astype(np.float32)


def ramp(sinogram: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """The ramp filter of filtered back-projection, if `smooth` with a Hann roll-off; float32 [..., ANGLES, GRID]."""
    gain = ramp_gain()
    if smooth:
        gain = gain * (0.5 + 0.5 * np.cos(2 * np.pi * scipy.fft.rfftfreq(2 * GRID))).astype(np.float32)
    spectrum = scipy.fft.rfft(sinogram, n=2 * GRID, axis=-1) * gain
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


def scan_errors(rng: np.random.Generator, soft: np.ndarray, bone: np.ndarray, pixel_mm: float, photons: float):
    """What the scanner adds to a slice; arguments as `sinograms` says.

    Args:
      photons: a ray's count without anything in its way.

    Returns:
      three float32 [n, 128, 128] in HU: what beam hardening leaves after a water correction (streaks between
      dense bones, a rise towards the skull); photon noise at this resolution, streaked along the densest rays;
      and the expected SD of that noise.
    """
    p_soft, p_bone = sinograms(soft, bone, pixel_mm)
    intensity = sum(
        np.float32(w) * np.exp(-np.float32(s) * p_soft - np.float32(b) * p_bone)
        for w, s, b in zip(WEIGHTS, SOFT_ATTENUATION, BONE_ATTENUATION, strict=True)
    )
    read, true = water_table()
    error = np.interp(-np.log(intensity), read, true).astype(np.float32) - p_soft - p_bone
    variance = np.exp(np.minimum(p_soft + np.float32(NOISY_BONE) * p_bone, 14)) / np.float32(photons)
    speckle = rng.standard_normal(variance.shape, dtype=np.float32) * np.sqrt(variance)
    # Each angle adds its share of variance: the filter's kernel squared, after linear interpolation between cells.
    kernel = ramp(np.eye(1, GRID, GRID // 2, dtype=np.float32), smooth=False)[0]
    gain = np.float32((2 * np.sum(kernel**2) + np.sum(kernel[1:] * kernel[:-1])) / 3 * np.pi / ANGLES)
    images = to_image(np.concatenate([ramp(error), ramp(speckle, smooth=False), variance * gain]))
    streaks, noise, power = np.split(images * np.float32(1000 / (pixel_mm * WATER_PER_MM)), 3)
    return streaks, noise, np.sqrt(np.maximum(power, 0) * np.float32(1000 / (pixel_mm * WATER_PER_MM)))


def grain(rng: np.random.Generator, slices: int, side: int, pixel_mm: float) -> np.ndarray:
    """Noise of unit SD whose power is ~ f exp(-(f / 4.5 lp/cm)^2); float32 [slices, side, side]."""
    fy = scipy.fft.fftfreq(side, pixel_mm / 10)[:, None]
    fx = scipy.fft.rfftfreq(side, pixel_mm / 10)[None, :]
    f = np.hypot(fx, fy)
    gain = np.sqrt(f * np.exp(-((f / PEAK_LP_CM) ** 2))).astype(np.float32)
    power = 2 * np.sum(gain**2)  # the half plane that rfft leaves out holds as much again
    gain *= np.float32(side * side) / np.sqrt(np.float32(2 * power))
    white = rng.standard_normal((slices, 2, *gain.shape), dtype=np.float32)
    return scipy.fft.irfft2((white[:, 0] + 1j * white[:, 1]) * gain, s=(side, side)).astype(np.float32)
