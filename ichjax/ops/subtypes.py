"""Classes of pixels: 0 for the background, 1 + the sub-type's index in `label_tables.SUBTYPES`.

A mask of classes follows from their probabilities. Each extra-axial component is made either epidural or subdural: the
shape of the whole bleed tells which, and a single bleed is hardly ever both.
"""

import chex
import jax
import jax.numpy as jnp

from ichjax.ops import components

SUBTYPE_COUNT = 5
EDH_CLASS, SDH_CLASS = 4, 5


def class_planes(classes: jax.Array) -> jax.Array:
    """One plane for each class: float32 [..., 7] of 0 and 1, from uint8 [...].

    The background, the five sub-types and, for all higher numbers, hemorrhage of unknown sub-type.
    """
    numbers = jnp.minimum(classes, SUBTYPE_COUNT + 1)
    return jax.nn.one_hot(numbers, SUBTYPE_COUNT + 2)


def classes_of_planes(planes: jax.Array, mask: jax.Array) -> jax.Array:
    """The class with the largest share of each pixel of a mask.

    Args:
      planes: float32 [..., 6], `class_planes` without the background, interpolated.
      mask: float32 [...] of 0 and 1.

    Returns:
      uint8 [...]: 0 outside the mask, 1 to 5, or 6 for hemorrhage of unknown sub-type.
    """
    chex.assert_shape(planes, (*mask.shape, SUBTYPE_COUNT + 1))
    return jnp.where(mask > 0, 1 + planes.argmax(axis=-1), 0).astype(jnp.uint8)


def class_mask(class_probability: jax.Array, mask: jax.Array) -> jax.Array:
    """The class of each pixel of a mask of hemorrhage: the most probable sub-type, after `vote`.

    Args:
      class_probability: float32 [D, H, W, 6], background first; of equal sub-types the first is taken.
      mask: bool [D, H, W], whether a pixel is hemorrhage; the background's probability does not count.

    Returns:
      uint8 [D, H, W]: 0 outside the mask, 1 to 5 in it.
    """
    chex.assert_rank(class_probability, 4)
    chex.assert_shape(mask, class_probability.shape[:3])
    most_probable = 1 + class_probability[..., 1:].argmax(axis=-1)
    return vote(jnp.where(mask, most_probable, 0).astype(jnp.uint8))


def vote(classes: jax.Array) -> jax.Array:
    """Gives each 26-connected component of epidural and subdural pixels the one of the two with more pixels.

    Args:
      classes: uint8 [D, H, W].

    Returns:
      uint8 [D, H, W]; epidural, the lower class, where both have as many. Other classes do not change.
    """
    chex.assert_rank(classes, 3)
    epidural = classes == EDH_CLASS
    either = epidural | (classes == SDH_CLASS)
    labels = jnp.where(either, components.label(either), 0)
    votes = jnp.where(epidural, 1, jnp.where(either, -1, 0))
    margin = jnp.zeros(classes.size, jnp.int32).at[labels].add(votes, mode="promise_in_bounds")
    winner = jnp.where(margin.at[labels].get(mode="promise_in_bounds") >= 0, EDH_CLASS, SDH_CLASS)
    return jnp.where(either, winner, classes).astype(jnp.uint8)
