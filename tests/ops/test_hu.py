"""HU windows and the corner pixel, against hand-computed values."""

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.ops import hu


def test_windows_by_hand():
    values = jnp.array([-1000, -20, 40, 70, 100, 3000], jnp.int16)
    result = hu.windows(values, ((40.0, 120.0), (700.0, 3200.0)))
    np.testing.assert_allclose(result[:, 0], [0, 0, 0.5, 0.75, 1, 1], atol=1e-6)
    np.testing.assert_allclose(result[:, 1], [0, 880 / 3200, 940 / 3200, 970 / 3200, 1000 / 3200, 1], atol=1e-6)


def test_only_the_corner_pixel_is_set_to_the_top_of_every_window():
    images = np.random.default_rng(0).random((2, 3, 4, 5, 2), np.float32)
    result = np.asarray(jax.jit(hu.mark_corner)(images))
    assert (result[..., -1, -1, :] == 1.0).all()
    changed = result != images
    changed[..., -1, -1, :] = False
    assert not changed.any()
