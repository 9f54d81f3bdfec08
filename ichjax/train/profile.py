"""A trace of a few training steps, which TensorBoard's profile page or Perfetto opens."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from ichjax.console import say


def traced(program: Callable, steps: tuple[int, int], folder: pathlib.Path, step: int) -> Callable:
    """The training program, of which steps a to b - 1 are traced.

    Args:
      program: (state, batch) -> (state, metrics).
      steps: (a, b), counted from the beginning of training; (0, 0) for no trace. Of a dispatch of several steps all
        are traced or none.
      folder: gets the trace.
      step: updates made before the first call.
    """
    first, last = steps
    if first == last or step >= last:
        return program
    tracing = False

    def run(state, batch):
        nonlocal step, tracing
        if not tracing and first <= step < last:
            jax.block_until_ready(state)
            jax.profiler.start_trace(folder)
            tracing = True
        state, metrics = program(state, batch)
        step += np.size(metrics["loss"])
        if tracing and step >= last:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            tracing = False
            say(f"steps {first} to {step - 1} traced: {folder}")
        return state, metrics

    return run
