"""Nearest 2 x upsampling followed by a 2 x 2 convolution, fused so that no upsampled copy is made.

From an output pixel in an even row and column, the kernel covers one input pixel four times; from the others two, two
and four different ones. The function, and the names and shapes of the parameters, are those of the plain convolution;
the form depends on the platform (benchmarks/NOTES.md).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ichjax import xla
from ichjax.models import accelerator, tpu
from ichjax.models.convolution import add_bias, convolve, native_up_convolve, relu_of

KERNEL_SIDE = 2  # also the upsampling factor


class UpConv(nn.Module):
    """A 'same' 2 x 2 convolution of a map upsampled 2 x by repeating pixels.

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
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        x = x.astype(self.dtype)
        if xla.platform() != "cpu":
            out = (tpu if xla.platform() == "tpu" else accelerator).up_convolve(x, kernel)
        else:
            kernels = tuple(taps.astype(self.dtype) for taps in summed_taps(kernel))
            if (native := native_up_convolve(x, kernel, kernels, bias, self.relu)) is not None:
                return native
            out = by_parity(x, kernels)
        out = add_bias(out, bias)
        return relu_of(out) if self.relu else out


def summed_taps(kernel: jax.Array) -> tuple[jax.Array, ...]:
    """The kernels of the four parities of output pixels, from float32 [2, 2, C, F]: 1 x 1, 1 x 2, 2 x 1 and 2 x 2.

    Taps are summed in float32, whatever the dtype of the computation.
    """
    return tuple(kernel.sum(axes, keepdims=True) for axes in ((0, 1), (0,), (1,), ()))


def by_parity(x: jax.Array, kernels: tuple[jax.Array, ...]) -> jax.Array:
    """For a CPU: four small convolutions of x [B, H, W, C], one for each parity of output pixels, with `summed_taps`.

    9 products for 4 outputs instead of 16, on a map of a quarter of the size. The results are interleaved by a copy.
    """
    even_even, even_odd, odd_even, odd_odd = (convolve(x, taps) for taps in kernels)
    rows = [jnp.stack([even_even, even_odd], axis=3), jnp.stack([odd_even, odd_odd], axis=3)]
    count, height, width, _ = x.shape
    return jnp.stack(rows, axis=2).reshape(count, 2 * height, 2 * width, -1)
