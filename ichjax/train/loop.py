"""Training one fold, read from top to bottom."""

import contextlib
import copy
import dataclasses
import functools
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import jax
import ml_collections
from tqdm import tqdm

from ichjax import console, hosts, xla
from ichjax.config import Config, fields_of
from ichjax.data import loader
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError, Interrupted
from ichjax.models.network import Network, count_parameters
from ichjax.ops.augment import AffineRange
from ichjax.train import checkpoint, epoch, initial, log, memory, parallel, profile
from ichjax.train.interrupt import Watch
from ichjax.train.state import TrainState, create, make_optimizer, make_schedule
from ichjax.train.step import StepSettings, make_train_step, make_validation_step, merge


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """What training gives: the network's parameters at the best epoch, which epoch, and its validation score."""

    params: dict
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
    """Trains a network on `train` and keeps the epoch with the highest soft Jaccard on `valid`.

    Called again in the same folder, it goes on after the last update saved; a finished fold is only read. A
    checkpoint that cannot be read is said and passed over for the one before it.

    Raises:
      InputError: no patch with a hemorrhage, fewer patches than a batch, a batch that the devices cannot share,
        a checkpoint that cannot be read or written, a loss that is not finite.
      Interrupted: SIGINT or SIGTERM came; everything up to the update in progress is saved.
    """
    # --- data
    limit, slices = config.train.examples_per_epoch, config.train.slices
    reader, epochs = _examples(config, network, train, config.train.negatives, fold, limit=limit, slices=slices)
    valid_reader, valid_epochs = _examples(config, network, valid, config.train.validation_negatives, fold)
    size, group = config.train.batch_size, config.train.steps_per_dispatch
    steps = epochs.steps(size)
    end = steps * config.train.epochs

    # --- devices, network, step
    mesh, schedule, train_step, validation_step = _programs(network, ml_collections.FrozenConfigDict(config), end)
    parallel.check_batch(size, mesh, config.train.accumulate)
    state = create(network, config, fold=fold)
    state = parallel.replicate(initial.weights(config, state, console.say), mesh)

    def fitting() -> contextlib.AbstractContextManager[None]:
        what = f"fold {fold}: a training step on {size // mesh.size} patches per device"
        compiled = functools.partial(_compiled_in_parts, network, config, end, state, reader)
        return xla.explain_out_of_memory(what, lambda: memory.smaller_step(config, mesh.size, compiled))

    # --- where it stopped
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
    state, done = checkpoints.restore_newest(state, console.say) or (state, checkpoint.Progress())
    if done.step < end:
        with fitting():
            seconds = _measure_step(train_step, state, reader, config, mesh)
        again = f"going on after step {done.step:,} of {end:,}, " if done.step else ""
        console.say(
            f"fold {fold}: {again}{count_parameters(state.params):,} parameters, {len(train)} training and "
            f"{len(valid)} validation scans, {config.train.epochs - done.epoch} epochs of {steps} x {size} patches "
            f"on {mesh.size} {jax.devices()[0].platform} device{'s' * (mesh.size > 1)}; {seconds:.3f} s a step "
            f"measured: about {console.duration((end - done.step) * seconds * 1.1)}"
        )

    # --- epochs
    fold_log = log.FoldLog(folder, epochs_done=done.epoch)
    reading = {"batch_size": size, "threads": config.train.read_threads, "share": parallel.rows_here(mesh, size)}
    batches = loader.training_batches(reader, epochs, start_step=done.step, stop_step=end, group=group, **reading)
    batches = parallel.prefetch(batches, mesh=mesh, mode=config.parallel, grouped=group > 1)
    valid_batches = functools.partial(loader.fixed_batches, valid_reader, valid_epochs.fixed(), **reading)
    program = profile.traced(train_step, config.profile_steps, folder / "profile", done.step)
    checked = _checked(config, epochs, steps, fold, checkpoints)
    hidden = not (sys.stderr.isatty() and hosts.is_first())
    bar = tqdm(total=end, initial=done.step, desc=f"fold {fold}", unit="step", leave=False, disable=hidden)
    best, history = done.best, done.history
    with contextlib.ExitStack() as stack:
        for closing in (bar.close, fold_log.close, lambda: checkpoints.close()):
            stack.callback(closing)
        stack.enter_context(fitting())
        watch = stack.enter_context(Watch())
        for number in range(done.epoch + 1, config.train.epochs + 1):
            now = epoch.Epoch(max(done.step, (number - 1) * steps), list(history))
            stop, history = number * steps, []
            state = epoch.run(
                program, state, batches, now, stop=stop, batch_size=size, watch=watch, bar=bar, checked=checked
            )
            state = parallel.as_global(state, mesh)
            if now.step < stop:
                _leave(checkpoints, checkpoint.Progress(now.step, number - 1, best, now.history), state, watch, fold)
            row = {"epoch": number, "step": stop, "learning_rate": float(schedule(stop)), **now.row()}
            remedy = functools.partial(memory.smaller_validation, config, mesh.size)
            with xla.explain_out_of_memory(
                f"fold {fold}: validation by {size // mesh.size} patches per device", remedy
            ):
                row |= _validate(validation_step, state, valid_batches(), mesh) | log.device_memory()
            if not math.isfinite(row["validation_loss"]):
                raise InputError(
                    f"fold {fold} epoch {number}: the validation loss is not finite; expected a lower "
                    f"config.train.learning_rate than {config.train.learning_rate:g}"
                )
            if row[checkpoint.SCORE] > best[checkpoint.SCORE]:
                best = {"epoch": number, "step": stop, checkpoint.SCORE: row[checkpoint.SCORE]}
            fold_log.write(row)
            checkpoints.save(checkpoint.Progress(stop, number, best), state, row[checkpoint.SCORE])
            _say_epoch(fold, row, config.train.epochs)
            if number < config.train.epochs and watch.leave(0):
                _leave(checkpoints, None, state, watch, fold)
        checkpoints.wait()
        if best["step"] not in (0, checkpoints.latest()):
            checkpoints.close()
            checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
            state, _ = checkpoints.restore(best["step"], state)
    return Fitted(jax.device_get(state.params), best["epoch"], best[checkpoint.SCORE])


def _checked(config, epochs: Epochs, steps: int, fold: int, checkpoints: checkpoint.Checkpoints) -> Callable:
    """What looks at each update: `epoch.refuse_nonfinite`, or nothing where `config.on_nonfinite` is 'skip'."""
    if config.on_nonfinite == "skip":
        return lambda step, update: None
    size = config.train.batch_size
    return epoch.refuse_nonfinite(
        fold=fold,
        learning_rate=config.train.learning_rate,
        examples=lambda step: epochs.order(step // steps)[step % steps * size :][:size],
        saved=checkpoints.latest,
    )


def _validate(validation_step: Callable, state: TrainState, batches: Iterable[dict], mesh) -> dict:
    """The epoch's scores on the validation patches; under jit, whatever the mode of training."""
    placed = (parallel.place(batch, mode="jit", mesh=mesh) for batch in batches)
    return merge(jax.device_get([validation_step(state.params, batch) for batch in placed]))


def _leave(
    checkpoints: checkpoint.Checkpoints,
    progress: checkpoint.Progress | None,
    state: TrainState,
    watch: Watch,
    fold: int,
) -> None:
    """Saves what is not saved yet, and says how to go on."""
    if progress is not None and progress.step > checkpoints.latest():
        checkpoints.save(progress, state)
    checkpoints.wait()
    raise Interrupted(
        f"{watch.asked}: fold {fold} is saved after step {checkpoints.latest():,}; the same command goes on from there"
    )


@functools.lru_cache(maxsize=2)
def _programs(network: Network, config: Config, total_steps: int) -> tuple:
    """(mesh, schedule, training step, validation step): made once for all folds, so that each is compiled once."""
    mesh = parallel.make_mesh()
    schedule = make_schedule(config, total_steps)
    ranges = AffineRange(**fields_of(config.augment))
    settings = StepSettings(ranges, config.seed, config.train.accumulate, config.on_nonfinite == "skip")
    make_step = functools.partial(make_train_step, network, make_optimizer(schedule), settings)
    grouped = config.train.steps_per_dispatch > 1
    train_step = parallel.compile_step(make_step, mode=config.parallel, mesh=mesh, grouped=grouped)
    validation_step = xla.jit(make_validation_step(network), out_shardings=parallel.whole(mesh))
    return mesh, schedule, train_step, validation_step


def _examples(
    config, network: Network, scans, negatives: str, fold: int, *, limit: int = 0, slices: str = "all"
) -> tuple[loader.PatchReader, Epochs]:
    if not scans:
        raise InputError(f"fold {fold}: no scan could be read for training or validation")
    table = patch_table(scans, side=config.patch.side, stride=config.patch.stride)
    reader = loader.PatchReader(scans, table, neighbors=network.neighbors)
    return reader, Epochs(table, negatives, config.seed, fold, limit, slices)


def _measure_step(train_step, state: TrainState, reader: loader.PatchReader, config, mesh) -> float:
    """Seconds of one update after compiling, on a copy of the state and an empty batch that leave no trace."""
    own = jax.tree.map(lambda x: x.copy(), state)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        own, _ = train_step(own, _empty_batch(reader, config, mesh))
        jax.block_until_ready(own)
        times.append(time.perf_counter() - started)
    return min(times[1:]) / config.train.steps_per_dispatch


def _empty_batch(reader: loader.PatchReader, config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh) -> dict:
    """A batch of no example, or several stacked, on the devices."""
    group = config.train.steps_per_dispatch
    here = len(parallel.rows_here(mesh, config.train.batch_size))
    empty = reader.empty_batch(*((group, here) if group > 1 else (here,)))
    return parallel.place(empty, mode=config.parallel, mesh=mesh, grouped=group > 1)


def _compiled_in_parts(
    network: Network,
    config: ml_collections.ConfigDict,
    total_steps: int,
    state: TrainState,
    reader: loader.PatchReader,
    parts: int,
) -> jax.stages.Compiled:
    """The training step with another `config.train.accumulate`; the buffers of `state` may be gone."""
    changed = copy.deepcopy(config)
    changed.train.accumulate = parts
    mesh, _, train_step, _ = _programs(network, ml_collections.FrozenConfigDict(changed), total_steps)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    return train_step.lower(shapes, _empty_batch(reader, config, mesh)).compile()


def _say_epoch(fold: int, row: dict, epochs: int) -> None:
    skipped = f"  {row['skipped']} updates not finite, left out" if row["skipped"] else ""
    dead = "  THE OUTPUT IS CONSTANT: the network died or collapsed" if row["constant_output"] else ""
    console.say(
        f"fold {fold} epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:.4f}  validation loss "
        f"{row['validation_loss']:.4f}  Jaccard {row['validation_jaccard']:.3f}  Dice {row['validation_dice']:.3f}  "
        f"{row['examples_per_second']:.0f} patches/s  waiting {row['wait_share']:.0%}{skipped}{dead}"
    )
