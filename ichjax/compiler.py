"""How whole programs are compiled on this machine, where that is not as XLA does by default."""

import functools
import logging
from collections.abc import Callable

import jax
import jax.numpy as jnp

# XLA for CPUs hands convolutions to YNNPACK, and those that are gradients of kernels then take two to nine times as
# long as by Eigen at 64 channels and more (benchmarks/NOTES.md). This leaves it the matrix products alone.
CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


def jit(function: Callable, **settings) -> Callable:
    """`jax.jit` with the compiler options that serve this machine best; `settings` go to `jax.jit`."""
    return jax.jit(function, compiler_options=options(), **settings)


@functools.cache
def options() -> dict | None:
    """Compiler options for the default backend; None where there are none, or where this XLA does not know them.

    They are experimental and may go with a newer release, so they are tried on a small program first.
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x + 1, compiler_options=CPU)(jnp.zeros(()))
    except Exception as error:
        logging.getLogger(__name__).debug("compiled without %s: %s", CPU, error)
        return None
    return dict(CPU)
