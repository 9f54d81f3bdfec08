"""The random transforms that `config.transforms` turns on, in the order in which a training step applies them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ichjax.config import Config
from ichjax.ops import augment_hu, augment_shape, augment_windowed

Transform = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
Numbered = tuple[int, Transform]  # the number selects its random numbers, whichever other transforms there are
SHAPES = 3  # the first numbers are changes of shape


class Recipe(NamedTuple):
    """Transforms (key, image, mask) -> (image, mask) of one example: of HU [P, P, S], and of windowed [P, P, C]."""

    hu: tuple[Numbered, ...] = ()
    windowed: tuple[Numbered, ...] = ()


def from_config(config: Config) -> Recipe:
    """The transforms with a probability above 0."""
    t, partial = config.transforms, functools.partial
    elastic = partial(augment_shape.elastic, displacement_px=t.elastic_px, spacing_px=t.elastic_spacing_px)
    blank = partial(augment_windowed.blank, count=t.blank_count, smallest=t.blank_smallest, largest=t.blank_largest)
    hu: list[tuple[float, Callable]] = [
        (
            t.affine_probability,
            partial(augment_shape.affine, rotation_degrees=t.rotation_degrees, zoom=t.zoom, shift=t.shift),
        ),
        (t.elastic_probability, elastic),
        (t.mirror_probability, augment_shape.mirror),
        (
            t.slice_average_probability,
            partial(augment_hu.average_slices, others=int(config.model.mirrored_channel)),
        ),
        (t.calibration_probability, partial(augment_hu.shift_and_scale, shift_hu=t.hu_shift, scale=t.hu_scale)),
        (t.cupping_probability, partial(augment_hu.cupping, bias_hu=t.cupping_hu, bone_px=t.cupping_px)),
        (t.blur_probability, partial(augment_hu.blur, sigma_px=t.blur_px)),
        (t.noise_probability, partial(augment_hu.noise, std_hu=t.noise_hu, correlation_px=t.noise_px)),
        (t.low_resolution_probability, partial(augment_hu.low_resolution, lowest=t.low_resolution)),
    ]
    windowed: list[tuple[float, Callable]] = [
        (t.gamma_probability, partial(augment_windowed.gamma, strength=t.gamma)),
        (t.blank_probability, blank),
    ]
    numbered = [
        (number, partial(op, probability=probability)) if probability else None
        for number, (probability, op) in enumerate([*hu, *windowed])
    ]
    return Recipe(tuple(filter(None, numbered[: len(hu)])), tuple(filter(None, numbered[len(hu) :])))


def apply(
    transforms: tuple[Numbered, ...], keys: jax.Array, images: jax.Array, masks: jax.Array, *, shape_only: int = 0
) -> tuple[jax.Array, jax.Array]:
    """Applies transforms to a batch, each example on its own.

    Args:
      transforms: of a `Recipe`.
      keys: PRNG keys [B].
      images: [B, P, P] or [B, P, P, C].
      masks: float32 [B, P, P] of 0 and 1.
      shape_only: channels, the last ones, that changes of shape alone apply to: they hold no HU.

    Returns:
      (images of the same shape, float32; masks); without transforms the arrays given.
    """
    if not transforms:
        return images, masks

    def one(key: jax.Array, image: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        for number, transform in transforms:
            rest = shape_only if number >= SHAPES else 0
            head, tail = (image[..., :-rest], image[..., -rest:]) if rest else (image, None)
            head, mask = transform(jax.random.fold_in(key, number), head, mask)
            image = head if tail is None else jnp.concatenate([head, tail], axis=-1)
        return image, mask

    channels = images.reshape(*images.shape[:3], -1).astype("float32")
    changed, masks = jax.vmap(one)(keys, channels, masks)
    return changed.reshape(images.shape), masks
