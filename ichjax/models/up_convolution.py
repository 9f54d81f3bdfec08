"""Nearest 2 x upsampling followed by a 2 x 2 convolution, fused so that no upsampled copy is made."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax.models.convolution import add_bias, convolve, native_up_convolve

KERNEL_SIDE = 2  # also the upsampling factor


class UpConv(nn.Module):
    """A 'same' 2 x 2 convolution of a map upsampled 2 x by repeating pixels.

    From an output pixel in an even row and column, the kernel covers one input pixel four times; from the others two,
    two and four different ones. So the four parities of output pixels are four small convolutions of the input itself,
    with the kernel's taps summed: 9 products for 4 outputs instead of 16, on a map of a quarter of the size. The
    function, and the names and shapes of the parameters, are those of the plain convolution.

    Attributes:
      features: output channels.
      dtype: of the computation; parameters stay float32.
      relu: whether to apply a ReLU.
    """

    features: int
    dtype: jax.typing.DTypeLike = jnp.float32
    relu: bool = False
    kernel_size: tuple[int, int] = (KERNEL_SIDE, KERNEL_SIDE)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, 2 H, 2 W, features]."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        # Taps are summed in float32, whatever the dtype of the computation.
        sums = (kernel.sum(axes, keepdims=True) for axes in ((0, 1), (0,), (1,), ()))
        kernels = tuple(taps.astype(self.dtype) for taps in sums)
        x, bias = x.astype(self.dtype), bias.astype(self.dtype)
        if (native := native_up_convolve(x, kernel, kernels, bias, self.relu)) is not None:
            return native
        even_even, even_odd, odd_even, odd_odd = (convolve(x, taps) for taps in kernels)
        rows = [jnp.stack([even_even, even_odd], axis=3), jnp.stack([odd_even, odd_odd], axis=3)]
        count, height, width, _ = x.shape
        out = jnp.stack(rows, axis=2).reshape(count, 2 * height, 2 * width, self.features)
        return nn.relu(add_bias(out, bias)) if self.relu else add_bias(out, bias)
