"""Training loop of one fold."""

import contextlib
import dataclasses
import functools
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import ml_collections
from jax.sharding import Mesh
from tqdm import tqdm

from ichjax import console, hosts, xla
from ichjax.config import Config
from ichjax.data import loader
from ichjax.data.lesion_sampling import lesion_weights
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError, Interrupted
from ichjax.models.network import Network, count_parameters
from ichjax.train import (
    average,
    budget,
    checkpoint,
    epoch,
    initial,
    log,
    memory,
    mining,
    nonfinite,
    parallel,
    profile,
    programs,
)
from ichjax.train.interrupt import Watch
from ichjax.train.resident import hold_scans
from ichjax.train.state import TrainState, create
from ichjax.train.step import DeviceBatch, Validation, merge

FORWARD_SHARE = 1 / 3  # of an update's time that a forward pass takes


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """The result of training: the parameters at the best epoch, its number and its validation score."""

    params: dict[str, Any]
    epoch: int
    validation_jaccard: float


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
    # --- data
    fields = config.train
    chosen: dict[str, Any] = {"limit": fields.examples_per_epoch, "slices": fields.slices, "sampling": fields.sampling}
    classes = network.learns_classes
    reader, epochs = _examples(config, network, train, fields.negatives, fold, classes=classes, **chosen)
    epochs = mining.with_hard_negatives(config, epochs)
    valid_reader, valid_epochs = _examples(config, network, valid, config.train.validation_negatives, fold)
    size, group = config.train.batch_size, config.train.steps_per_dispatch
    steps = epochs.steps(size)
    forward_steps = -(-valid_epochs.examples // size) + mining.steps_per_epoch(config, epochs)

    # --- devices, network, step
    config = budget.with_epochs(
        config,
        folder.parent,
        functools.partial(_seconds_per_epoch, config, network, reader, steps, forward_steps, fold),
    )
    end = steps * config.train.epochs
    mesh, schedule, train_step, validation_step = programs.make(network, ml_collections.FrozenConfigDict(config), end)
    parallel.check_batch(size, mesh, config.train.accumulate)
    state = create(network, config, fold=fold)
    state = parallel.replicate(initial.weights(config, state, console.say), mesh)

    def fitting() -> contextlib.AbstractContextManager[None]:
        what = f"fold {fold}: a training step on {size // mesh.size} patches per device"
        compiled = functools.partial(programs.compiled_in_parts, network, config, end, state, reader)
        return xla.explain_out_of_memory(what, lambda: memory.smaller_step(config, mesh.size, compiled, held))

    # --- resume
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
    state, done = checkpoints.restore_newest(state, console.say) or (state, checkpoint.Progress())
    if epochs.hard and done.step < end:
        mining.restore(epochs.hard, config, folder=folder, epochs_done=done.epoch)
    held = hold_scans(config, reader, mesh, fold=fold) if done.step < end else None
    if done.step < end:
        with fitting():
            seconds = _measure_step(train_step, state, lambda: programs.empty_batch(reader, config, mesh, held), config)
        again = f"resuming after step {done.step:,} of {end:,}, " if done.step else ""
        console.say(
            f"fold {fold}: {again}{count_parameters(state.params):,} parameters, {len(train)} training and "
            f"{len(valid)} validation scans, {config.train.epochs - done.epoch} epochs of {steps} x {size} patches "
            f"on {mesh.size} {jax.devices()[0].platform} device{'s' * (mesh.size > 1)}; {seconds:.3f} s per step "
            f"measured: about {console.duration((end - done.step) * seconds * 1.1)}"
        )

    # --- epochs
    fold_log = log.FoldLog(folder, epochs_done=done.epoch)
    threads, share = config.train.read_threads, parallel.local_examples(mesh, size)

    def read(start: int, stop: int) -> Iterator[DeviceBatch]:
        source: loader.Reader = held or reader
        examples = loader.training_batches(
            source, epochs, batch_size=size, start_step=start, stop_step=stop, threads=threads, group=group, share=share
        )
        if held:
            return held.batches(examples)
        return parallel.prefetch(examples, mesh=mesh, mode=config.parallel, grouped=group > 1)

    period = steps * config.train.mine_every if epochs.hard else 0
    batches = mining.by_period(read, start=done.step, stop=end, period=period)
    valid_batches = functools.partial(
        loader.fixed_batches, valid_reader, valid_epochs.fixed(), batch_size=size, threads=threads, share=share
    )
    program = profile.traced(train_step, config.profile_steps, folder / "profile", done.step)
    on_update = nonfinite.make_on_update(config, epochs, steps, fold, checkpoints)
    hidden = not (sys.stderr.isatty() and hosts.is_first())
    bar = tqdm(total=end, initial=done.step, desc=f"fold {fold}", unit="step", leave=False, disable=hidden)
    best, history = done.best, done.history
    with contextlib.ExitStack() as stack:
        for closing in (bar.close, batches.close, fold_log.close, lambda: checkpoints.close()):
            stack.callback(closing)
        stack.enter_context(fitting())
        watch = stack.enter_context(Watch())
        for number in range(done.epoch + 1, config.train.epochs + 1):
            now = epoch.Epoch(max(done.step, (number - 1) * steps), list(history))
            stop, history = number * steps, []
            state = epoch.run_epoch(
                program, state, batches, now, stop=stop, batch_size=size, watch=watch, bar=bar, on_update=on_update
            )
            state = parallel.as_global(state, mesh)
            if now.step < stop:
                progress = checkpoint.Progress(now.step, number - 1, best, now.history)
                _save_and_stop(checkpoints, progress, state, watch, fold)
            row: dict[str, Any] = {"epoch": number, "step": stop, "learning_rate": float(schedule(stop)), **now.row()}
            what = f"fold {fold}: validation on {size // mesh.size} patches per device"
            with xla.explain_out_of_memory(what, functools.partial(memory.smaller_validation, config, mesh.size)):
                row |= _validate(validation_step, state, valid_batches(), mesh) | log.device_memory()
                if epochs.hard and mining.is_due(config, number):
                    weights = average.averaged(state.params, state.opt_state)
                    mining.mine(epochs.hard, network, config, weights, reader, mesh=mesh, folder=folder, epoch=number)
            if not math.isfinite(row["validation_loss"]):
                raise InputError(
                    f"fold {fold} epoch {number}: the validation loss is not finite; expected a finite loss: set "
                    f"config.train.learning_rate below {config.train.learning_rate:g}"
                )
            if row[checkpoint.SCORE] > best[checkpoint.SCORE]:
                best = {"epoch": number, "step": stop, checkpoint.SCORE: row[checkpoint.SCORE]}
            fold_log.write(row)
            checkpoints.save(checkpoint.Progress(stop, number, best), state, row[checkpoint.SCORE])
            _report_epoch(fold, row, config.train.epochs)
            if number < config.train.epochs and watch.should_stop(0):
                _save_and_stop(checkpoints, None, state, watch, fold)
        checkpoints.wait()
        if best["step"] not in (0, checkpoints.latest()):
            checkpoints.close()
            checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
            state, _ = checkpoints.restore(best["step"], state)
    weights = average.averaged(state.params, state.opt_state)
    return Fitted(jax.device_get(weights), best["epoch"], best[checkpoint.SCORE])


def _validate(validation_step: Callable, state: TrainState, batches: Iterable[loader.Batch], mesh: Mesh) -> Validation:
    """Scores of the validation patches; under jit, whatever the mode of training."""
    weights = average.averaged(state.params, state.opt_state)
    on_devices = (parallel.shard_batch(batch, mode="jit", mesh=mesh) for batch in batches)
    return merge(jax.device_get([validation_step(weights, batch) for batch in on_devices]))


def _save_and_stop(
    checkpoints: checkpoint.Checkpoints,
    progress: checkpoint.Progress | None,
    state: TrainState,
    watch: Watch,
    fold: int,
) -> None:
    """Saves the state if it is not saved yet, and raises Interrupted."""
    if progress is not None and progress.step > checkpoints.latest():
        checkpoints.save(progress, state)
    checkpoints.wait()
    raise Interrupted(
        f"{watch.received}: fold {fold} is saved after step {checkpoints.latest():,}; the same command resumes there"
    )


def _examples(
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
) -> tuple[loader.PatchReader, Epochs]:
    """The patches of scans and their order."""
    if not scans:
        raise InputError(f"fold {fold}: no scan could be read for training or validation")
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
    return reader, Epochs(table, negatives, config.seed, fold, limit, slices, weights)


def _seconds_per_epoch(
    config: Config, network: Network, reader: loader.PatchReader, steps: int, forward_steps: float, fold: int
) -> float:
    """Seconds of an epoch with its validation and mining, from the measured time of an update."""
    mesh, _, train_step, _ = programs.make(
        network, ml_collections.FrozenConfigDict(config), steps * config.train.epochs
    )
    parallel.check_batch(config.train.batch_size, mesh, config.train.accumulate)
    state = parallel.replicate(create(network, config, fold=fold), mesh)
    seconds = _measure_step(train_step, state, lambda: programs.empty_batch(reader, config, mesh), config)
    return seconds * (steps + forward_steps * FORWARD_SHARE)


def _measure_step(
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


def _report_epoch(fold: int, row: dict[str, Any], epochs: int) -> None:
    """Prints one line."""
    skipped = f"  {row['skipped']} updates not finite, skipped" if row["skipped"] else ""
    dead = "  THE OUTPUT IS CONSTANT: the network died or collapsed" if row["constant_output"] else ""
    console.say(
        f"fold {fold} epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:.4f}  validation loss "
        f"{row['validation_loss']:.4f}  Jaccard {row['validation_jaccard']:.3f}  Dice {row['validation_dice']:.3f}  "
        f"{row['examples_per_second']:.0f} patches/s  waiting {row['wait_share']:.0%}{skipped}{dead}"
    )
