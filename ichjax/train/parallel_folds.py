"""Training of several folds in one program, which may be of several seeds.

The devices do not communicate. Each fold has its own batches, learning rate, validation and files: those of
`loop.train_fold`, which reads the result, or trains on from it. With one fold a device, its parameters are to the bit
those of training on that device alone; with several, and against training on all devices, they agree to rounding.
"""

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from ichjax import console, hosts, xla
from ichjax.config import Config, training_seed, with_training_seed
from ichjax.data import loader
from ichjax.data.fold_scans import FoldScans
from ichjax.errors import InputError, Interrupted
from ichjax.models.network import Network, count_parameters
from ichjax.prefetch import ahead_in_thread
from ichjax.train import epoch, initial, parallel, programs
from ichjax.train.fold import Fold, read_data
from ichjax.train.fold_programs import FOLD_AXIS, TRAINING_ROW, Training, compile_folds, fold_mesh, make_fold_step
from ichjax.train.interrupt import Watch
from ichjax.train.loop import measure_step
from ichjax.train.state import TrainState, create, make_schedule
from ichjax.train.step import DeviceBatch, Metrics, Update


def train_folds(config: Config, network: Network, scans: Sequence[FoldScans]) -> None:
    """Trains folds together, each to its last epoch; `loop.train_fold` then reads the results.

    Called again with the same folders, each fold resumes after its last saved update, whatever program saved it.

    Args:
      config: of the run; `FoldScans.seed` replaces its seed.
      network: that is trained.
      scans: of each fold, the same ones in the same order when called again.

    Raises:
      InputError: as `loop.train_fold`, or there are several processes.
      Interrupted: after SIGINT or SIGTERM; everything up to the updates in progress is saved.
    """
    if hosts.count() > 1:
        raise InputError(f"config.parallel_folds is {config.parallel_folds}; expected 0 with {hosts.count()} processes")
    if all(one.finished for one in scans):
        return
    # --- data, devices, network, step
    configs = [config if one.seed < 0 else with_training_seed(config, one.seed) for one in scans]
    data = [
        read_data(own, network, one.train, one.valid, fold=one.number) for own, one in zip(configs, scans, strict=True)
    ]
    trainings = [
        Training(training_seed(own), part.steps * config.train.epochs) for own, part in zip(configs, data, strict=True)
    ]
    longest = max(training.updates for training in trainings)
    made = programs.make(network, ml_collections.FrozenConfigDict(config), longest)
    parallel.check_batch(config.train.batch_size, made.mesh, config.train.accumulate)
    mesh, rows = fold_mesh(len(scans), jax.devices())
    program = compile_folds(make_fold_step(network, config, trainings), mesh=mesh, rows=rows)

    with contextlib.ExitStack() as stack:
        # --- resume
        folds: dict[int, Fold] = {}  # by row of the state
        states = []
        for row, (one, own, part) in enumerate(zip(scans, configs, data, strict=True)):
            state = create(network, own, fold=one.number)
            if not one.finished:
                state = initial.weights(config, state, console.say, fold=one.number)
                its = made._replace(schedule=make_schedule(config, trainings[row].updates))
                fold = Fold(own, network, part, its, folder=one.folder, number=one.number)
                stack.callback(fold.close)
                state = fold.resume(jax.device_put(state, mesh.devices.flat[row // rows]))
                if not fold.is_finished:
                    folds[row] = fold
                    fold.open_log()
            states.append(jax.device_get(state))
        if not folds:
            return
        batches = {row: fold.batches(lambda examples: examples) for row, fold in folds.items()}
        training = _Training(config, program, mesh, rows, data[0].reader.empty_batch(config.train.batch_size))
        state = training.place(_stack([*states, *states[:1] * (mesh.size * rows - len(states))]))
        del states
        left = max(fold.end - fold.progress.step for fold in folds.values())

        # --- epochs
        what = f"a training step on {rows} x {config.train.batch_size} {network.unit} of {rows} folds per device"
        fewer = f"config.parallel_folds={mesh.size}, one fold a device, or 0"
        smaller = f"a larger config.train.accumulate than {config.train.accumulate}, or config.parallel_folds=0"
        stack.enter_context(xla.explain_out_of_memory(what, lambda: fewer if rows > 1 else smaller))
        seconds = measure_step(program, state, lambda: training.stacked({}), config)
        console.say(
            f"{_folds(folds.values())}: {count_parameters(state.params) // len(state.step):,} parameters each, "
            f"{config.train.epochs} epochs of {', '.join(str(fold.steps) for fold in folds.values())} x "
            f"{config.train.batch_size} {network.unit} in one program, {rows} fold{'s' * (rows > 1)} a device on "
            f"{mesh.size} {jax.devices()[0].platform} device{'s' * (mesh.size > 1)}; {seconds:.3f} s for a step of "
            f"all measured: about {console.duration(left * seconds * 1.1)}"
        )
        bar = tqdm(total=left * training.count, unit="step", leave=False, disable=not sys.stderr.isatty())
        stack.callback(bar.close)
        watch = stack.enter_context(Watch())
        while folds:
            state, trained = training.run_epochs(state, folds, batches, watch, bar)
            for row, fold in list(folds.items()):
                own_state, now = parallel.replicate(trained[row][0], made.mesh), trained[row][1]
                (fold.finish_epoch if now.step == fold.rest_of_epoch()[1] else fold.save_within)(own_state, now)
            if watch.should_stop(0) and not all(fold.is_finished for fold in folds.values()):
                steps = ", ".join(f"{fold.saved_step():,}" for fold in folds.values())
                raise Interrupted(
                    f"{watch.received}: {_folds(folds.values())} are saved after steps {steps}; the same command "
                    "resumes there"
                )
            folds = {row: fold for row, fold in folds.items() if not fold.is_finished}


@dataclasses.dataclass(frozen=True, eq=False)
class _Training:
    """The program of all folds, and how their states and batches lie on the devices.

    Attributes:
      config: of the run.
      program: from `compile_folds`.
      mesh, rows: from `fold_mesh`.
      padding: a batch for a fold that makes no update.
    """

    config: Config
    program: Callable
    mesh: Mesh
    rows: int
    padding: loader.Batch

    @property
    def count(self) -> int:
        """F, the rows of all devices."""
        return self.mesh.size * self.rows

    def place(self, tree: Any) -> Any:
        """Starts copying a tree of arrays [F, ...] to the devices."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec(FOLD_AXIS)))

    def row_of(self, state: TrainState, row: int) -> TrainState:
        """A fold's own state, on its device."""
        device, index = self.mesh.devices.flat[row // self.rows], row % self.rows

        def own(x: jax.Array) -> jax.Array:
            return next(shard.data for shard in x.addressable_shards if shard.device == device)[index]

        return jax.tree.map(own, state)

    def with_rows(self, state: TrainState, own: Mapping[int, TrainState]) -> TrainState:
        """The state with other states in some of its rows; they stay on their devices."""
        devices = list(self.mesh.devices.flat)

        def replaced(x: jax.Array, *leaves: jax.Array) -> jax.Array:
            parts = {devices.index(shard.device): shard.data for shard in x.addressable_shards}
            for row, leaf in zip(own, leaves, strict=True):
                part, index = row // self.rows, row % self.rows
                parts[part] = leaf[None] if self.rows == 1 else parts[part].at[index].set(leaf)
            return jax.make_array_from_single_device_arrays(x.shape, x.sharding, list(parts.values()))

        return jax.tree.map(replaced, state, *own.values()) if own else state

    def stacked(self, batches: Mapping[int, loader.Batch]) -> DeviceBatch:
        """Starts copying a batch of each row to the devices, padding where there is none."""
        return self.place(
            _stack([{**batches.get(row, self.padding), TRAINING_ROW: np.int32(row)} for row in range(self.count)])
        )

    def run_epochs(
        self,
        state: TrainState,
        folds: Mapping[int, Fold],
        batches: Mapping[int, Iterator[loader.Batch]],
        watch: Watch,
        bar: tqdm,
    ) -> tuple[TrainState, dict[int, tuple[TrainState, epoch.Epoch]]]:
        """Trains each fold to the end of its epoch.

        Where a fold has fewer updates than others, its state is kept when it ends and put back when they do; its row
        goes on with padding, as a condition in the program would cost time and change the rounding.

        Args:
          state: of all folds; its buffers are donated.
          folds, batches: by row of the state.
          watch, bar: as in `epoch.run_epoch`.

        Returns:
          (the state, {row: its own state and epoch}), before the epochs' ends only if a signal has arrived.
        """
        epochs = {row: fold.rest_of_epoch() for row, fold in folds.items()}
        updates = {row: stop - now.step for row, (now, stop) in epochs.items()}
        checks = {row: fold.on_update() for row, fold in folds.items()}
        size = self.config.train.batch_size

        def stacked() -> Iterator[DeviceBatch]:
            for dispatch in range(max(updates.values())):
                yield self.stacked({row: next(batches[row]) for row in folds if dispatch < updates[row]})

        ended: dict[int, TrainState] = {}  # before the others
        dispatches = itertools.count()

        def program(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, Metrics]:
            dispatch = next(dispatches)
            ended.update({row: self.row_of(state, row) for row in folds if updates[row] == dispatch})
            return self.program(state, batch)

        def note(number: int, update: Update) -> None:
            dispatch, row = divmod(number, self.count)
            if dispatch < updates.get(row, 0):
                now = epochs[row][0]
                now.history.append(update)
                now.step, now.examples = now.step + 1, now.examples + size
                checks[row](now.step - 1, update)

        # An update of each row, as `run_epoch` counts them.
        every = epoch.Epoch(0, [])
        stop = max(updates.values()) * self.count
        with contextlib.closing(ahead_in_thread(stacked(), 2)) as placed:
            state = epoch.run_epoch(
                program, state, placed, every, stop=stop, batch_size=size, watch=watch, bar=bar, on_update=note
            )
        for now, _ in epochs.values():
            now.seconds, now.waited = every.seconds, every.waited
        states = {row: ended[row] if row in ended else self.row_of(state, row) for row in folds}
        return self.with_rows(state, ended), {row: (states[row], now) for row, (now, _) in epochs.items()}


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _folds(folds: Any) -> str:
    """Such as 'folds 0, 1, 2'."""
    return "folds " + ", ".join(fold.name.removeprefix("fold ") for fold in folds)
