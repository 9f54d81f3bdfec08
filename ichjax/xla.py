"""Compiler options and flags that differ from XLA's defaults."""

import contextlib
import contextvars
import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax._src import xla_bridge

from ichjax.errors import InputError, first_line
from ichjax.files import cache_folder

# XLA's CPU backend hands convolutions to YNNPACK, whose kernel gradients take two to nine times as long as Eigen's at
# 64 channels and more (benchmarks/NOTES.md). This option leaves YNNPACK the matrix products only.
CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
USABLE_MEMORY = 0.9  # of a device's; the rest holds prefetched batches and copies, and is lost to fragmentation
_target = contextvars.ContextVar[str | None]("target", default=None)


def platform() -> str:
    """'cpu', 'gpu' or 'tpu': the platform that programs are traced for; the fastest form of a layer depends on it.

    The default backend's, unless `compile_for` names another. Read while a program is traced.
    """
    return _target.get() or jax.default_backend()


@contextlib.contextmanager
def compile_for(target: str) -> Iterator[None]:
    """Programs created and traced inside are for this platform, whatever devices the process has."""
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)


@contextlib.contextmanager
def explain_out_of_memory(what: str, remedy: Callable[[], str]) -> Iterator[None]:
    """Turns XLA's out-of-memory error into one sentence.

    XLA computes asynchronously: the body must wait for its results (`jax.block_until_ready`), or the error may be
    raised after it.

    Args:
      what: what runs in the body, such as 'a training step on 32 patches'.
      remedy: returns what would fit, after 'expected'; called after such an error only.

    Raises:
      InputError: memory ran out; other errors are raised as they are.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(
            f"{what} needs more memory than there is ({first_line(error)}); expected {remedy()}"
        ) from error


def first_that_fits(
    choices: Sequence[int], compiled: Callable[[int], jax.stages.Compiled], *, taken: int = 0
) -> int | None:
    """The first of the choices whose program fits into a device's memory, judged by compiling one after the other.

    Args:
      choices: of decreasing need for memory.
      compiled: the program of a choice, compiled.
      taken: bytes of each device that are in use and are no argument of the program.

    Returns:
      The first choice where the platform does not report its memory (CPUs); None where no choice fits.
    """
    limit = memory_limit()
    for choice in choices:
        if limit is None:
            return choice
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # TPUs: compiling fails when a program does not fit
            if memory_bytes(compiled(choice)) <= USABLE_MEMORY * limit - taken:
                return choice
    return None


def memory_limit() -> int | None:
    """Bytes that programs may use on a device of this process; None where the platform does not report it."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


def memory_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes that a program needs on each device while it runs: arguments, results and temporaries; 0 if unknown."""
    stats = compiled.memory_analysis()
    if stats is None:
        return 0
    used = stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes
    return used - stats.alias_size_in_bytes  # of donated arguments, in which results are stored


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


def start(*, deterministic: bool = False) -> None:
    """Settings of the process, made before its first program by whatever trains, predicts or scores.

    The compiled programs of a GPU or TPU are kept in the cache folder, as compiling a large network takes minutes
    there; not if JAX has a cache already (JAX_COMPILATION_CACHE_DIR).

    Args:
      deterministic: whether to `require_deterministic`.
    """
    if deterministic:
        require_deterministic()
    if jax.config.jax_compilation_cache_dir is None and jax.default_backend() != "cpu":  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))


def jit(function: Callable, **settings: Any) -> Callable:
    """`jax.jit` with the compiler options that are best on this platform; `settings` go to `jax.jit`."""
    return jax.jit(function, compiler_options=options(), **settings)


def options() -> dict[str, str] | None:
    """Compiler options for `platform`; None if there are none, or if this XLA does not know them."""
    return _cpu_options() if platform() == "cpu" else None


@functools.cache
def _cpu_options() -> dict[str, str] | None:
    """The options are experimental and may disappear in a newer release: they are tried on a small program first."""
    try:
        jax.jit(lambda x: x + 1, compiler_options=CPU_OPTIONS)(jnp.zeros(()))
    except Exception as error:
        logging.getLogger(__name__).debug("compiled without %s: %s", CPU_OPTIONS, error)
        return None
    return dict(CPU_OPTIONS)
