"""Prediction of a scan by a network that sees its slices in order, as one jitted program over all devices."""

from typing import Any

import jax
import jax.numpy as jnp

from ichjax.methods import views
from ichjax.methods.slices import DEPTH_STEP, Predicted, SlicePredictor, Weights, update_part
from ichjax.methods.views import View
from ichjax.models.sequence_network import SequenceNetwork
from ichjax.scan.volume import AIR_HU

GROWTH_PARTS = 8  # of a slice's side


class SequencePredictor(SlicePredictor):
    """Predicts the slices of a scan of any length by a `SequenceNetwork`.

    Every device encodes its own slices, a few at a time. The features of all slices go to every device, which mixes
    them and decodes its own slices, a few at a time, for which it encodes them again: nothing but the features and the
    prediction is held for all slices.
    """

    _network: SequenceNetwork

    @property
    def min_slices(self) -> int:
        """The number of slices that keeps every device busy: each predicts `DEPTH_STEP` in the time of one."""
        return DEPTH_STEP * self._mesh.size

    @property
    def _growth(self) -> int:
        """An eighth of the trained side: slices are seen whole, so what is added counts in all that is pooled."""
        multiple = self._network.side_multiple
        return max(multiple, self._side // GROWTH_PARTS // multiple * multiple)

    def _predict_share(self, weights: Weights, hu: jax.Array, depth: int, view: View) -> Predicted:
        """One device's slices; padding comes last and is not predicted."""
        devices, device = self._mesh.size, jax.lax.axis_index("data")
        count = jnp.maximum(-((device - depth) // devices), 0)
        steps = -(-count // DEPTH_STEP)
        real = jnp.arange(len(hu)) < count
        hu = jnp.where(real[:, None, None], hu, jnp.int16(AIR_HU))

        def images(first: jax.Array) -> jax.Array:
            slices = jax.lax.dynamic_slice_in_dim(hu, first, DEPTH_STEP)
            return self._network.slice_images(self._padded(views.to_trained(slices, view)))

        def encode(index: jax.Array, features: jax.Array) -> jax.Array:
            first = index * DEPTH_STEP
            return update_part(features, self._network.encode(weights, images(first)), first)

        like = jax.eval_shape(lambda: self._network.encode(weights, images(jnp.zeros((), jnp.int32))))
        features = jax.lax.fori_loop(0, steps, encode, jnp.zeros((len(hu), *like.shape[1:]), like.dtype))
        mixed = self._mixed(weights, features, depth)[:, device]

        def decode(index: jax.Array, predicted: Predicted) -> Predicted:
            first = index * DEPTH_STEP
            part = jax.lax.dynamic_slice_in_dim(mixed, first, DEPTH_STEP)
            probability, scores = self._network.decode(weights, images(first), part)
            height, width = self._plane(hu, view)
            new = self._to_own((probability[:, :height, :width], scores), view)
            counts = first + jnp.arange(DEPTH_STEP) < count
            kept = jax.tree.map(lambda x: jnp.where(jnp.expand_dims(counts, range(1, x.ndim)), x, 0.0), new)
            return update_part(predicted, kept, first)

        return jax.lax.fori_loop(0, steps, decode, self._zeros(*hu.shape))

    def _mixed(self, weights: Weights, features: jax.Array, depth: int) -> jax.Array:
        """The mixed features [n, devices, ...] of all slices; device k of m has the slices k, k + m, ..."""
        gathered = jax.lax.all_gather(features, "data", axis=1)
        in_order = gathered.reshape(1, -1, *features.shape[1:])
        real = jnp.arange(in_order.shape[1])[None] < depth
        mixed = self._network.mix(weights, in_order, real)[0]
        return mixed.reshape(*gathered.shape[:2], *mixed.shape[1:])

    def _padded(self, slices: jax.Array) -> jax.Array:
        """HU [N, H, W], padded with air to the sides that the network expects."""
        multiple = self._network.side_multiple
        padding: Any = ((0, 0), *((0, -side % multiple) for side in slices.shape[1:]))
        return jnp.pad(slices, padding, constant_values=AIR_HU)

    @staticmethod
    def _plane(hu: jax.Array, view: View) -> tuple[int, int]:
        """The sides of slices on the trained grid."""
        height, width = jax.eval_shape(lambda: views.to_trained(hu[:1], view)).shape[1:]
        return height, width
