"""A convolutional autoencoder of small slices, trained in one compiled program."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

KERNEL = (3, 3)
STRIDE = (2, 2)

Variables = Any  # a tree of arrays


class Autoencoder(nn.Module):
    """Three convolutions of stride 2 and their mirror image.

    Attributes:
      widths: channels of each level.
    """

    widths: tuple[int, ...] = (32, 64, 128)

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """float32 [B, H, W, 1], sides multiples of 8, to (reconstruction of that shape, code [B, H / 8, W / 8, C])."""
        x = images
        for width in self.widths:
            x = nn.relu(nn.Conv(width, KERNEL, STRIDE)(x))
        code = x
        for width in (*self.widths[-2::-1], 1):
            x = nn.ConvTranspose(width, KERNEL, STRIDE)(nn.relu(x))
        return x, code


@functools.partial(jax.jit, static_argnames=("model", "steps", "batch_size", "learning_rate"))
def train(
    key: jax.Array, images: jax.Array, *, model: Autoencoder, steps: int, batch_size: int, learning_rate: float
) -> tuple[Variables, jax.Array]:
    """Trains by Adam on the mean squared error of batches drawn with replacement.

    Args:
      key: of the weights and of the batches.
      images: float32 [N, H, W, 1], N at least 1.
      model: the network.
      steps, batch_size, learning_rate: of the training.

    Returns:
      (its variables, the loss of each step float32 [steps]).
    """
    weights_key, batches_key = jax.random.split(key)
    variables = model.init(weights_key, images[:1])
    optimizer = optax.adam(learning_rate)

    def loss_of(variables: Variables, batch: jax.Array) -> jax.Array:
        return jnp.mean((model.apply(variables, batch)[0] - batch) ** 2)

    def step(state: tuple[Variables, optax.OptState], key: jax.Array) -> tuple[tuple[Variables, Any], jax.Array]:
        variables, moments = state
        batch = images.at[jax.random.randint(key, (batch_size,), 0, len(images))].get(mode="promise_in_bounds")
        loss, gradient = jax.value_and_grad(loss_of)(variables, batch)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(variables, updates), moments), loss

    start = variables, optimizer.init(variables)
    (variables, _), losses = jax.lax.scan(step, start, jax.random.split(batches_key, steps))
    return variables, losses
