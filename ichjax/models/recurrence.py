"""Recurrent layers over the slices of a scan: convolutional GRU and LSTM, in both directions, with padding masked.

The cells are those of Ballas et al. (2016; GRU) and Shi et al. (2015; LSTM without peepholes). On maps of 1 x 1 pixel
with a kernel of 1 they are the usual GRU and LSTM of vectors.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

GATES = {"gru": 3, "lstm": 4}  # convolutions of each cell, by kind
FORGET_BIAS = 1.0  # initial bias of an LSTM's forget gate (Jozefowicz et al., 2015)

Carry = tuple[jax.Array, ...]


class SliceRecurrence(nn.Module):
    """A recurrent layer from the first slice to the last, and one from the last to the first.

    Attributes:
      hidden: channels of the state of each direction.
      kind: 'gru' or 'lstm'.
      kernel: side of the convolutions, in pixels of the maps; 1 for vectors.
      dtype: of the convolutions; states are float32.
      detached: whether gradients do not pass from slice to slice, so that the gradient of the sum of all outputs is
        that of each slice's output with respect to its own input.
    """

    hidden: int
    kind: str = "gru"
    kernel: int = 3
    dtype: jax.typing.DTypeLike = jnp.float32
    detached: bool = False

    @nn.compact
    def __call__(self, maps: jax.Array, real: jax.Array) -> jax.Array:
        """The states of both directions at each slice.

        Args:
          maps: float [B, L, h, w, C], the slices of each scan in order.
          real: bool [B, L], False for padding, which leaves the states as they are.

        Returns:
          float32 [B, L, h, w, 2 hidden]: from below, then from above; meaningless where padded.
        """
        if self.kind not in GATES:
            raise ValueError(f"kind {self.kind!r}; expected one of {', '.join(GATES)}")
        return jnp.concatenate([self._direction(maps, real, name) for name in ("up", "down")], axis=-1)

    def _direction(self, maps: jax.Array, real: jax.Array, name: str) -> jax.Array:
        """float32 [B, L, h, w, hidden]: the states of one direction, 'up' or 'down'."""
        batch, length, height, width, channels = maps.shape
        gates = GATES[self.kind]
        size, outputs = (self.kernel, self.kernel), gates * self.hidden
        from_input = self.param(f"{name}_input", nn.initializers.lecun_normal(), (*size, channels, outputs))
        from_state = self.param(f"{name}_state", nn.initializers.orthogonal(), (*size, self.hidden, outputs))
        bias = self.param(f"{name}_bias", functools.partial(_initial_bias, kind=self.kind), (outputs,))
        # What comes from the input does not depend on the state: one convolution of all slices.
        flat = maps.reshape(batch * length, height, width, channels)
        driven = _convolve(flat, from_input, self.dtype) + bias[None, None, None]
        driven = driven.reshape(batch, length, height, width, outputs).swapaxes(0, 1)

        def step(carry: Carry, at: tuple[jax.Array, jax.Array]) -> tuple[Carry, jax.Array]:
            inputs, is_real = at
            new = _CELL_STEPS[self.kind](carry, inputs, from_state, self.dtype)
            kept = tuple(jnp.where(is_real[:, None, None, None], n, c) for n, c in zip(new, carry, strict=True))
            return jax.lax.stop_gradient(kept) if self.detached else kept, kept[0]

        zeros = jnp.zeros((batch, height, width, self.hidden), jnp.float32)
        start = (zeros,) * (2 if self.kind == "lstm" else 1)
        _, states = jax.lax.scan(step, start, (driven, real.swapaxes(0, 1)), reverse=name == "down")
        return states.swapaxes(0, 1)


def _convolve(x: jax.Array, kernel: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """'Same' convolution, float32 [B, h, w, F]; a matrix product where the kernel has one pixel."""
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    if kernel.shape[:2] == (1, 1):
        return jnp.einsum("bhwc,cf->bhwf", x, kernel[0, 0]).astype(jnp.float32)
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y.astype(jnp.float32)


def _initial_bias(key: jax.Array, shape: tuple[int], *, kind: str) -> jax.Array:
    """Zeros, but for an LSTM's forget gate, the second."""
    hidden = shape[0] // GATES[kind]
    bias = jnp.zeros(shape)
    return bias.at[hidden : 2 * hidden].set(FORGET_BIAS) if kind == "lstm" else bias


def _gru(carry: Carry, inputs: jax.Array, kernel: jax.Array, dtype: jax.typing.DTypeLike) -> Carry:
    """A GRU whose reset gate scales the state's share of the candidate (Cho et al., 2014, as in cuDNN)."""
    (state,) = carry
    driven = jnp.split(inputs, 3, axis=-1)
    own = jnp.split(_convolve(state, kernel, dtype), 3, axis=-1)
    reset, update = (nn.sigmoid(driven[k] + own[k]) for k in (0, 1))
    candidate = jnp.tanh(driven[2] + reset * own[2])
    return ((1.0 - update) * candidate + update * state,)


def _lstm(carry: Carry, inputs: jax.Array, kernel: jax.Array, dtype: jax.typing.DTypeLike) -> Carry:
    state, memory = carry
    enter, forget, output, candidate = jnp.split(inputs + _convolve(state, kernel, dtype), 4, axis=-1)
    memory = nn.sigmoid(forget) * memory + nn.sigmoid(enter) * jnp.tanh(candidate)
    return nn.sigmoid(output) * jnp.tanh(memory), memory


_CELL_STEPS = {"gru": _gru, "lstm": _lstm}
