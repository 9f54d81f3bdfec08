"""A convolutional autoencoder of small slices, trained in one compiled program."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

Variables = Any  # a tree of arrays


class Autoencoder(nn.Module):
    """Three convolutions of 2 x 2 pixels at stride 2 and their mirror image.

    Kernels do not overlap, so each is a matrix product of blocks of pixels: XLA's gradients of other convolutions take
    many times as long on CPUs.

    Attributes:
      widths: channels of each level; the last one is the code's.
    """

    widths: tuple[int, ...] = (32, 64, 16)

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """float32 [B, H, W, 1], sides multiples of 8, to (reconstruction of that shape, code [B, H / 8, W / 8, C])."""
        x = images
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(_to_blocks(x)))
        code = x
        for width in self.widths[-2::-1]:
            x = nn.relu(_from_blocks(nn.Dense(4 * width)(x)))
        return _from_blocks(nn.Dense(4)(x)), code


def _to_blocks(x: jax.Array) -> jax.Array:
    """[B, H, W, C] as [B, H / 2, W / 2, 4 C]."""
    count, height, width, channels = x.shape
    blocks = x.reshape(count, height // 2, 2, width // 2, 2, channels).swapaxes(2, 3)
    return blocks.reshape(count, height // 2, width // 2, 4 * channels)


def _from_blocks(x: jax.Array) -> jax.Array:
    """The inverse of `_to_blocks`."""
    count, height, width, channels = x.shape
    blocks = x.reshape(count, height, width, 2, 2, channels // 4).swapaxes(2, 3)
    return blocks.reshape(count, 2 * height, 2 * width, channels // 4)


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
