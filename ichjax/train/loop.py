"""Training loop of one fold."""

import contextlib
import functools
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import ml_collections
from tqdm import tqdm

from ichjax import console, hosts, xla
from ichjax.config import Config
from ichjax.data import loader
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import Interrupted
from ichjax.models.network import Network, count_parameters
from ichjax.train import budget, epoch, initial, memory, parallel, profile, programs
from ichjax.train.fold import Fitted, Fold, FoldData, read_data
from ichjax.train.interrupt import Watch
from ichjax.train.resident import hold_scans
from ichjax.train.state import TrainState, create
from ichjax.train.step import DeviceBatch

FORWARD_SHARE = 1 / 3  # of an update's time that a forward pass takes


def train_fold(
    config: Config,
    network: Network,
    train: Sequence[CachedScan],
    valid: Sequence[CachedScan],
    *,
    folder: pathlib.Path,
    fold: int,
) -> Fitted:
    """Trains a network on `train` and keeps the epoch with the highest soft Jaccard index on `valid`.

    Called again with the same folder, it resumes after the last saved update; a finished fold is only read. Damaged
    checkpoints are reported, and the newest readable one is used.

    Raises:
      InputError: no patch with a hemorrhage, fewer patches than a batch, a batch that does not split over the devices,
        no readable checkpoint, a checkpoint that cannot be written, a loss that is not finite.
      Interrupted: after SIGINT or SIGTERM; everything up to the update in progress is saved.
    """
    return train_on(config, network, read_data(config, network, train, valid, fold=fold), folder=folder, fold=fold)


def train_on(config: Config, network: Network, data: FoldData, *, folder: pathlib.Path, fold: int) -> Fitted:
    """As `train_fold`, on examples that are read in any way; raises as it does."""
    size, group = config.train.batch_size, config.train.steps_per_dispatch

    # --- devices, network, step
    measured = functools.partial(_seconds_per_epoch, config, network, data, folder, fold)
    config = budget.with_epochs(config, folder.parent, measured)
    end = data.steps * config.train.epochs
    made = programs.make(network, ml_collections.FrozenConfigDict(config), end)
    mesh, train_step = made.mesh, made.train_step
    parallel.check_batch(size, mesh, config.train.accumulate)
    state = initial.weights(config, create(network, config, fold=fold), console.say, fold=fold)
    state = parallel.replicate(state, mesh)

    def fitting() -> contextlib.AbstractContextManager[None]:
        what = f"fold {fold}: a training step on {size // mesh.size} {network.unit} per device"
        compiled = functools.partial(programs.compiled_in_parts, network, config, end, state, data.reader)
        return xla.explain_out_of_memory(what, lambda: memory.smaller_step(config, mesh.size, compiled, held))

    with contextlib.ExitStack() as stack:
        # --- resume
        run = Fold(config, network, data, made, folder=folder, number=fold)
        stack.callback(run.close)
        state = run.resume(state)
        done = run.progress
        held = None if run.is_finished else hold_scans(config, data.reader, mesh, fold=fold)
        if not run.is_finished:
            with fitting():
                empty = functools.partial(programs.empty_batch, data.reader, config, mesh, held)
                seconds = measure_step(train_step, state, empty, config)
            again = f"resuming after step {done.step:,} of {end:,}, " if done.step else ""
            console.say(
                f"fold {fold}: {again}{count_parameters(state.params):,} parameters, {data.scans[0]} training and "
                f"{data.scans[1]} validation scans, {config.train.epochs - done.epoch} epochs of {data.steps} x {size} "
                f"{network.unit} on {mesh.size} {jax.devices()[0].platform} device{'s' * (mesh.size > 1)}; "
                f"{seconds:.3f} s per step measured: about {console.duration((end - done.step) * seconds * 1.1)}"
            )

        # --- epochs
        run.open_log()

        def place(examples: Iterator[loader.Batch]) -> Iterator[DeviceBatch]:
            if held:
                return held.batches(examples)
            return parallel.prefetch(examples, mesh=mesh, mode=config.parallel, grouped=group > 1)

        batches, on_update = run.batches(place, held), run.on_update()
        program = profile.traced(train_step, config.profile_steps, folder / "profile", done.step)
        hidden = not (sys.stderr.isatty() and hosts.is_first())
        bar = tqdm(total=end, initial=done.step, desc=f"fold {fold}", unit="step", leave=False, disable=hidden)
        stack.callback(bar.close)
        stack.callback(batches.close)
        stack.enter_context(fitting())
        watch = stack.enter_context(Watch())
        while not run.is_finished:
            now, stop = run.rest_of_epoch()
            state = epoch.run_epoch(
                program, state, batches, now, stop=stop, batch_size=size, watch=watch, bar=bar, on_update=on_update
            )
            state = parallel.as_global(state, mesh)
            if now.step == stop:
                run.finish_epoch(state, now)
            else:
                run.save_within(state, now)
            if now.step < stop or (not run.is_finished and watch.should_stop(0)):
                raise Interrupted(
                    f"{watch.received}: fold {fold} is saved after step {run.saved_step():,}; the same command resumes "
                    "there"
                )
        return run.fitted(state)


def _seconds_per_epoch(config: Config, network: Network, data: FoldData, folder: pathlib.Path, fold: int) -> float:
    """Seconds of an epoch with its validation, mining and checkpoint, from those of an update and a checkpoint."""
    end = data.steps * config.train.epochs
    mesh, _, train_step, _ = programs.make(network, ml_collections.FrozenConfigDict(config), end)
    parallel.check_batch(config.train.batch_size, mesh, config.train.accumulate)
    state = parallel.replicate(create(network, config, fold=fold), mesh)
    seconds = measure_step(train_step, state, lambda: programs.empty_batch(data.reader, config, mesh), config)
    return seconds * (data.steps + data.forward_steps * FORWARD_SHARE) + budget.saving_seconds(state, folder)


def measure_step(
    train_step: Callable, state: TrainState, empty_batch: Callable[[], DeviceBatch], config: Config
) -> float:
    """Seconds per update after compilation, on a copy of the state and an empty batch."""
    own = jax.tree.map(lambda x: x.copy(), state)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        own, _ = train_step(own, empty_batch())
        jax.block_until_ready(own)
        times.append(time.perf_counter() - started)
    return min(times[1:]) / config.train.steps_per_dispatch
