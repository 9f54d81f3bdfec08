"""Classifiers of a slice that is mixed with its neighbors, by a random degree in training (Lee et al., 2019)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ichjax.models.slice_classifier import SliceClassifier

DEGREE = "interpolation_degree"  # its name among the parameters of a trained network
DEGREE_SALT = 3  # separates its random number from those of dropout


@dataclasses.dataclass(frozen=True)
class InterpolatedClassifier(SliceClassifier):
    """A `SliceClassifier` that sees (1 - 2 a) S_i + a (S_(i-1) + S_(i+1)), of windowed slices S.

    The degree a is drawn for each example in training; afterwards it is `params[DEGREE]`, or half of the highest
    degree as long as there is none.

    Attributes:
      max_degree: the highest degree in training.
    """

    max_degree: float = 0.25

    def init(self, key: jax.Array, side: int) -> dict:
        """Initial parameters for slices of side P, from one PRNG key."""
        return self.module.init(key, jnp.zeros((1, side, side, len(self.windows))))["params"]

    def _outputs(self, params: dict, images: jax.Array, **options: Any) -> Any:
        keys = options.get("dropout_keys")
        if keys is None:
            degrees = jnp.full(len(images), params.get(DEGREE, self.max_degree / 2), jnp.float32)
        else:
            folded = jax.vmap(lambda key: jax.random.fold_in(key, DEGREE_SALT))(keys)
            degrees = jax.vmap(jax.random.uniform)(folded) * self.max_degree
        weights = {name: value for name, value in params.items() if name != DEGREE}
        return super()._outputs(weights, interpolate(images, degrees), **options)


def interpolate(images: jax.Array, degrees: jax.Array) -> jax.Array:
    """Mixes slices with their neighbors.

    Args:
      images: float [B, H, W, 3 C]: the slice below, the slice and that above, each in C windows.
      degrees: float32 [B], between 0 and 1/2.

    Returns:
      float [B, H, W, C].
    """
    below, own, above = jnp.split(images, 3, axis=-1)
    degrees = degrees[:, None, None, None]
    return (1.0 - 2.0 * degrees) * own + degrees * (below + above)
