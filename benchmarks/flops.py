"""Count the floating-point operations of a JAX program from the shapes of its convolutions and matrix products.

XLA's own count (`cost_analysis` of a compiled program) depends on the machine: it omits calls of C++ and of libraries.
"""

import math

import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval

UNCOUNTABLE = frozenset({"ffi_call", "io_callback", "pallas_call", "pure_callback", "shard_map"})


def count_flops(program: core.ClosedJaxpr) -> int:
    """Counts the operations of a program's convolutions and matrix products, two per multiply-add.

    The count is the same on every machine with the same backend. As in XLA's count, products with zeros from padding or
    dilation are excluded; so are elementwise operations, reductions, linear solvers, FFTs and dead code. The body of a
    `scan` counts once per iteration; of a `cond`, the costliest branch counts.

    Args:
      program: of real numbers, for one device: `jax.jit(function).trace(*arguments).jaxpr`.

    Raises:
      ValueError: the program has calls whose operations are unknown (on a CPU, trace a network inside
        `xla_convolutions_only()`), runs on several devices, or has convolutions or matrix products in a `while` loop,
        whose number of iterations is unknown.
    """
    live, _ = partial_eval.dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    return _of_jaxpr(live)


def _of_jaxpr(jaxpr: core.Jaxpr) -> int:
    return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: core.JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _of_dot(equation)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    if name in UNCOUNTABLE:
        raise ValueError(f"cannot count the operations of {name} {params.get('target_name', '')}".rstrip())
    inner = [_of_jaxpr(jaxpr) for jaxpr in core.jaxprs_in_params(params)]
    if name == "cond":
        return max(inner)
    if name == "while" and any(inner):
        raise ValueError("cannot count the operations of a while loop: its number of iterations is unknown")
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _of_dot(equation: core.JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, out = equation.invars[0].aval, equation.outvars[0].aval
    return 2 * out.size * math.prod(left.shape[axis] for axis in contracted)


def _of_convolution(equation: core.JaxprEqn) -> int:
    params, numbers = equation.params, equation.params["dimension_numbers"]
    image, kernel, out = (variable.aval.shape for variable in (*equation.invars, *equation.outvars))
    axes = zip(
        *([shape[axis] for axis in spec[2:]] for shape, spec in zip((image, kernel, out), numbers, strict=True)),
        params["window_strides"],
        (low for low, _ in params["padding"]),
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    )
    batch, features = (out[axis] for axis in numbers.out_spec[:2])
    inputs = kernel[numbers.rhs_spec[1]]  # input channels of one group
    return 2 * batch * features * inputs * math.prod(_taps_inside(*axis) for axis in axes)


def _taps_inside(image: int, kernel: int, out: int, stride: int, low: int, image_step: int, kernel_step: int) -> int:
    """Number of (output pixel, kernel tap) pairs along one axis that fall on a pixel of the image.

    Args:
      image, kernel, out: lengths along the axis.
      stride: of the kernel.
      low: zeros before the image's first pixel; if negative, pixels cropped.
      image_step, kernel_step: dilation of the image and of the kernel.
    """
    at = stride * np.arange(out)[:, None] + kernel_step * np.arange(kernel)[None] - low
    return int(((at >= 0) & (at <= (image - 1) * image_step) & (at % image_step == 0)).sum())
