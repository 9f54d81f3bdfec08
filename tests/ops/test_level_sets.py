"""Level sets against NumPy and SciPy in double precision, and on disks that they must outline."""

import chex
import jax
import numpy as np
import pytest
import scipy.ndimage as nd

from ichjax.ops import level_sets

DRLSE, CHAN_VESE, LBF = (
    jax.jit(chex.assert_max_traces(op, n=4))  # with and without a tolerance, by default and given; a slice alone
    for op in (level_sets.drlse, level_sets.chan_vese, level_sets.local_binary_fitting)
)
EDGE = jax.jit(level_sets.edge_indicator)
STEPS = 5  # few, because DRLSE amplifies rounding where phi is steep
FITTING = {"nu": 65.0, "mu": 1.0, "dt": 0.1}
Y, X = np.mgrid[:24, :27]


def disk(row, column, radius):
    return np.hypot(Y - row, X - column) < radius


TRUE = np.stack([disk(11, 12, 6), disk(13, 14, 7)])
START = np.stack([disk(12, 13, 9.5), disk(12, 13, 10.5)])
REGION = np.stack([disk(12, 13, 11.5), np.ones(Y.shape, bool)])
PHI = np.where(START, -2, 2).astype(np.float32)


def grey(seed=0, noise=4):
    """float32 [2, 24, 27]: bright disks, 180 on 90, with noise."""
    return (np.where(TRUE, 180, 90) + np.random.default_rng(seed).normal(0, noise, TRUE.shape)).astype(np.float32)


def divergence(weight, phi):
    """Differences of fluxes, which are 0 across the edge."""
    total = np.zeros_like(phi)
    for axis in (0, 1):
        first, second = (np.delete(weight, end, axis) for end in (-1, 0))
        flux = np.diff(phi, axis=axis) * (first + second) / 2
        ends = [(1, 1) if k == axis else (0, 0) for k in (0, 1)]
        total += np.diff(np.pad(flux, ends), axis=axis)
    return total


def slope(phi):
    """Root of half the sum of the squared differences to all four neighbors."""
    padded = np.pad(phi, 1, mode="edge")
    rows, columns = np.diff(padded, axis=0)[:, 1:-1] ** 2, np.diff(padded, axis=1)[1:-1] ** 2
    return np.sqrt((rows[1:] + rows[:-1] + columns[:, 1:] + columns[:, :-1]) / 2)


def curvature(phi):
    return divergence(1 / np.sqrt(slope(phi) ** 2 + 1e-4), phi)


def drlse_step(phi, edge, alf, mu=0.04, lam=5.0, eps=1.5, dt=5.0):
    s = slope(phi)
    well = np.where(s <= 1, np.sinc(2 * s), 1 - 1 / np.maximum(s, 1))
    delta = np.where(np.abs(phi) <= eps, (1 + np.cos(np.pi * phi / eps)) / (2 * eps), 0)
    length = divergence(edge / np.sqrt(s**2 + 1e-4), phi)
    return phi + dt * (mu * divergence(well, phi) + delta * (lam * length + alf * edge))


def chan_vese_step(phi, image, region, nu, dt=0.5):
    inside, outside = image[region & (phi < 0)], image[region & (phi >= 0)]
    force = (image - inside.mean()) ** 2 - (image - outside.mean()) ** 2
    return phi + dt / np.pi / (1 + phi**2) * (nu * curvature(phi) + np.where(region, force, 0))


def lbf_step(phi, image, region, nu, mu, dt, balloon):
    def smooth(x):
        return nd.gaussian_filter(x, 3.0, mode="nearest", truncate=2.0)

    shares = [region * (0.5 - np.arctan(phi) / np.pi), region * (0.5 + np.arctan(phi) / np.pi)]
    means = [smooth(share * image) / np.maximum(smooth(share), 1e-6) for share in shares]
    # The definition: the mean of (I(x) - f(y))^2 over the pixels y of the region near x.
    inside, outside = (
        image**2 * smooth(region * 1.0) - 2 * image * smooth(region * f) + smooth(region * f**2) for f in means
    )
    kappa = curvature(phi)
    force = region * (inside - outside + balloon)
    return phi + dt * (mu * (nd.laplace(phi, mode="nearest") - kappa) + (nu * kappa + force) / np.pi / (1 + phi**2))


def repeat(step, phi, *fields, steps=STEPS, **options):
    """[N, H, W] after some steps of each slice in double precision."""
    results = []
    for k in range(len(phi)):
        one = phi[k].astype(float)
        for _ in range(steps):
            one = step(
                one, *(field[k].astype(float) if field.dtype != bool else field[k] for field in fields), **options
            )
        results.append(one)
    return np.stack(results)


def test_edge_indicator_equals_scipy():
    image = grey()
    smoothed = [nd.gaussian_filter(one, 1.5, mode="nearest") for one in image.astype(float)]
    rows, columns = (np.stack([nd.correlate1d(s, [-0.5, 0, 0.5], k, mode="nearest") for s in smoothed]) for k in (0, 1))
    np.testing.assert_allclose(EDGE(image), 1 / (1 + rows**2 + columns**2), rtol=2e-4)


@pytest.mark.parametrize(("steps", "rtol"), [(1, 1e-5), (STEPS, 2e-3)])
@pytest.mark.parametrize("alf", [1.5, -3.0])
def test_drlse_equals_numpy(alf, steps, rtol):
    edge = np.asarray(EDGE(grey()))
    result = DRLSE(PHI, edge, iterations=steps, alf=alf)
    np.testing.assert_allclose(result, repeat(drlse_step, PHI, edge, alf=alf, steps=steps), rtol=rtol, atol=rtol)


def test_chan_vese_equals_numpy():
    image = grey() / 255
    result = CHAN_VESE(PHI, image, REGION, iterations=STEPS, nu=0.1)
    np.testing.assert_allclose(result, repeat(chan_vese_step, PHI, image, REGION, nu=0.1), atol=2e-5)


def test_local_binary_fitting_equals_numpy():
    image, balloon = grey(), np.random.default_rng(1).normal(0, 20, PHI.shape).astype(np.float32)
    result = LBF(PHI, image, REGION, iterations=STEPS, balloon=balloon, **FITTING)

    def step(phi, image, region, balloon):
        return lbf_step(phi, image, region, balloon=balloon, **FITTING)

    expected = repeat(step, PHI, image, REGION, balloon)
    np.testing.assert_allclose(result, expected, atol=2e-3 * np.abs(expected).max())


def share_right(phi):
    """Jaccard index of the pixels inside phi and the true disks."""
    inside = np.asarray(phi) < 0
    return (inside & TRUE).sum() / (inside | TRUE).sum()


def test_contours_stop_at_the_disks_long_before_the_limit_and_stay_there():
    limit = {"iterations": 10**8, "tolerance": 0.01}  # would take hours
    edge, image = EDGE(grey(noise=0.5)), grey() / 255
    shrunk, parted = DRLSE(PHI, edge, alf=1.5, **limit), CHAN_VESE(PHI / 4, image, REGION, nu=0.01, **limit)
    assert share_right(shrunk) > 0.8  # the zero of phi lies on the outer side of an edge
    assert share_right(parted) > 0.98
    later = CHAN_VESE(PHI / 4, image, REGION, nu=0.01, iterations=2000)
    np.testing.assert_array_equal(np.asarray(parted) < 0, np.asarray(later) < 0)


def test_local_binary_fitting_outlines_a_disk_under_a_shading_that_two_means_cannot():
    shading = 6.0 * X
    image = (grey(noise=1) + shading).astype(np.float32)
    start = np.where(nd.binary_dilation(TRUE, nd.generate_binary_structure(3, 1)[1:2], 2), -2, 2).astype(np.float32)
    assert share_right(LBF(start, image, REGION, iterations=200, **FITTING)) > 0.9
    assert share_right(CHAN_VESE(start, image / 255, REGION, nu=0.01, iterations=200)) < 0.75


def test_a_slice_gets_the_result_that_it_gets_alone():
    image = grey() / 255
    together = CHAN_VESE(PHI, image, REGION, nu=0.05, iterations=400, tolerance=0.01)
    alone = CHAN_VESE(PHI[:1], image[:1], REGION[:1], nu=0.05, iterations=400, tolerance=0.01)
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)


@pytest.mark.parametrize("tolerance", [None, 0.01])
@pytest.mark.parametrize("value", [-2.0, 2.0])
def test_without_a_contour_or_contrast_values_are_finite_and_no_side_appears(value, tolerance):
    phi, flat = np.full_like(PHI, value), np.full_like(PHI, 90)
    ends = {"iterations": STEPS, "tolerance": tolerance}
    results = [
        DRLSE(phi, np.asarray(EDGE(flat)), alf=1.5, **ends),
        CHAN_VESE(phi, grey() / 255, np.zeros(PHI.shape, bool), nu=0.1, **ends),
        CHAN_VESE(phi, flat, REGION, nu=0.1, **ends),
        LBF(phi, flat, REGION, **FITTING, **ends),
    ]
    for result in map(np.asarray, results):
        assert np.isfinite(result).all()
        assert ((result < 0) == (value < 0)).all()


def test_an_unstable_weight_is_refused():
    with pytest.raises(ValueError, match=r"mu x dt is 0.5; expected less than 1/4"):
        level_sets.drlse(PHI, PHI, iterations=1, alf=1.0, mu=0.1)
