"""The Gaussian filter against SciPy."""

import jax
import numpy as np
import pytest
import scipy.ndimage as nd

from ichjax.ops import gaussian


@pytest.mark.parametrize(("sigma_px", "radii"), [(0.7, 4.0), (3.0, 2.0), (6.0, 3.0)])
def test_equals_scipy(sigma_px, radii):
    image = np.random.default_rng(0).normal(size=(2, 11, 14)).astype(np.float32)
    result = jax.jit(lambda image: gaussian.smooth(image, sigma_px=sigma_px, radii=radii))(image)
    expected = [nd.gaussian_filter(one, sigma_px, mode="nearest", truncate=radii) for one in image.astype(float)]
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_gaussian_without_a_width_is_refused():
    with pytest.raises(ValueError, match="a Gaussian of sigma 0; expected more than 0 pixels"):
        gaussian.smooth(np.zeros((1, 4, 4), np.float32), sigma_px=0)
