"""A made-up method that segments sub-types: which one depends on the column and on the fold's parameters."""

import jax
import jax.numpy as jnp

from tests.methods.made_up import MadeUp


class MadeUpSubtypes(MadeUp):
    title = "Made up, with sub-types"
    segments_subtypes = True

    def predict(self, params, volume):
        prediction = super().predict(params, volume)
        probability = prediction.probability[..., None]
        turns = jnp.arange(probability.shape[2])[:, None] / 12 - jnp.arange(5)[None] / 5  # twelve columns are one turn
        share = jax.nn.softmax(3 * jnp.cos(2 * jnp.pi * turns + 3 * params.mean_hu))
        classes = jnp.concatenate([1 - probability, probability * share[None, None]], axis=-1)
        return prediction._replace(class_probability=classes)


make = MadeUpSubtypes
