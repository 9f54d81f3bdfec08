"""One epoch of updates: dispatched ahead of the device, looked at behind it, and left in good order when asked to."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Iterator

import jax
import numpy as np
from tqdm import tqdm

from ichjax.errors import InputError
from ichjax.train.interrupt import Watch
from ichjax.train.state import TrainState

BEHIND = 8  # dispatches whose metrics are left on the device, so that looking at them never makes it wait


@dataclasses.dataclass
class Epoch:
    """What is known of an epoch while it runs.

    Attributes:
      step: updates made since training began.
      history: {'loss', 'gradient_norm', 'finite'} of each update of this epoch, those before a resume included.
      examples, seconds, waited: of this process alone, since it began with the epoch.
    """

    step: int
    history: list[dict]
    examples: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def row(self) -> dict:
        """The epoch in numbers: means over its updates, those left out as not finite apart."""
        finite = [update for update in self.history if update["finite"]]
        mean = lambda name: float(np.mean([update[name] for update in finite])) if finite else math.nan  # noqa: E731
        return {
            "loss": mean("loss"),
            "gradient_norm": mean("gradient_norm"),
            "skipped": len(self.history) - len(finite),
            "examples_per_second": self.examples / max(self.seconds, 1e-9),
            "wait_share": self.waited / max(self.seconds, 1e-9),
            "seconds": self.seconds,
        }


def run(
    program: Callable,
    state: TrainState,
    batches: Iterator[dict],
    epoch: Epoch,
    *,
    stop: int,
    batch_size: int,
    watch: Watch,
    bar: tqdm,
    checked: Callable[[int, dict], None],
) -> TrainState:
    """Makes the updates up to step `stop`, or up to the dispatch in which a signal arrives.

    Args:
      program: (state, batch) -> (state, metrics), of one update or of several stacked.
      state: its buffers are donated.
      batches: from `parallel.prefetch`.
      epoch: kept up to date.
      stop: updates since training began at which the epoch ends.
      batch_size: examples of an update.
      watch: asked after each dispatch.
      bar: moves with the updates.
      checked: called with the number of each update and its metrics, on the host, in order.

    Returns:
      The state after the last update made.
    """
    started, ahead = time.perf_counter(), deque()

    def look() -> None:
        first, metrics = ahead.popleft()
        for number, update in enumerate(_updates(jax.device_get(metrics)), start=first):
            epoch.history.append(update)
            checked(number, update)

    dispatch = 0
    while epoch.step < stop and not watch.leave(dispatch):
        dispatch += 1
        asked = time.perf_counter()
        batch = next(batches)
        epoch.waited += time.perf_counter() - asked
        state, metrics = program(state, batch)
        made = np.size(metrics["loss"])
        ahead.append((epoch.step, metrics))
        epoch.step += made
        epoch.examples += made * batch_size
        bar.update(made)
        if len(ahead) > BEHIND:
            look()
    while ahead:
        look()
    epoch.seconds += time.perf_counter() - started
    return state


def _updates(metrics: dict) -> list[dict]:
    """Metrics of one update, or of several stacked, as one dict each, ready for JSON."""
    columns = {name: np.atleast_1d(values).tolist() for name, values in metrics.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def refuse_nonfinite(*, fold: int, learning_rate: float, examples: Callable[[int], np.ndarray], saved: Callable):
    """What `run` calls for each update where one that is not finite ends the run.

    Args:
      fold: for the message.
      learning_rate: for the message.
      examples: step to the rows of its batch in the patch table.
      saved: () to the step of the newest checkpoint, 0 for none.
    """

    def check(step: int, update: dict) -> None:
        if update["finite"]:
            return
        rows = ", ".join(map(str, examples(step)))
        last = saved()
        kept = f"the checkpoint of step {last} is kept" if last else "nothing was saved before it"
        raise InputError(
            f"fold {fold} step {step}: loss {update['loss']:g}, gradient norm {update['gradient_norm']:g}, of the "
            f"examples {rows}; expected finite ones: a lower config.train.learning_rate than {learning_rate:g}, or "
            f"config.on_nonfinite=skip; {kept}"
        )

    return check
