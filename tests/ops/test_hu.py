"""Windows and the corner pixel, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.ops import hu


def test_windows_by_hand():
    values = jnp.array([-1000, -20, 40, 70, 100, 3000], jnp.int16)
    found = hu.windows(values, ((40.0, 120.0), (700.0, 3200.0)))
    np.testing.assert_allclose(found[:, 0], [0, 0, 0.5, 0.75, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found[:, 1], [0, 880 / 3200, 940 / 3200, 970 / 3200, 1000 / 3200, 1], atol=1e-6)


def test_the_corner_pixel_is_the_top_of_every_window_and_no_other_changes():
    images = np.random.default_rng(0).random((2, 3, 4, 5, 2), np.float32)
    found = np.asarray(jax.jit(hu.mark_corner)(images))
    assert (found[..., -1, -1, :] == 1.0).all()
    changed = found != images
    changed[..., -1, -1, :] = False
    assert not changed.any()
