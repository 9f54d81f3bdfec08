"""Checkpoints with orbax: the newest two and the best, each whole or absent."""

import logging
import pathlib
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from ichjax.errors import InputError
from ichjax.train.state import TrainState

SCORE = "validation_jaccard"

# Orbax reports every save and restore as information; users see our own lines.
logging.getLogger("absl").setLevel(logging.WARNING)


class Checkpoints:
    """The checkpoints of one fold, numbered by epochs done.

    Saving is asynchronous; `close` waits for it. A save is written aside and renamed, so a kill leaves the one
    before it valid.
    """

    def __init__(self, folder: pathlib.Path):
        keep = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(2),
                # Of equal scores (a network that died) the first epoch is the best: the same one that `best` names.
                checkpoint_managers.BestN(n=1, get_metric_fn=lambda metrics: (metrics[SCORE], -metrics["epoch"])),
            ]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=keep, cleanup_tmp_directories=True)
        self._folder = pathlib.Path(folder).resolve()
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, epoch: int, state: TrainState, row: dict, best: dict) -> None:
        """Starts to save the state after `epoch` epochs.

        Args:
          epoch: epochs done.
          state: the state; its arrays are copied before this returns, so they may be donated.
          row: the epoch's metrics, with `SCORE`.
          best: {'epoch', SCORE} of the best epoch so far, this one included.
        """
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave({"best": best}))
        if not self._manager.save(epoch, args=arguments, metrics={SCORE: row[SCORE], "epoch": epoch}):
            raise RuntimeError(f"{self._folder}: the checkpoint of epoch {epoch} was not saved")

    def latest(self) -> int:
        """Epochs done at the newest checkpoint; 0 where there is none."""
        return self._manager.latest_step() or 0

    def restore(self, epoch: int, like: TrainState) -> tuple[TrainState, dict]:
        """The state after `epoch` epochs, shaped and placed as `like`, and {'epoch', SCORE} of the best so far.

        Raises:
          InputError: the checkpoint is damaged or belongs to another network.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target), meta=ocp.args.JsonRestore())
        try:
            loaded = self._manager.restore(epoch, args=arguments)
        except Exception as error:  # orbax, tensorstore and JSON raise many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise InputError(f"{self._folder / str(epoch)}: the checkpoint cannot be read ({reason})") from error
        return loaded["state"], loaded["meta"]["best"]

    def restore_newest(self, like: TrainState, say: Callable[[str], None]) -> tuple[int, TrainState, dict] | None:
        """The newest checkpoint that can be read, as (epochs done, state, best so far); None where there is none.

        A damaged one is said, deleted and passed over: the epochs after the one before it are trained again, to the
        same bits.

        Raises:
          InputError: there are checkpoints, and none can be read.
        """
        problems = []
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, best = self.restore(epoch, like)
            except InputError as error:
                problems.append((epoch, error))
                continue
            for damaged, error in problems:
                say(f"{error}; going on after epoch {epoch}")
                self._manager.delete(damaged)
            return epoch, state, best
        if problems:
            raise InputError(f"{problems[0][1]}; delete the fold's folder to train it anew")
        return None

    def close(self) -> None:
        """Waits for the save in progress and releases what orbax holds."""
        self._manager.wait_until_finished()
        self._manager.close()
