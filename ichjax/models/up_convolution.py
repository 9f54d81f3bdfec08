"""Nearest 2 x upsampling and a 2 x 2 convolution as one, without the upsampled copy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.convolution import add_bias, convolve, up_convolve_native

KERNEL_SIDE = 2  # of the kernel, and the factor of upsampling


class UpConv(nn.Module):
    """A 2 x 2 'same' convolution of a map upsampled to twice its side by repeating its pixels.

    The kernel covers, from an output pixel in an even row and column, one input pixel four times; elsewhere two, two
    and four different ones. So the four kinds of output pixels are four small convolutions of the input itself, with
    the kernel's taps added up: 9 products for 4 outputs in place of 16, on a map of a quarter of the size. Parameters
    have the names and shapes of the plain convolution's, and it is the same function.

    Attributes:
      features: channels of the output.
      dtype: of the computation; parameters stay float32.
      relu: whether a ReLU follows.
    """

    features: int
    dtype: Any = jnp.float32
    relu: bool = False
    kernel_size: tuple[int, int] = (KERNEL_SIDE, KERNEL_SIDE)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, 2 H, 2 W, features]."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        # Taps are added up in float32, whatever the dtype of the computation.
        sums = (kernel.sum(axes, keepdims=True) for axes in ((0, 1), (0,), (1,), ()))
        kernels = tuple(taps.astype(self.dtype) for taps in sums)
        x, bias = x.astype(self.dtype), bias.astype(self.dtype)
        native = up_convolve_native(x, kernel, kernels, bias, self.relu)
        if native is not None:
            return native
        both, right, down, neither = (convolve(x, taps) for taps in kernels)
        # Even rows: even columns, odd columns; odd rows likewise.
        rows = [jnp.stack([both, right], axis=3), jnp.stack([down, neither], axis=3)]
        count, height, width, _ = x.shape
        out = jnp.stack(rows, axis=2).reshape(count, 2 * height, 2 * width, self.features)
        return nn.relu(add_bias(out, bias)) if self.relu else add_bias(out, bias)
