"""Random changes of HU and of windowed images: against SciPy and hand-computed values, and how often they happen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ichjax.data import regrid
from ichjax.ops import augment_hu, augment_windowed

SIDE = 20
OPS = {
    "shift_and_scale": (augment_hu.shift_and_scale, {"shift_hu": 5.0, "scale": 0.05}),
    "noise": (augment_hu.noise, {"std_hu": 10.0, "correlation_px": 1.5}),
    "blur": (augment_hu.blur, {"sigma_px": 1.5}),
    "low_resolution": (augment_hu.low_resolution, {"lowest": 0.5}),
    "cupping": (augment_hu.cupping, {"bias_hu": 8.0, "bone_px": 2.0}),
    "average_slices": (augment_hu.average_slices, {}),
    "gamma": (augment_windowed.gamma, {"strength": 0.4}),
    "blank": (augment_windowed.blank, {"count": 3, "smallest": 0.1, "largest": 0.3}),
}
MASK = np.zeros((SIDE, SIDE), np.float32)


@functools.cache
def compiled(name, probability=1.0):
    op, options = OPS[name]
    return jax.jit(functools.partial(op, probability=probability, **options))


def image_of(seed, channels=3):
    return np.random.default_rng(seed).normal(40, 20, (SIDE, SIDE, channels)).astype(np.float32)


def in_range(value, low, high, slack=1e-3):
    assert low - slack <= value <= high + slack


@pytest.mark.parametrize("name", OPS)
def test_it_is_drawn_with_its_probability_and_else_changes_no_bit(name):
    image = abs(image_of(0)) / 100
    keys = jax.random.split(jax.random.key(1), 400)
    out, masks = jax.vmap(lambda key: compiled(name, 0.3)(key, image, MASK + 1))(keys)
    same = (np.asarray(out) == image[None]).all(axis=(1, 2, 3))
    assert 0.2 < 1 - same.mean() < 0.4
    assert (np.asarray(masks) == 1).all()
    assert np.isfinite(out).all()


@given(st.integers(0, 2**31))
def test_calibration_is_one_line_within_its_range(seed):
    image = image_of(seed)
    slope, shift = np.polyfit(
        image.ravel(), np.ravel(compiled("shift_and_scale")(jax.random.key(seed), image, MASK)[0]), 1
    )
    in_range(slope, 0.95, 1.05)
    in_range(shift, -5, 5)


def test_noise_has_the_drawn_deviation_and_neighbors_correlate():
    zeros, keys = np.zeros((SIDE, SIDE, 1), np.float32), jax.random.split(jax.random.key(0), 3000)
    added = np.asarray(jax.vmap(lambda key: compiled("noise")(key, zeros, MASK)[0])(keys), np.float64)[..., 0]
    # The deviation is uniform in 0 to 10, so its mean square is 100 / 3, the same at each pixel, edges included.
    np.testing.assert_allclose((added**2).mean(axis=0), 100 / 3, rtol=0.2)
    np.testing.assert_allclose(added.mean(axis=0), 0, atol=0.6)
    neighbors = (added[:, 8, 8] * added[:, 8, 9]).mean() / (added[:, 8, 8] ** 2).mean()
    far = (added[:, 8, 2] * added[:, 8, 17]).mean() / (added[:, 8, 8] ** 2).mean()
    assert 0.3 < neighbors < 0.9
    assert abs(far) < 0.1


@given(st.integers(0, 2**31))
def test_blur_is_the_gaussian_filter_of_scipy(seed):
    """Sigma is read off the response to a point; near an edge the weights are divided by their sum."""
    key, image = jax.random.key(seed), image_of(seed, 1)
    point = np.zeros((SIDE, SIDE, 1), np.float32)
    point[10, 10] = 1
    response = np.asarray(compiled("blur")(key, point, MASK)[0], np.float64)[..., 0]
    ratio = max(response[10, 11] / response[10, 10], 1e-30)
    sigma = np.sqrt(-0.5 / np.log(min(ratio, 1 - 1e-9)))
    in_range(sigma, 0, 1.5)
    smooth = lambda x: ndimage.gaussian_filter(x.astype(float), sigma, mode="constant", radius=SIDE)  # noqa: E731
    expected = smooth(image[..., 0]) / smooth(np.ones((SIDE, SIDE)))
    np.testing.assert_allclose(compiled("blur")(key, image, MASK)[0][..., 0], expected, rtol=1e-3, atol=1e-2)


def test_low_resolution_is_resampling_there_and_back():
    """At the lowest share (by an interval of one point) against the NumPy weights of `regrid`."""
    image = image_of(3, 1)
    op = functools.partial(augment_hu.low_resolution, probability=1.0)
    there, back = regrid.line_weights(SIDE, 1.0, SIDE, 2.0), regrid.line_weights(SIDE, 2.0, SIDE, 1.0)
    half = jax.jit(lambda key: op(key, image, MASK, lowest=0.5)[0])
    keys = jax.random.split(jax.random.key(0), 300)
    out = np.asarray(jax.vmap(half)(keys))
    expected = back @ there @ image[..., 0] @ (back @ there).T
    assert np.abs(out[..., 0] - expected).mean(axis=(1, 2)).min() < 0.5  # a draw close to one half
    assert (out.std(axis=(1, 2, 3)) <= image.std() + 1e-3).all()
    np.testing.assert_allclose(op(keys[0], image, MASK, lowest=1.0)[0], image, atol=1e-3)


@given(st.integers(0, 2**31))
def test_cupping_is_a_bowl_that_soft_tissue_does_not_change(seed):
    key, image = jax.random.key(seed), image_of(seed, 1)
    added = np.asarray(compiled("cupping")(key, image, MASK)[0] - image, np.float64)[..., 0]
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    system = np.stack([np.ones_like(x), y, x, y**2 + x**2], -1).reshape(-1, 4)
    (_, down, right, curve), residuals, *_ = np.linalg.lstsq(system, added.ravel(), rcond=None)
    assert residuals.max() < 1e-3
    in_range(curve, -8, 8)
    in_range(max(abs(down), abs(right)), 0, 0.5 * abs(curve))  # the center is within a quarter of the half side


def test_hu_rise_near_bone():
    """Against SciPy, with a key whose radial part is known from soft tissue of the same size."""
    key, bone = jax.random.key(5), np.full((SIDE, SIDE, 1), 40, np.float32)
    bone[:, 9:11] = 1000
    plain = np.full((SIDE, SIDE, 1), 40, np.float32)
    rise = (compiled("cupping")(key, bone, MASK)[0] - bone) - (compiled("cupping")(key, plain, MASK)[0] - plain)
    rise = np.asarray(rise, np.float64)[..., 0]
    smooth = lambda x: ndimage.gaussian_filter(x, 2.0, mode="constant", radius=SIDE)  # noqa: E731
    expected = smooth((bone[..., 0] > 300).astype(float)) / smooth(np.ones((SIDE, SIDE)))
    factor = rise[10, 10] / expected[10, 10]
    in_range(factor, 0, 8)
    np.testing.assert_allclose(rise, factor * expected, atol=2e-3)


def test_thicker_slices_by_hand():
    stack = np.broadcast_to(np.array([0, 30, 90], np.float32), (SIDE, SIDE, 3))
    out = np.asarray(compiled("average_slices")(jax.random.key(2), stack, MASK)[0])
    share = (out[0, 0] - stack[0, 0]) / (np.array([10, 40, 70]) - stack[0, 0])  # means of the ends: 0 0 30, 30 90 90
    np.testing.assert_allclose(share, share[0], rtol=1e-4)
    in_range(share[0], 0, 1)
    np.testing.assert_array_equal(out, np.broadcast_to(out[0, 0], out.shape))


def test_channels_that_are_no_slices_are_not_mixed():
    image = image_of(0, 4)
    changed, _ = augment_hu.average_slices(jax.random.key(2), image, MASK, probability=1.0, others=1)
    alone, _ = augment_hu.average_slices(jax.random.key(2), image[..., :3], MASK, probability=1.0)
    np.testing.assert_array_equal(changed, np.concatenate([alone, image[..., 3:]], axis=-1))


def test_a_single_slice_has_no_thickness():
    image = image_of(0, 1)
    assert augment_hu.average_slices(jax.random.key(0), image, MASK, probability=1.0)[0] is image


@given(st.integers(0, 2**31))
def test_gamma_is_a_power_of_each_channel(seed):
    image = np.random.default_rng(seed).uniform(0.1, 0.9, (SIDE, SIDE, 3)).astype(np.float32)
    out = np.asarray(compiled("gamma")(jax.random.key(seed), image, MASK)[0], np.float64)
    powers = np.log(out) / np.log(image)
    np.testing.assert_allclose(powers, np.broadcast_to(powers[:1, :1], powers.shape), rtol=1e-3)
    assert (powers > 1 / 1.4 - 1e-3).all()
    assert (powers < 1.4 + 1e-3).all()
    assert len(np.unique(powers[0, 0].round(4))) == 3
    ends = np.array([0.0, 1.0], np.float32)[None, :, None] + np.zeros((SIDE, 2, 1), np.float32)
    np.testing.assert_array_equal(compiled("gamma")(jax.random.key(seed), ends, MASK[:, :2])[0], ends)


@given(st.integers(0, 2**31))
def test_blank_rectangles_hold_the_mean(seed):
    image = np.random.default_rng(seed).random((SIDE, SIDE, 2), np.float32)
    out = np.asarray(compiled("blank")(jax.random.key(seed), image, MASK)[0])
    changed = (out != image).any(axis=-1)
    np.testing.assert_allclose(out[changed], np.broadcast_to(image.mean(axis=(0, 1)), out[changed].shape), rtol=1e-5)
    side = 0.3 * SIDE
    assert (0.1 * SIDE - 1) ** 2 <= changed.sum() <= 3 * (side + 1) ** 2
    _, count = ndimage.label(changed)
    assert 1 <= count <= 3


def test_one_blank_rectangle_is_a_rectangle_anywhere_in_the_image():
    op = functools.partial(augment_windowed.blank, probability=1.0, count=1, smallest=0.1, largest=0.3)
    image = np.random.default_rng(0).random((SIDE, SIDE, 1), np.float32)
    keys = jax.random.split(jax.random.key(0), 500)
    changed = np.asarray(jax.vmap(lambda key: op(key, image, jnp.asarray(MASK))[0])(keys) != image[None])[..., 0]
    for one in changed:
        rows, columns = np.flatnonzero(one.any(axis=1)), np.flatnonzero(one.any(axis=0))
        assert one.sum() == len(rows) * len(columns)
        assert 2 <= len(rows) <= 6
    assert changed.any(axis=(0, 1)).all()
    assert changed.any(axis=(0, 2)).all()
