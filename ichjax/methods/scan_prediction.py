"""What the program of `SlicePredictor` gives for a scan."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class ScanPrediction(NamedTuple):
    """The prediction of a scan, padded or not; fields as in `Prediction`.

    Attributes:
      probability, unrestricted: float32 [D, H, W].
      skull_found: bool [].
      scores: float32 [D, 6] of a network's second head: five sub-types, any hemorrhage; or None.
      class_probability: float32 [D, H, W, 6] of a network with sub-types, or None.
    """

    probability: jax.Array
    unrestricted: jax.Array | None
    skull_found: jax.Array | None
    scores: jax.Array | None
    class_probability: jax.Array | None = None

    def first(self, depth: int) -> "ScanPrediction":
        """Without padding: the first `depth` slices."""
        names = [name for name in self._fields if name != "skull_found" and getattr(self, name) is not None]
        return self._replace(**{name: getattr(self, name)[:depth] for name in names})


def restrict(predicted: ScanPrediction, inside: jax.Array, skull_found: jax.Array) -> ScanPrediction:
    """A prediction whose probability, of any hemorrhage or of sub-types, is 0 outside bool [D, H, W]."""
    everywhere = predicted.probability
    restricted = jnp.where(broadcastable(inside, everywhere), everywhere, 0.0)
    return predicted._replace(probability=restricted, unrestricted=everywhere, skull_found=skull_found)


def with_classes(predicted: ScanPrediction) -> ScanPrediction:
    """The probability of any hemorrhage [D, H, W] and of all classes, from that of sub-types [D, H, W, 5]."""
    bleeding = _any_hemorrhage(predicted.probability)
    return predicted._replace(
        probability=bleeding,
        unrestricted=None if predicted.unrestricted is None else _any_hemorrhage(predicted.unrestricted),
        class_probability=jnp.concatenate([1.0 - bleeding[..., None], predicted.probability], axis=-1),
    )


def broadcastable(array: jax.Array, other: jax.Array) -> jax.Array:
    """An array of the first axes of `other`, with as many axes."""
    return jnp.expand_dims(array, range(array.ndim, other.ndim))


def _any_hemorrhage(subtypes: jax.Array) -> jax.Array:
    """The sum over sub-types, which rounding may take above 1."""
    return jnp.minimum(subtypes.sum(axis=-1), 1.0)
