"""One fold in training: its patches, checkpoints, validation and log, whichever program makes its updates."""

import contextlib
import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from ichjax import console, xla
from ichjax.config import Config, training_seed
from ichjax.data import loader
from ichjax.data.hard_negatives import HardNegatives
from ichjax.data.lesion_sampling import lesion_weights
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.data.scan_cache import CachedScan
from ichjax.data.stacks import StackReader, stack_table
from ichjax.errors import InputError
from ichjax.models.network import Network
from ichjax.train import average, checkpoint, epoch, log, memory, mining, nonfinite, parallel
from ichjax.train.programs import Programs
from ichjax.train.state import TrainState
from ichjax.train.step import Update, Validation, merge

Placed = TypeVar("Placed")


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """The result of training: the parameters at the best epoch, its number and its validation score."""

    params: dict[str, Any]
    epoch: int
    validation_jaccard: float


class Order(loader.Order, Protocol):
    """The order of a fold's examples: `patch_index.Epochs`, or `labeled_stacks.LabeledOrder`."""

    @property
    def examples(self) -> int:
        """Number of examples in an epoch."""

    @property
    def hard(self) -> HardNegatives | None:
        """The hard negatives, if there are any."""

    def fixed(self) -> np.ndarray:
        """int64 [examples]: a fixed set, for validation."""


@dataclasses.dataclass(frozen=True, eq=False)
class FoldData:
    """The examples of a fold.

    Attributes:
      reader, epochs: of the training examples, and their order.
      valid_reader, valid_epochs: of the validation patches.
      scans: numbers of training and of validation scans.
      steps: updates per epoch.
      forward_steps: batches per epoch that only pass forward (validation and mining), on average.
    """

    reader: loader.BatchReader
    epochs: Order
    valid_reader: loader.BatchReader
    valid_epochs: Order
    scans: tuple[int, int]
    steps: int
    forward_steps: float


def read_data(
    config: Config, network: Network, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, fold: int
) -> FoldData:
    """The patches of a fold's training and validation scans.

    Raises:
      InputError: no scan, no patch with a hemorrhage, fewer patches than a batch.
    """
    fields, size = config.train, config.train.batch_size
    chosen: dict[str, Any] = {"limit": fields.examples_per_epoch, "slices": fields.slices, "sampling": fields.sampling}
    classes = network.learns_classes
    reader, epochs = examples(config, network, train, fields.negatives, fold, classes=classes, **chosen)
    epochs = mining.with_hard_negatives(config, epochs)
    valid_reader, valid_epochs = examples(config, network, valid, fields.validation_negatives, fold)
    forward_steps = -(-valid_epochs.examples // size) + mining.steps_per_epoch(config, epochs)
    scans = len(train), len(valid)
    return FoldData(reader, epochs, valid_reader, valid_epochs, scans, epochs.steps(size), forward_steps)


def examples(
    config: Config,
    network: Network,
    scans: Sequence[CachedScan],
    negatives: str,
    fold: int,
    *,
    limit: int = 0,
    slices: str = "all",
    sampling: str = "patches",
    classes: bool = False,
) -> tuple[loader.BatchReader, Epochs]:
    """The examples of scans and their order; InputError without scans, or without an example with a hemorrhage."""
    if not scans:
        raise InputError(f"fold {fold}: no scan could be read for training or validation")
    if network.stack:
        table = stack_table(scans, length=network.stack)
        return StackReader(scans, table, length=network.stack, classes=classes), Epochs(
            table, negatives, training_seed(config), fold, limit
        )
    table = patch_table(scans, side=config.patch.side, stride=config.patch.stride)
    reader = loader.PatchReader(
        scans,
        table,
        neighbors=network.neighbors,
        mirrored=network.mirrored_channel,
        classes=classes,
        priors=network.priors,
    )
    weights = lesion_weights(scans, table, stride=config.patch.stride) if sampling == "lesions" else None
    return reader, Epochs(table, negatives, training_seed(config), fold, limit, slices, weights)


class Fold:
    """A fold between two updates: its progress, and what is done with its state before, within and after an epoch.

    Attributes:
      number: of the fold.
      name: in messages, such as 'fold 0'; with its seed, where the configuration gives one to the training.
      progress: updates and epochs made, and the best epoch.
      steps: updates per epoch.
      end: updates in all.
    """

    def __init__(
        self, config: Config, network: Network, data: FoldData, made: Programs, *, folder: pathlib.Path, number: int
    ):
        """Opens the fold's checkpoints.

        Args:
          config: of the run, with the epochs that are trained.
          network: that is trained.
          data: of the fold.
          made: its mesh, schedule and validation step are used.
          folder: of the fold.
          number: of the fold.
        """
        self.number, self.steps, self.end = number, data.steps, data.steps * config.train.epochs
        self.name = f"fold {number}" + (f" (seed {config.train.seed})" if config.train.seed >= 0 else "")
        self.progress = checkpoint.Progress()
        self._config, self._network, self._data, self._made, self._folder = config, network, data, made, folder
        self._share = parallel.local_examples(made.mesh, config.train.batch_size)
        self._checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
        self._log: log.FoldLog | None = None

    @property
    def is_finished(self) -> bool:
        """Whether all updates were made and validated."""
        return self.progress.step >= self.end

    def resume(self, state: TrainState) -> TrainState:
        """The state of the newest readable checkpoint, with the shardings of `state`; `state` without checkpoints.

        Raises:
          InputError: there are checkpoints, but none can be read; scores of hard negatives cannot be read.
        """
        restored = self._checkpoints.restore_newest(state, console.say)
        state, self.progress = restored or (state, self.progress)
        if self._data.epochs.hard and not self.is_finished:
            mining.restore(self._data.epochs.hard, self._config, folder=self._folder, epochs_done=self.progress.epoch)
        return state

    def open_log(self) -> None:
        """Opens the log; rows of epochs after the checkpoint are removed."""
        self._log = log.FoldLog(self._folder, epochs_done=self.progress.epoch)

    def batches(
        self, place: Callable[[Iterator[Any]], Iterator[Placed]], source: loader.Reader | None = None
    ) -> Generator[Placed]:
        """The batches of all updates to come.

        Args:
          place: maps batches to what is yielded; may read ahead, but is called for each period of mining.
          source: where they are read, in place of the fold's own reader.
        """
        fields = self._config.train

        def read(start: int, stop: int) -> Iterator[Placed]:
            read_from: loader.Reader = source or self._data.reader
            return place(
                loader.training_batches(
                    read_from,
                    self._data.epochs,
                    batch_size=fields.batch_size,
                    start_step=start,
                    stop_step=stop,
                    threads=fields.read_threads,
                    group=fields.steps_per_dispatch,
                    share=self._share,
                )
            )

        period = self.steps * fields.mine_every if self._data.epochs.hard else 0
        return mining.by_period(read, start=self.progress.step, stop=self.end, period=period)

    def rest_of_epoch(self) -> tuple[epoch.Epoch, int]:
        """The epoch to be trained, with the updates that were made of it; and the step at which it ends."""
        started = self.progress.epoch * self.steps
        return epoch.Epoch(max(self.progress.step, started), list(self.progress.history)), started + self.steps

    def on_update(self) -> Callable[[int, Update], None]:
        """The check of each update (`nonfinite.make_on_update`)."""
        return nonfinite.make_on_update(self._config, self._data.epochs, self.steps, self.number, self._checkpoints)

    def finish_epoch(self, state: TrainState, now: epoch.Epoch) -> None:
        """Validates the state after an epoch's last update, mines if it is due, and saves, logs and reports the epoch.

        Raises:
          InputError: the validation loss is not finite, memory ran out, or a file cannot be written.
        """
        config, mesh, hard = self._config, self._made.mesh, self._data.epochs.hard
        number, stop, best = self.progress.epoch + 1, now.step, self.progress.best
        row: dict[str, Any] = {
            "epoch": number, "step": stop, "learning_rate": float(self._made.schedule(stop)), **now.row()
        }  # fmt: skip
        what = f"{self.name}: validation on {config.train.batch_size // mesh.size} {self._network.unit} per device"
        with xla.explain_out_of_memory(what, functools.partial(memory.smaller_validation, config, mesh.size)):
            row |= validate(self._made.validation_step, state, self._valid_batches(), mesh) | log.device_memory()
            if hard and mining.is_due(config, number):
                weights, where = average.averaged(state.params, state.opt_state), self._folder
                reader = self._data.reader
                mining.mine(hard, self._network, config, weights, reader, mesh=mesh, folder=where, epoch=number)
        if not math.isfinite(row["validation_loss"]):
            raise InputError(
                f"{self.name} epoch {number}: the validation loss is not finite; expected a finite loss: set "
                f"config.train.learning_rate below {config.train.learning_rate:g}"
            )
        if row[checkpoint.SCORE] > best[checkpoint.SCORE]:
            best = {"epoch": number, "step": stop, checkpoint.SCORE: row[checkpoint.SCORE]}
        self.progress = checkpoint.Progress(stop, number, best)
        if self._log:
            self._log.write(row)
        self._checkpoints.save(self.progress, state, row[checkpoint.SCORE])
        report_epoch(self.name, row, config.train.epochs, self._network.unit)

    def _valid_batches(self) -> Iterator[loader.Batch]:
        fields, rows = self._config.train, self._data.valid_epochs.fixed()
        return loader.fixed_batches(
            self._data.valid_reader,
            rows,
            batch_size=fields.batch_size,
            threads=fields.read_threads,
            share=self._share,
        )

    def save_within(self, state: TrainState, now: epoch.Epoch) -> None:
        """Saves the state within an epoch, unless it is saved."""
        if now.step > self._checkpoints.latest():
            self._checkpoints.save(dataclasses.replace(self.progress, step=now.step, history=now.history), state)

    def saved_step(self) -> int:
        """Waits for a save in progress; the step of the newest checkpoint. InputError if it cannot be written."""
        self._checkpoints.wait()
        return self._checkpoints.latest()

    def fitted(self, state: TrainState) -> Fitted:
        """The result, of the best epoch; `state` is that after the last."""
        best = self.progress.best
        if best["step"] not in (0, self.saved_step()):
            self._checkpoints.close()
            self._checkpoints = checkpoint.Checkpoints(self._folder / "checkpoints")
            state, _ = self._checkpoints.restore(best["step"], state)
        weights = average.averaged(state.params, state.opt_state)
        return Fitted(jax.device_get(weights), best["epoch"], best[checkpoint.SCORE])

    def close(self) -> None:
        """Waits for a save in progress, and closes checkpoints and log."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._checkpoints.close)
            if self._log:
                stack.callback(self._log.close)


def validate(validation_step: Callable, state: TrainState, batches: Iterable[loader.Batch], mesh: Mesh) -> Validation:
    """Scores of the validation patches; under jit, whatever the mode of training."""
    weights = average.averaged(state.params, state.opt_state)
    on_devices = (parallel.shard_batch(batch, mode="jit", mesh=mesh) for batch in batches)
    return merge(jax.device_get([validation_step(weights, batch) for batch in on_devices]))


def report_epoch(name: str, row: dict[str, Any], epochs: int, unit: str) -> None:
    """Prints one line; `name`: of the fold; `unit`: of examples, `Network.unit`."""
    skipped = f"  {row['skipped']} updates not finite, skipped" if row["skipped"] else ""
    dead = "  THE OUTPUT IS CONSTANT: the network died or collapsed" if row["constant_output"] else ""
    console.say(
        f"{name} epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:.4f}  validation loss "
        f"{row['validation_loss']:.4f}  Jaccard {row['validation_jaccard']:.3f}  Dice {row['validation_dice']:.3f}  "
        f"{row['examples_per_second']:.0f} {unit}/s  waiting {row['wait_share']:.0%}{skipped}{dead}"
    )
