"""Connected components in 3-D, and gates on them: which lesions of a probability map are reported.

Components are found among a fixed number of pixels rather than in the whole volume: a hemorrhage fills a small part of
a scan, and so the work is a few gathers over that part. Labels converge by minimum label hooking and pointer jumping
(FastSV: Zhang, Azad and Hu, SIAM PP 2020), in a number of rounds that grows with the logarithm of a component's size.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

SHARE = 32  # at most 1 / 32 of a volume's pixels are labelled: 250 mL and more in a whole head


class Components(NamedTuple):
    """The true pixels of a mask and their components, in a list of fixed length N.

    Attributes:
      pixel: int32 [N], index into the flat mask, ascending; D H W in unused entries at the end.
      label: int32 [N], the list index of its component's first pixel; N in unused entries.
      complete: bool [], whether the list holds all true pixels.
    """

    pixel: jax.Array
    label: jax.Array
    complete: jax.Array


class Gates(NamedTuple):
    """Which components of {probability > low} are lesions; the defaults accept all.

    Attributes:
      high: their highest probability exceeds it.
      min_ml: their volume is at least this.
      min_slices: they lie on at least as many slices.
    """

    high: jax.Array | float = 0.0
    min_ml: jax.Array | float = 0.0
    min_slices: jax.Array | int = 1


class Lesions(NamedTuple):
    """Of each component, at the list index of its first pixel; 0 elsewhere: [N] each."""

    volume_ml: jax.Array
    highest: jax.Array  # probability
    slices: jax.Array


def components(mask: jax.Array, *, capacity: int | None = None) -> Components:
    """Labels the 26-connected components of a mask.

    Args:
      mask: bool [D, H, W].
      capacity: N; by default 1 / `SHARE` of the pixels, and at least 1,024.
    """
    chex.assert_rank(mask, 3)
    size = mask.size
    count = min(size, max(size // SHARE, 1024)) if capacity is None else capacity
    (pixel,) = jnp.nonzero(mask.ravel(), size=count, fill_value=size)
    used = pixel < size
    neighbors = _neighbors(pixel, used, mask.shape)

    def round_(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        parent, _ = state
        grandparent = parent[parent]
        lowest = jax.lax.fori_loop(
            0,
            len(neighbors),
            lambda k, low: jnp.minimum(low, grandparent.at[neighbors[k]].get(mode="promise_in_bounds")),
            grandparent,
        )
        hooked = parent.at[parent].min(lowest)
        following = jnp.minimum(jnp.minimum(hooked, lowest), grandparent)
        return following, (following != parent).any()

    start = jnp.where(used, jnp.arange(count, dtype=jnp.int32), count)
    # One more entry, which only points to itself, stands for the background.
    padded = jnp.append(start, jnp.int32(count))
    neighbors = jnp.pad(neighbors, ((0, 0), (0, 1)), constant_values=count)
    label, _ = jax.lax.while_loop(lambda state: state[1], round_, (padded, jnp.bool_(True)))
    return Components(pixel.astype(jnp.int32), label[:-1], mask.sum() <= count)


def _neighbors(pixel: jax.Array, used: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """int32 [26, N]: the list index of each true pixel's neighbors, N where there is none."""
    depth, height, width = shape
    count = len(pixel)
    place = jnp.full((depth + 2, height + 2, width + 2), count, jnp.int32)
    z, rest = jnp.divmod(pixel, height * width)
    y, x = jnp.divmod(rest, width)
    at = ((z + 1) * (height + 2) + y + 1) * (width + 2) + x + 1
    flat = place.ravel().at[jnp.where(used, at, place.size)].set(jnp.arange(count, dtype=jnp.int32), mode="drop")
    steps = np.array([(dz, dy, dx) for dz in (-1, 0, 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dz or dy or dx])
    offsets = (steps[:, 0] * (height + 2) + steps[:, 1]) * (width + 2) + steps[:, 2]
    return jnp.where(used, flat.at[at[None] + offsets[:, None]].get(mode="clip"), count)


def describe(found: Components, probability: jax.Array, pixel_ml: jax.Array) -> Lesions:
    """Volume, highest probability and number of slices of each component.

    Args:
      found: of a mask [D, H, W].
      probability: float32 [D, H, W].
      pixel_ml: float32 [D], volume of a pixel of each slice.
    """
    chex.assert_equal_shape_prefix([probability, pixel_ml], 1)
    count, used = len(found.pixel), found.label < len(found.pixel)
    slice_ = jnp.minimum(found.pixel // (probability.shape[1] * probability.shape[2]), len(pixel_ml) - 1)
    value = jnp.ravel(probability).at[found.pixel].get(mode="fill", fill_value=0.0)
    zeros = jnp.zeros(count)
    volume_ml = zeros.at[found.label].add(jnp.where(used, pixel_ml[slice_], 0.0), mode="drop")
    highest = zeros.at[found.label].max(value, mode="drop")
    top = jnp.full(count, -1).at[found.label].max(slice_, mode="drop")
    bottom = jnp.full(count, len(pixel_ml)).at[found.label].min(slice_, mode="drop")
    # A component has no gap along the slices.
    return Lesions(volume_ml, highest, jnp.maximum(top - bottom + 1, 0))


def accepted(lesions: Lesions, gates: Gates) -> jax.Array:
    """bool [N]: the components that pass."""
    large = (lesions.volume_ml >= gates.min_ml) & (lesions.slices >= gates.min_slices)
    return large & (lesions.highest > gates.high)


def gate(probability: jax.Array, pixel_ml: jax.Array, low: jax.Array | float, gates: Gates) -> jax.Array:
    """The probability with every component of {probability > low} that is no lesion reduced to at most `low`.

    A high threshold finds a lesion and a low one delineates it (hysteresis). Where over 1 / `SHARE` of the pixels
    exceed `low`, nothing changes.

    Args:
      probability: float32 [D, H, W].
      pixel_ml: float32 [D], volume of a pixel of each slice; 0 for padding.
      low: the reported threshold.
      gates: what a lesion needs.
    """
    found = components(probability > low)
    passes = accepted(describe(found, probability, pixel_ml), gates)
    kept = passes.at[found.label].get(mode="fill", fill_value=True)
    flat = jnp.ravel(probability)
    lowered = jnp.where(kept, jnp.inf, low)
    gated = flat.at[found.pixel].min(lowered, mode="drop").reshape(probability.shape)
    return jnp.where(found.complete, gated, probability)
