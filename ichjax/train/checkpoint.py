"""Checkpoints of a fold with orbax: the newest two and the best are kept, each complete or absent.

A state is stored as one array for each dtype, as orbax spends milliseconds on every array, of which a network with its
optimizer has hundreds (benchmarks/NOTES.md).
"""

import contextlib
import dataclasses
import hashlib
import logging
import pathlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Final, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from ichjax.errors import InputError, first_line
from ichjax.train.state import TrainState
from ichjax.train.step import Update

SCORE: Final = "validation_jaccard"
UNSCORED = -1.0  # below every Jaccard index: the score of a checkpoint within an epoch
ARRAYS: Final = "arrays"  # the digest of `layout`, beside the progress


class Best(TypedDict):
    """The best epoch so far; its last step; its score."""

    epoch: int
    step: int
    validation_jaccard: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a fold, saved with its state: all a run needs to continue as if never interrupted.

    The next example follows from `step`, as the order of examples follows from seed, fold and epoch.

    Attributes:
      step: updates made.
      epoch: epochs completed.
      best: the best epoch so far; step 0 before the first.
      history: the updates of the current, incomplete epoch.
    """

    step: int = 0
    epoch: int = 0
    best: Best = dataclasses.field(default_factory=lambda: Best(epoch=0, step=0, validation_jaccard=UNSCORED))
    history: list[Update] = dataclasses.field(default_factory=list)


class Checkpoints:
    """The checkpoints of one fold, numbered by updates made.

    Saving is asynchronous; `close` waits for it. Checkpoints are written to a temporary folder and renamed, so a kill
    leaves the previous one valid.
    """

    def __init__(self, folder: pathlib.Path):
        keep = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(2),
                # Of equal scores (a network that died) the first epoch is the best, as in `Progress.best`.
                checkpoint_managers.BestN(n=1, get_metric_fn=lambda metrics: (metrics[SCORE], -metrics["step"])),
            ]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=keep, cleanup_tmp_directories=True)
        self._folder = pathlib.Path(folder).resolve()
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, progress: Progress, state: TrainState, score: float = UNSCORED) -> None:
        """Starts to save.

        Args:
          progress: of the fold.
          state: whole on every device; its arrays are copied before this returns, so they may be donated.
          score: validation Jaccard index of the epoch that ends here; `UNSCORED` within an epoch.

        Raises:
          InputError: this or the previous checkpoint cannot be written.
        """
        meta = ocp.args.JsonSave(dataclasses.asdict(progress) | {ARRAYS: layout(state)})
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(packed(state)), meta=meta)
        with self._write_errors():
            if not self._manager.save(progress.step, args=arguments, metrics={SCORE: score, "step": progress.step}):
                raise RuntimeError(f"{self._folder}: the checkpoint of step {progress.step} was not saved")

    def latest(self) -> int:
        """Updates made at the newest checkpoint; 0 if there is none."""
        return self._manager.latest_step() or 0

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        """The state after `step` updates, with the shapes and shardings of `like`, and the progress of the fold.

        Raises:
          InputError: the checkpoint is damaged or belongs to another network.
        """
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(_empty(like)), meta=ocp.args.JsonRestore())
        try:
            loaded = self._manager.restore(step, args=arguments)
            if loaded["meta"].pop(ARRAYS, "") != layout(like):
                raise ValueError("it holds the arrays of another network or optimizer")
            progress = Progress(**loaded["meta"])
        except Exception as error:  # orbax, tensorstore and JSON raise many types
            reason = first_line(error)
            raise InputError(f"{self._folder / str(step)}: the checkpoint cannot be read ({reason})") from error
        return unpacked(loaded["state"], like), progress

    def restore_newest(self, like: TrainState, say: Callable[[str], None]) -> tuple[TrainState, Progress] | None:
        """The newest readable checkpoint; None if there is no checkpoint.

        Damaged ones are reported and deleted: the updates since the previous one are made again, to the same bits.

        Raises:
          InputError: there are checkpoints, but none can be read.
        """
        damaged: list[tuple[int, InputError]] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self.restore(step, like)
            except InputError as error:
                damaged.append((step, error))
                continue
            for damaged_step, problem in damaged:
                say(f"{problem}; resuming after step {step}")
                self._manager.delete(damaged_step)
            return restored
        if damaged:
            raise InputError(f"{damaged[0][1]}; delete the fold's folder to train it again")
        return None

    def wait(self) -> None:
        """Waits for the save in progress; InputError if it cannot be written."""
        with self._write_errors():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        """Turns disk errors into one sentence; orbax raises those of a save at the next call."""
        try:
            yield
        except Exception as error:
            reason = first_line(error)
            raise InputError(
                f"{self._folder}: a checkpoint cannot be written ({reason}); expected enough free disk space; the "
                "previous one is kept"
            ) from error

    def close(self) -> None:
        """Waits for a save in progress and releases orbax's resources."""
        try:
            self._manager.close()
        except Exception as error:  # already reported by `wait`, or less important than the error that led here
            logging.getLogger(__name__).debug("closing: %s", error)


def layout(state: TrainState) -> str:
    """A digest of the names, shapes and dtypes of a state's arrays."""
    leaves = jax.tree.leaves_with_path(state)
    words = [f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}" for path, leaf in leaves]
    return hashlib.blake2b("\n".join(words).encode(), digest_size=8).hexdigest()


def packed(state: TrainState) -> dict[str, np.ndarray]:
    """A state's arrays on the host, one after the other: {dtype: [N]}."""
    parts = defaultdict(list)
    for leaf in jax.device_get(jax.tree.leaves(state)):
        parts[leaf.dtype.name].append(leaf.ravel())
    return {dtype: np.concatenate(arrays) for dtype, arrays in parts.items()}


def _empty(state: TrainState) -> dict[str, np.ndarray]:
    """Arrays of the sizes of `packed`."""
    sizes: Counter[str] = Counter()
    for leaf in jax.tree.leaves(state):
        sizes[leaf.dtype.name] += leaf.size
    return {dtype: np.empty(size, jnp.dtype(dtype)) for dtype, size in sizes.items()}


def unpacked(arrays: dict[str, np.ndarray], like: TrainState) -> TrainState:
    """The state whose `packed` arrays these are, with the shapes and shardings of `like`."""
    leaves, tree = jax.tree.flatten(like)
    ends: dict[str, int] = defaultdict(int)
    values = []
    for leaf in leaves:
        start, ends[leaf.dtype.name] = ends[leaf.dtype.name], ends[leaf.dtype.name] + leaf.size
        values.append(arrays[leaf.dtype.name][start : ends[leaf.dtype.name]].reshape(leaf.shape))
    return jax.tree.unflatten(tree, jax.device_put(values, [leaf.sharding for leaf in leaves]))
