"""How whole programs are compiled on this machine, where that is not as XLA does by default."""

import functools
import logging
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax._src import xla_bridge

from ichjax.errors import InputError

# XLA for CPUs hands convolutions to YNNPACK, and those that are gradients of kernels then take two to nine times as
# long as by Eigen at 64 channels and more (benchmarks/NOTES.md). This leaves it the matrix products alone.
CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def require_deterministic() -> None:
    """Restricts a GPU to kernels that give the same bits every time; nothing changes on a CPU or TPU.

    XLA reads its flags when it starts its devices, so call this before anything touches one.

    Raises:
      InputError: a GPU was started without the flag, so it is too late.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if DETERMINISTIC in flags.split():
        return
    if not xla_bridge.backends_are_initialized():
        os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}".strip()
    elif jax.default_backend() == "gpu":
        raise InputError(
            "config.deterministic is True, but this process has already used the GPU without it; expected "
            f"XLA_FLAGS={DETERMINISTIC} in the environment, or nothing on the GPU before training"
        )


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
