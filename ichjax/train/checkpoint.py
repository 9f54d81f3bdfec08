"""Checkpoints with orbax: the newest two and the best, each whole or absent."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from ichjax.errors import InputError, first_line
from ichjax.train.state import TrainState

SCORE = "validation_jaccard"
UNSCORED = -1.0  # below every Jaccard: of a checkpoint within an epoch


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a fold has come, beside its state: what a run needs to go on as if it had not stopped.

    The next example follows from `step` alone, as the order of examples does from seed, fold and epoch.

    Attributes:
      step: updates made.
      epoch: whole epochs done.
      best: {'epoch', 'step', SCORE} of the best epoch so far; step 0 before the first.
      history: {'loss', 'gradient_norm', 'finite'} of each update of the epoch that is not done.
    """

    step: int = 0
    epoch: int = 0
    best: dict = dataclasses.field(default_factory=lambda: {"epoch": 0, "step": 0, SCORE: UNSCORED})
    history: list = dataclasses.field(default_factory=list)


class Checkpoints:
    """The checkpoints of one fold, numbered by updates made.

    Saving is asynchronous; `close` waits for it. A save is written aside and renamed, so a kill leaves the one
    before it valid.
    """

    def __init__(self, folder: pathlib.Path):
        keep = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(2),
                # Of equal scores (a network that died) the first epoch is the best: the same one that `best` names.
                checkpoint_managers.BestN(n=1, get_metric_fn=lambda metrics: (metrics[SCORE], -metrics["step"])),
            ]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=keep, cleanup_tmp_directories=True)
        self._folder = pathlib.Path(folder).resolve()
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, progress: Progress, state: TrainState, score: float = UNSCORED) -> None:
        """Starts to save.

        Args:
          progress: how far the fold has come.
          state: the state; its arrays are copied before this returns, so they may be donated.
          score: validation Jaccard of the epoch that ends here; `UNSCORED` within an epoch.

        Raises:
          InputError: it, or the save before it, cannot be written.
        """
        meta = ocp.args.JsonSave(dataclasses.asdict(progress))
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=meta)
        with self._writing():
            if not self._manager.save(progress.step, args=arguments, metrics={SCORE: score, "step": progress.step}):
                raise RuntimeError(f"{self._folder}: the checkpoint of step {progress.step} was not saved")

    def latest(self) -> int:
        """Updates made at the newest checkpoint; 0 where there is none."""
        return self._manager.latest_step() or 0

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        """The state after `step` updates, shaped and placed as `like`, and how far the fold had come.

        Raises:
          InputError: the checkpoint is damaged or belongs to another network.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target), meta=ocp.args.JsonRestore())
        try:
            loaded = self._manager.restore(step, args=arguments)
            progress = Progress(**loaded["meta"])
        except Exception as error:  # orbax, tensorstore and JSON raise many kinds
            reason = first_line(error)
            raise InputError(f"{self._folder / str(step)}: the checkpoint cannot be read ({reason})") from error
        return loaded["state"], progress

    def restore_newest(self, like: TrainState, say: Callable[[str], None]) -> tuple[TrainState, Progress] | None:
        """The newest checkpoint that can be read; None where there is none.

        A damaged one is said, deleted and passed over: the updates after the one before it are made again, to the
        same bits.

        Raises:
          InputError: there are checkpoints, and none can be read.
        """
        problems = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, progress = self.restore(step, like)
            except InputError as error:
                problems.append((step, error))
                continue
            for damaged, error in problems:
                say(f"{error}; going on after step {step}")
                self._manager.delete(damaged)
            return state, progress
        if problems:
            raise InputError(f"{problems[0][1]}; delete the fold's folder to train it anew")
        return None

    def wait(self) -> None:
        """Waits for the save in progress; InputError where it cannot be written."""
        with self._writing():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _writing(self):
        """Turns what goes wrong on the disk into one sentence; orbax raises it at the call after."""
        try:
            yield
        except Exception as error:
            reason = first_line(error)
            raise InputError(
                f"{self._folder}: a checkpoint cannot be written ({reason}); expected a disk with room; the one "
                "before it is kept"
            ) from error

    def close(self) -> None:
        """Releases what orbax holds, after a save in progress."""
        try:
            self._manager.close()
        except Exception as error:  # `wait` has said it, or the error that brings us here matters more
            logging.getLogger(__name__).debug("closing: %s", error)
