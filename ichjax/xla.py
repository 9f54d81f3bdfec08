"""Compiler options and flags that differ from XLA's defaults."""

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax._src import xla_bridge

from ichjax.errors import InputError

# XLA's CPU backend hands convolutions to YNNPACK, whose kernel gradients take two to nine times as long as Eigen's at
# 64 channels and more (benchmarks/NOTES.md). This option leaves YNNPACK the matrix products only.
CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
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


def jit(function: Callable, **settings: Any) -> Callable:
    """`jax.jit` with the compiler options that are best on this machine; `settings` go to `jax.jit`."""
    return jax.jit(function, compiler_options=options(), **settings)


@functools.cache
def options() -> dict[str, str] | None:
    """Compiler options for the default backend; None if there are none, or if this XLA does not know them.

    They are experimental and may disappear in a newer release, so they are tried on a small program first.
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x + 1, compiler_options=CPU_OPTIONS)(jnp.zeros(()))
    except Exception as error:
        logging.getLogger(__name__).debug("compiled without %s: %s", CPU_OPTIONS, error)
        return None
    return dict(CPU_OPTIONS)
