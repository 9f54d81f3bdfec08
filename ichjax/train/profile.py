"""Profiler traces of a few training steps, for TensorBoard or Perfetto."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from ichjax.console import say
from ichjax.train.state import TrainState
from ichjax.train.step import DeviceBatch, Metrics


def traced(program: Callable, steps: tuple[int, int], folder: pathlib.Path, step: int) -> Callable:
    """The training program, with a trace of steps a to b - 1.

    Args:
      program: (state, batch) -> (state, metrics).
      steps: (a, b), counted from the start of training; (0, 0) for no trace. A dispatch of several steps is traced
        completely or not at all.
      folder: receives the trace.
      step: updates made before the first call.
    """
    first, last = steps
    if first == last or step >= last:
        return program
    tracing = False

    def run(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, Metrics]:
        nonlocal step, tracing
        if not tracing and first <= step < last:
            jax.block_until_ready(state)
            jax.profiler.start_trace(folder)
            tracing = True
        state, metrics = program(state, batch)
        step += np.size(metrics["finite"])
        if tracing and step >= last:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            tracing = False
            say(f"steps {first} to {step - 1} traced: {folder}")
        return state, metrics

    return run
