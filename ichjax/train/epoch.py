"""The updates of one epoch: async dispatch, metrics fetched later, and a clean stop after a signal."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypedDict

import jax
import numpy as np
from tqdm import tqdm

from ichjax import hosts
from ichjax.train.interrupt import Watch
from ichjax.train.state import TrainState
from ichjax.train.step import DeviceBatch, Metrics, Update

MAX_PENDING = 8  # dispatches whose metrics stay on the device, so that fetching them never stalls it


class Row(TypedDict):
    """The columns of metrics.jsonl that come from training: means over finite updates, and the time spent."""

    loss: float
    gradient_norm: float
    skipped: int
    examples_per_second: float
    wait_share: float
    seconds: float


@dataclasses.dataclass
class Epoch:
    """The state of a running epoch.

    Attributes:
      step: updates made since training began.
      history: the updates of this epoch, including those before a resume.
      examples, seconds, waited: of this process since it entered the epoch; `waited` are seconds spent on batches.
    """

    step: int
    history: list[Update]
    examples: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def row(self) -> Row:
        """Summarizes the epoch."""
        finite = [update for update in self.history if update["finite"]]
        return {
            "loss": float(np.mean([update["loss"] for update in finite])) if finite else math.nan,
            "gradient_norm": float(np.mean([update["gradient_norm"] for update in finite])) if finite else math.nan,
            "skipped": len(self.history) - len(finite),
            "examples_per_second": self.examples / max(self.seconds, 1e-9),
            "wait_share": self.waited / max(self.seconds, 1e-9),
            "seconds": self.seconds,
        }


def run_epoch(
    program: Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]],
    state: TrainState,
    batches: Iterator[DeviceBatch],
    epoch: Epoch,
    *,
    stop: int,
    batch_size: int,
    watch: Watch,
    bar: tqdm,
    on_update: Callable[[int, Update], None],
) -> TrainState:
    """Makes the updates up to step `stop`, or up to the end of the dispatch during which a signal arrives.

    Args:
      program: one update, or several stacked.
      state: its buffers are donated.
      batches: from `parallel.prefetch`.
      epoch: kept up to date.
      stop: updates since training began at which the epoch ends.
      batch_size: examples per update.
      watch: checked after each dispatch.
      bar: advances with the updates.
      on_update: called with the number and the metrics of each update, on the host, in order.

    Returns:
      The state after the last update.
    """
    started = time.perf_counter()
    pending: deque[tuple[int, Metrics]] = deque()
    done = len(epoch.history)

    def fetch() -> None:
        first, metrics = pending.popleft()
        for number, update in enumerate(_updates(_on_host(metrics)), start=first):
            epoch.history.append(update)
            on_update(number, update)

    dispatches = 0
    while epoch.step < stop and not watch.should_stop(dispatches):
        dispatches += 1
        wait_started = time.perf_counter()
        batch = next(batches)
        epoch.waited += time.perf_counter() - wait_started
        state, metrics = program(state, batch)
        updates = np.size(metrics["finite"])
        pending.append((epoch.step, metrics))
        epoch.step += updates
        epoch.examples += updates * batch_size
        bar.update(updates)
        if len(pending) > MAX_PENDING:
            fetch()
    while pending:
        fetch()
    for update, loss in zip(
        epoch.history[done:], hosts.mean([one["loss"] for one in epoch.history[done:]]), strict=True
    ):
        update["loss"] = loss
    epoch.seconds += time.perf_counter() - started
    return state


def _on_host(metrics: Metrics) -> dict[str, np.ndarray]:
    """The metrics of a dispatch; of losses that are divided among processes, this process's."""
    loss: jax.Array = metrics["loss"]
    if not (loss.is_fully_addressable or loss.is_fully_replicated):
        own = np.concatenate([np.asarray(shard.data) for shard in loss.addressable_shards], axis=-1)
        return jax.device_get({**metrics, "loss": own})
    return jax.device_get(metrics)


def _updates(metrics: dict[str, np.ndarray]) -> list[Update]:
    """Metrics of one update, or of several stacked, as one JSON-ready dict each; a loss is the mean over examples."""
    norms, finite = (np.atleast_1d(metrics[name]) for name in ("gradient_norm", "finite"))
    losses = metrics["loss"].reshape(len(norms), -1).mean(axis=1)
    return [
        {"loss": loss, "gradient_norm": norm, "finite": is_finite}
        for loss, norm, is_finite in zip(losses.tolist(), norms.tolist(), finite.tolist(), strict=True)
    ]
