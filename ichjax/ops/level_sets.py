"""Level sets on slices: distance-regularized (DRLSE), Chan-Vese, and local binary fitting (LBF).

The contour is where phi = 0; phi is negative inside, in all three. Each method adds, times a step, a term that keeps
phi smooth, and on the contour (weighted by a delta function) the mean curvature and a force. Pixels have side 1;
beyond the edge of a slice its outermost pixels are repeated (Neumann conditions: nothing flows across the edge).

Divergences are differences of fluxes between neighboring pixels, a compact form of the published schemes, which take
central differences twice. A step reads phi twice and the fields once: phi travels with an edge of one pixel, so that
neighbors are plain slices of it, and trigonometric functions are polynomials with float32's precision.

An evolution takes a fixed number of steps. With a `tolerance` that is the limit, and a slice stops earlier when no more
than that share of the pixels inside changed sides in the last `CHECK_STEPS` steps, or would do so within `FORESEEN`
times as many at the same pace. Each slice gets the result that it would get alone.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import gaussian

CHECK_STEPS = 10  # between two checks whether a contour still moves
FORESEEN = 100
FLAT = 1e-4  # squared slope that is added before dividing: below it phi has no direction
GAUSSIAN_RADII = 2.0  # the kernel of LBF ends at twice its sigma
# Coefficients, by rising power of x squared, of sin(2 pi x) / (2 pi x) for |x| <= 1 and of cos(x) for |x| <= pi / 2.
SINC_SERIES = tuple((-1) ** k * (2 * math.pi) ** (2 * k) / math.factorial(2 * k + 1) for k in range(13))
COSINE_SERIES = tuple((-1) ** k / math.factorial(2 * k) for k in range(8))

Step = Callable[[jax.Array], jax.Array]  # phi with an edge of one pixel [N, H + 2, W + 2] to the next phi [N, H, W]
Factor = jax.Array | float  # a number, or an array [N, 1, 1] or [N, H, W]


def from_mask(inside: jax.Array, *, height: float = 2.0) -> jax.Array:
    """float32 [...]: phi to start from, -`height` inside a bool mask and `height` elsewhere."""
    return jnp.where(inside, -jnp.float32(height), jnp.float32(height))


def edge_indicator(image: jax.Array, *, sigma_px: float = 1.5) -> jax.Array:
    """1 / (1 + |gradient of the smoothed image| squared): 1 where it is flat, near 0 on edges.

    Args:
      image: [N, H, W]; DRLSE was published for grey levels 0 to 255.
      sigma_px: of the Gaussian.

    Returns:
      float32 [N, H, W].
    """
    chex.assert_rank(image, 3)
    padded = _pad(gaussian.smooth(image.astype(jnp.float32), sigma_px=sigma_px))
    rows = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    columns = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    return 1.0 / (1.0 + rows**2 + columns**2)


def drlse(
    phi: jax.Array,
    edge: jax.Array,
    *,
    iterations: jax.Array | int,
    alf: Factor,
    lam: Factor = 5.0,
    mu: float = 0.04,
    eps: float = 1.5,
    dt: float = 5.0,
    tolerance: jax.Array | float | None = None,
) -> jax.Array:
    """Distance-regularized level set evolution (Li et al., IEEE Trans. Image Process. 2010) with the double-well
    potential; defaults as in the authors' examples.

    Args:
      phi: float32 [N, H, W], usually of `from_mask`.
      edge: float32 [N, H, W], of `edge_indicator`.
      iterations: number of steps, or its limit.
      alf: balloon force, > 0 to shrink and < 0 to grow.
      lam: weight of the length.
      mu: weight of the regularization; `mu` x `dt` must be below 1/4.
      eps: half width of the delta function.
      dt: time step.
      tolerance: see the module; None for a fixed number of steps.

    Returns:
      float32 [N, H, W].

    Raises:
      ValueError: `mu` x `dt` is 1/4 or more.
    """
    chex.assert_equal_shape([phi, edge])
    if mu * dt >= 0.25:
        raise ValueError(f"mu x dt is {mu * dt}; expected less than 1/4, above which DRLSE is not stable")

    def step(padded: jax.Array) -> jax.Array:
        center, differences = _differences(padded)
        squared = _squared_slope(differences)
        inverse = jax.lax.rsqrt(squared + FLAT)
        well = jnp.where(squared <= 1, _polynomial(jnp.minimum(squared, 1.0), SINC_SERIES), 1.0 - inverse)
        smooth = _divergence(well, differences)
        length = _divergence(edge * inverse, differences)
        return center + dt * (mu * smooth + _compact_delta(center, eps) * (lam * length + alf * edge))

    return _evolve(step, phi, iterations, tolerance)


def chan_vese(
    phi: jax.Array,
    image: jax.Array,
    region: jax.Array,
    *,
    iterations: jax.Array | int,
    nu: Factor,
    dt: float = 0.5,
    eps: float = 1.0,
    tolerance: jax.Array | float | None = None,
) -> jax.Array:
    """Active contours without edges (Chan and Vese, IEEE Trans. Image Process. 2001): two means for each slice.

    Args:
      phi: float32 [N, H, W].
      image: float32 [N, H, W], in units of about 0 to 1: the squared difference of the two means drives the contour.
      region: bool [N, H, W]; only its pixels have a force and count for the means.
      iterations, tolerance: as in `drlse`.
      nu: weight of the length.
      dt: time step.
      eps: width of the delta function, which nowhere is 0.

    Returns:
      float32 [N, H, W]. Without a pixel on one of the sides there is no force.
    """
    chex.assert_equal_shape([phi, image, region])
    weights = region.astype(jnp.float32)
    weighted = jnp.where(region, image, 0.0)
    pixels, total = (x.sum(axis=(1, 2), keepdims=True) for x in (weights, weighted))

    def step(padded: jax.Array) -> jax.Array:
        center, differences = _differences(padded)
        inside = center < 0
        pixels_inside = jnp.where(inside, weights, 0.0).sum(axis=(1, 2), keepdims=True)
        total_inside = jnp.where(inside, weighted, 0.0).sum(axis=(1, 2), keepdims=True)
        both = (pixels_inside > 0) & (pixels_inside < pixels)
        mean_inside = total_inside / jnp.maximum(pixels_inside, 1.0)
        mean_outside = (total - total_inside) / jnp.maximum(pixels - pixels_inside, 1.0)
        force = (image - mean_inside) ** 2 - (image - mean_outside) ** 2
        force = jnp.where(region & both, force, 0.0)
        return center + dt * _wide_delta(center, eps) * (nu * _curvature(differences) + force)

    return _evolve(step, phi, iterations, tolerance)


def local_binary_fitting(
    phi: jax.Array,
    image: jax.Array,
    region: jax.Array,
    *,
    iterations: jax.Array | int,
    nu: Factor,
    mu: Factor,
    dt: Factor,
    balloon: Factor = 0.0,
    fit: float = 1.0,
    sigma_px: float = 3.0,
    eps: float = 1.0,
    tolerance: jax.Array | float | None = None,
) -> jax.Array:
    """Local binary fitting (Li et al., CVPR 2007): at each pixel two means under a Gaussian, inside and outside.

    Args:
      phi: float32 [N, H, W].
      image: float32 [N, H, W].
      region: bool [N, H, W]; only its pixels have a force and count for the means.
      iterations, tolerance: as in `drlse`.
      nu: weight of the length.
      mu: weight of the term that keeps the slope of phi near 1; times `dt` below 1/4.
      dt: time step.
      balloon: a further force on the contour, > 0 to shrink and < 0 to grow.
      fit: weight of the fitting energy, in squared units of the image.
      sigma_px: of the Gaussian, which ends at twice this.
      eps: width of the delta function and of the step from inside to outside.

    Returns:
      float32 [N, H, W].
    """
    chex.assert_equal_shape([phi, image, region])
    weights = region.astype(jnp.float32)
    image = jnp.where(region, image, 0.0)

    def smooth(maps: jax.Array) -> jax.Array:
        return gaussian.smooth(maps, sigma_px=sigma_px, radii=GAUSSIAN_RADII)

    near, near_image = smooth(weights), smooth(image)

    def step(padded: jax.Array) -> jax.Array:
        center, differences = _differences(padded)
        share = weights * (0.5 - jnp.arctan(center / eps) / math.pi)
        near_inside, image_inside = smooth(share), smooth(share * image)
        mean_inside = image_inside / jnp.maximum(near_inside, 1e-6)
        mean_outside = (near_image - image_inside) / jnp.maximum(near - near_inside, 1e-6)
        linear = smooth(weights * (mean_inside - mean_outside))
        square = smooth(weights * (mean_inside**2 - mean_outside**2))
        force = weights * (fit * (square - 2.0 * image * linear) + balloon)
        curvature = _curvature(differences)
        regular = _laplacian(differences) - curvature
        return center + dt * (mu * regular + _wide_delta(center, eps) * (nu * curvature + force))

    return _evolve(step, phi, iterations, tolerance)


class _Differences(NamedTuple):
    """Of phi [N, H, W] between each pixel and the next and the previous one, along rows and columns."""

    down: jax.Array
    up: jax.Array
    right: jax.Array
    left: jax.Array


def _differences(padded: jax.Array) -> tuple[jax.Array, _Differences]:
    """(phi without its edge, its differences)."""
    center = padded[:, 1:-1, 1:-1]
    down, up = padded[:, 2:, 1:-1] - center, center - padded[:, :-2, 1:-1]
    return center, _Differences(down, up, padded[:, 1:-1, 2:] - center, center - padded[:, 1:-1, :-2])


def _squared_slope(differences: _Differences) -> jax.Array:
    """Of both sides' differences: 0 only if phi is flat on both, so that no flux can exceed sqrt(2)."""
    return sum((d * d for d in differences[1:]), start=differences[0] ** 2) / 2


def _laplacian(differences: _Differences) -> jax.Array:
    return differences.down - differences.up + differences.right - differences.left


def _curvature(differences: _Differences) -> jax.Array:
    return _divergence(jax.lax.rsqrt(_squared_slope(differences) + FLAT), differences)


def _divergence(weight: jax.Array, differences: _Differences) -> jax.Array:
    """div(weight grad phi); the weight between two pixels is the mean of theirs."""
    padded = jax.lax.optimization_barrier(_pad(weight))  # fused, each pixel would compute the weights of its neighbors
    flux_down = (padded[:, 2:, 1:-1] + weight) * differences.down
    flux_up = (padded[:, :-2, 1:-1] + weight) * differences.up
    flux_right = (padded[:, 1:-1, 2:] + weight) * differences.right
    flux_left = (padded[:, 1:-1, :-2] + weight) * differences.left
    return (flux_down - flux_up + flux_right - flux_left) / 2


def _compact_delta(phi: jax.Array, eps: float) -> jax.Array:
    """(1 + cos(pi phi / eps)) / (2 eps) for |phi| <= eps, else 0, as the square of a cosine of half the angle."""
    angle = math.pi / 2 / eps
    cosine = _polynomial(jnp.minimum((angle * phi) ** 2, (math.pi / 2) ** 2), COSINE_SERIES)
    return jnp.where(jnp.abs(phi) <= eps, cosine * cosine / eps, 0.0)


def _wide_delta(phi: jax.Array, eps: float) -> jax.Array:
    return eps / math.pi / (eps * eps + phi * phi)


def _polynomial(x: jax.Array, coefficients: tuple[float, ...]) -> jax.Array:
    """By rising power, with Horner's rule."""
    result = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + coefficient
    return result


def _pad(maps: jax.Array) -> jax.Array:
    """[N, H, W] with one more pixel on each side of a slice, a copy of its neighbor."""
    return jnp.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="edge")


def _evolve(step: Step, phi: jax.Array, iterations: jax.Array | int, tolerance: jax.Array | float | None) -> jax.Array:
    """Repeats a step; see the module about the tolerance."""

    def steps(count: jax.Array | int, padded: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda _, padded: _pad(step(padded)), padded)

    padded = _pad(phi.astype(jnp.float32))
    if tolerance is None:
        return steps(iterations, padded)[:, 1:-1, 1:-1]

    def advance(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        done, moving, old = state
        count = jnp.minimum(CHECK_STEPS, iterations - done)
        new = jnp.where(moving[:, None, None], steps(count, old), old)
        before, after = old[:, 1:-1, 1:-1], new[:, 1:-1, 1:-1]
        crosses = ((before < 0) != (after < 0)) | ((after < 0) != (after + FORESEEN * (after - before) < 0))
        allowed = tolerance * (after < 0).sum(axis=(1, 2))
        return done + count, moving & (crosses.sum(axis=(1, 2)) > allowed), new

    moving = (phi < 0).any(axis=(1, 2)) & (phi > 0).any(axis=(1, 2))
    state = jnp.int32(0), moving, padded
    return jax.lax.while_loop(lambda s: (s[0] < iterations) & s[1].any(), advance, state)[2][:, 1:-1, 1:-1]
