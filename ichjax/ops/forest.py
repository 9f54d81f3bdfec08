"""Random forests predicted on the device: trees as arrays, followed from the root to a leaf by gathers.

All trees have the same number of nodes, padded; a leaf is its own child, so examples that arrive early stay where they
are and all take the same number of steps. Trees are visited one after the other, so that one tree, a few kB, stays in
a processor's cache, and examples in chunks, so that memory is bounded whatever their number.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

EXAMPLES_PER_CHUNK = 4096  # of 21 features: 344 kB, which stays in a core's cache too


class Forest(NamedTuple):
    """T trees of N nodes each; node 0 is the root.

    Attributes:
      feature: int32 [T, N], the feature that a node compares; any valid one at a leaf.
      threshold: float32 [T, N]; examples whose feature is at or below it go left.
      children: int32 [T, 2 N], the left and the right child of node n at 2 n and 2 n + 1; n itself at a leaf.
      value: float32 [T, N, C], the share of each class at a leaf.
      depth: int32 [T], steps from the root to the deepest leaf.
    """

    feature: jax.Array
    threshold: jax.Array
    children: jax.Array
    value: jax.Array
    depth: jax.Array


def predict(forest: Forest, features: jax.Array, *, chunk: int = EXAMPLES_PER_CHUNK) -> jax.Array:
    """The mean over the trees of the class shares at the leaf that each example reaches.

    Args:
      forest: the trees.
      features: float32 [V, F], without NaN.
      chunk: examples that are followed together.

    Returns:
      float32 [V, C], rows summing to 1.
    """
    chex.assert_rank([features, forest.feature, forest.value], [2, 2, 3])
    chex.assert_equal_shape([forest.feature, forest.threshold])
    count, width = features.shape
    chunk = min(chunk, max(count, 1))
    padded = jnp.pad(features, ((0, -count % chunk), (0, 0)))
    shares = jax.lax.map(lambda part: _predict_chunk(forest, part), padded.reshape(-1, chunk, width))
    return shares.reshape(-1, shares.shape[-1])[:count]


def predict_where(
    forest: Forest, maps: jax.Array, mask: jax.Array, *, label: int, chunk: int = EXAMPLES_PER_CHUNK
) -> jax.Array:
    """The share of one class on the pixels of a mask; the time depends on their number.

    Args:
      forest: the trees.
      maps: float32 [F, D, H, W], the features, without NaN.
      mask: bool [D, H, W].
      label: the class.
      chunk: pixels that are followed together.

    Returns:
      float32 [D, H, W], 0 outside the mask.
    """
    chex.assert_rank(maps, 4)
    chex.assert_shape(mask, maps.shape[1:])
    size = mask.size + -mask.size % chunk
    (pixels,) = jnp.nonzero(mask.ravel(), size=size, fill_value=mask.size)
    by_pixel = jnp.asarray(maps).reshape(len(maps), -1)

    def predict_part(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        start, shares = state
        index = jax.lax.dynamic_slice(pixels, (start,), (chunk,))
        features = by_pixel.at[:, index].get(mode="clip").T
        share = _predict_chunk(forest, features)[:, label]
        return start + chunk, shares.at[index].set(share, mode="drop")  # those that fill the last chunk are beyond

    count = mask.sum(dtype=jnp.int32)
    state = jnp.int32(0), jnp.zeros(mask.size, jnp.float32)
    shares = jax.lax.while_loop(lambda state: state[0] < count, predict_part, state)[1]
    return shares.reshape(mask.shape)


def _predict_chunk(forest: Forest, features: jax.Array) -> jax.Array:
    """As `predict`, of a chunk."""
    count, width = features.shape
    flat, first = jnp.asarray(features).ravel(), jnp.arange(count, dtype=jnp.int32) * width

    def add_tree(total: jax.Array, tree: Forest) -> tuple[jax.Array, None]:
        def descend(_: jax.Array, node: jax.Array) -> jax.Array:
            value = flat.at[first + _take(tree.feature, node)].get(mode="promise_in_bounds")
            right = value > _take(tree.threshold, node)
            return _take(tree.children, 2 * node + right)

        leaf = jax.lax.fori_loop(0, tree.depth, descend, jnp.zeros(count, jnp.int32))
        return total + _take(tree.value, leaf), None

    total, _ = jax.lax.scan(add_tree, jnp.zeros((count, forest.value.shape[2]), jnp.float32), forest)
    return total / len(forest.depth)


def _take(values: jax.Array, index: jax.Array) -> jax.Array:
    return values.at[index].get(mode="promise_in_bounds")
