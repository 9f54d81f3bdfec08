"""The shared steps of the classical methods as one would write them in NumPy and SciPy, in float32."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

PEER_FLAT = 1e-4  # added to squared slopes, as in `ops.level_sets`
CLUSTERS, FUZZY_STEPS = 4, 15
BOX_SIDE_PX = 3

Stack = np.ndarray


def example(*, slices: int, side: int) -> dict[str, Stack]:
    """A stack of noisy slices: 'image' float32 of HU, 'inside' bool, 'start' bool of a disk in it; [D, H, W] each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside = np.hypot(y / 0.42, x / 0.36) < side
    blood = np.hypot(y - 0.1 * side, x - 0.1 * side) < 0.08 * side
    plane = np.where(blood, 60.0, 32.0) * inside
    image = plane + rng.normal(0, 5, (slices, side, side)) * inside
    start = np.hypot(y - 0.1 * side, x - 0.1 * side) < 0.05 * side
    return {
        "image": image.astype(np.float32),
        "inside": np.broadcast_to(inside, image.shape).copy(),
        "start": np.broadcast_to(start & inside, image.shape).copy(),
    }


def drlse(phi: Stack, edge: Stack, *, steps: int, alf: float) -> Stack:
    """Distance-regularized level sets with the defaults of `ops.level_sets.drlse`."""
    mu, lam, eps, dt = 0.04, 5.0, 1.5, 5.0
    for _ in range(steps):
        squared = _squared_slope(phi)
        slope = np.sqrt(squared)
        inverse = 1 / np.sqrt(squared + np.float32(PEER_FLAT))
        well = np.where(slope <= 1, np.sinc(2 * slope), 1 - inverse)
        delta = np.where(np.abs(phi) <= eps, (1 + np.cos(np.float32(np.pi / eps) * phi)) / (2 * eps), 0)
        length = _divergence(edge * inverse, phi)
        phi = phi + np.float32(dt) * (mu * _divergence(well, phi) + delta * (lam * length + alf * edge))
        phi = phi.astype(np.float32)
    return phi


def chan_vese(phi: Stack, image: Stack, region: Stack, *, steps: int, nu: float) -> Stack:
    """Chan-Vese with the defaults of `ops.level_sets.chan_vese`."""
    for _ in range(steps):
        inside, outside = region & (phi < 0), region & (phi >= 0)
        means = [
            (image * part).sum((1, 2), keepdims=True) / part.sum((1, 2), keepdims=True) for part in (inside, outside)
        ]
        force = np.where(region, (image - means[0]) ** 2 - (image - means[1]) ** 2, 0)
        curvature = _divergence(1 / np.sqrt(_squared_slope(phi) + np.float32(PEER_FLAT)), phi)
        phi = (phi + 0.5 / np.pi / (1 + phi * phi) * (nu * curvature + force)).astype(np.float32)
    return phi


def spatial_fuzzy_clusters(values: Stack, inside: Stack, centers: Stack) -> tuple[Stack, Stack]:
    """(centers [N, K], membership [N, K, H, W]) after `FUZZY_STEPS` updates."""
    membership = _spatial_membership(values, inside, centers)
    for _ in range(FUZZY_STEPS):
        weights = membership * membership
        centers = (weights * values[:, None]).sum((2, 3)) / weights.sum((2, 3))
        membership = _spatial_membership(values, inside, centers)
    return centers, membership


def local_moments(values: Stack, mask: Stack) -> tuple[Stack, ...]:
    """Mean, SD, skew and kurtosis of the neighbors in the mask, from sums of powers of centered values."""
    level = values[mask].mean()
    centered = np.where(mask, values - level, 0)
    share = ndimage.uniform_filter(mask.astype(np.float32), BOX_SIDE_PX, mode="constant")
    share = np.maximum(share, 1e-6)
    one, two, three, four = (
        ndimage.uniform_filter(centered**power, BOX_SIDE_PX, mode="constant") / share for power in (1, 2, 3, 4)
    )
    variance = np.maximum(two - one**2, 0)
    third = three - 3 * one * two + 2 * one**3
    fourth = four - 4 * one * three + 6 * one**2 * two - 3 * one**4
    scale = 1 / np.maximum(variance, 1e-6)
    moments = one + level, np.sqrt(variance), third * scale**1.5, fourth * scale**2
    return tuple(np.where(mask, moment, 0) for moment in moments)


def _spatial_membership(values: Stack, inside: Stack, centers: Stack) -> Stack:
    closeness = 1 / np.maximum((values[:, None] - centers[:, :, None, None]) ** 2, 1e-9)
    plain = closeness / closeness.sum(axis=1, keepdims=True) * inside[:, None]
    joint = plain * ndimage.uniform_filter(plain, (1, 1, 5, 5), mode="constant")
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-30)


def _squared_slope(phi: Stack) -> Stack:
    padded = np.pad(phi, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows, columns = np.diff(padded, axis=1)[:, :, 1:-1] ** 2, np.diff(padded, axis=2)[:, 1:-1] ** 2
    return (rows[:, 1:] + rows[:, :-1] + columns[:, :, 1:] + columns[:, :, :-1]) / 2


def _divergence(weight: Stack, phi: Stack) -> Stack:
    """div(weight grad phi), the weight between two pixels being the mean of theirs."""
    down = np.diff(phi, axis=1) * (weight[:, 1:] + weight[:, :-1]) / 2
    right = np.diff(phi, axis=2) * (weight[:, :, 1:] + weight[:, :, :-1]) / 2
    return np.diff(np.pad(down, ((0, 0), (1, 1), (0, 0))), axis=1) + np.diff(
        np.pad(right, ((0, 0), (0, 0), (1, 1))), axis=2
    )


TASKS: dict[str, Callable] = {
    "drlse": drlse,
    "chan_vese": chan_vese,
    "spatial_fuzzy_clusters": spatial_fuzzy_clusters,
    "local_moments": local_moments,
}
