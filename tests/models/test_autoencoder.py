"""The autoencoder learns to reconstruct, deterministically, in one program."""

import chex
import jax
import numpy as np
import pytest

from ichjax.models import autoencoder

NETWORK = autoencoder.Autoencoder(widths=(4, 4, 8))
OPTIONS = {"model": NETWORK, "steps": 120, "batch_size": 8, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def images():
    """float32 [12, 16, 16, 1]: disks of different radius."""
    y, x = np.mgrid[:16, :16] - 7.5
    return np.stack([np.hypot(y, x) < radius for radius in np.linspace(2, 7, 12)])[..., None].astype(np.float32)


def test_training_lowers_the_error_and_is_deterministic(images):
    variables, losses = autoencoder.train(jax.random.key(0), images, **OPTIONS)
    again, _ = autoencoder.train(jax.random.key(0), images, **OPTIONS)
    chex.assert_trees_all_equal(again, variables)
    other, _ = autoencoder.train(jax.random.key(1), images, **OPTIONS)
    assert any((np.asarray(a) != b).any() for a, b in zip(*map(jax.tree.leaves, (variables, other)), strict=True))
    reconstructed, code = NETWORK.apply(variables, images)
    chex.assert_shape(reconstructed, images.shape)
    chex.assert_shape(code, (12, 2, 2, 8))
    error = ((reconstructed - images) ** 2).mean()
    assert losses.shape == (120,)
    assert error < 0.3 * float(losses[0])
    assert error < 0.5 * images.var()
