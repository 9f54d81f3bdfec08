"""Training one fold, read from top to bottom."""

import dataclasses
import functools
import math
import pathlib
import sys
import time
from collections.abc import Sequence

import jax
import ml_collections
import numpy as np
from tqdm import tqdm

from ichjax.data import loader
from ichjax.data.cache import CachedScan
from ichjax.data.patch_table import Epochs, patch_table
from ichjax.errors import InputError
from ichjax.models.unet import count_parameters
from ichjax.ops.augment import AffineRange
from ichjax.train import checkpoint, log, parallel
from ichjax.train.state import TrainState, create, make_model, make_optimizer, make_schedule
from ichjax.train.step import StepSettings, make_train_step, make_validation_step, merge


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """What training gives: the network's parameters at the best epoch, which epoch, and its validation score."""

    params: dict
    epoch: int
    validation_jaccard: float


def train_fold(
    config: ml_collections.ConfigDict,
    train: Sequence[CachedScan],
    valid: Sequence[CachedScan],
    *,
    folder: pathlib.Path,
    fold: int,
) -> Fitted:
    """Trains the network of `config` on `train` and keeps the epoch with the highest soft Jaccard on `valid`.

    Called again in the same folder, it goes on after the last epoch saved; a finished fold is only read. A
    checkpoint that cannot be read is said and passed over for the one before it.

    Raises:
      InputError: no patch with a hemorrhage, fewer patches than a batch, a batch that the devices cannot share,
        a checkpoint that cannot be read.
    """
    # --- data
    limit, slices = config.train.examples_per_epoch, config.train.slices
    reader, epochs = _examples(config, train, config.train.negatives, fold, limit=limit, slices=slices)
    valid_reader, valid_epochs = _examples(config, valid, config.train.validation_negatives, fold)
    valid_rows = valid_epochs.fixed()
    steps = epochs.steps(config.train.batch_size)

    # --- devices, network, step
    mesh, schedule, train_step, validation_step = _programs(
        ml_collections.FrozenConfigDict(config), steps * config.train.epochs
    )
    parallel.check_batch(config.train.batch_size, mesh)
    state = parallel.replicate(create(config, fold=fold), mesh)

    # --- where it stopped
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
    found = checkpoints.restore_newest(state, log.say)
    done, state, best = found or (0, state, {"epoch": 0, checkpoint.SCORE: -math.inf})
    if done < config.train.epochs:
        seconds = _measure_step(train_step, state, config, mesh)
        rest = (config.train.epochs - done) * steps * seconds
        log.say(
            f"fold {fold}: {count_parameters(state.params):,} parameters, {len(train)} training and {len(valid)} "
            f"validation scans, {config.train.epochs - done} epochs of {steps} x {config.train.batch_size} patches "
            f"on {mesh.size} {jax.devices()[0].platform} device{'s' * (mesh.size > 1)}; {seconds:.3f} s a step "
            f"measured: about {log.duration(rest * 1.1)}"
        )

    # --- epochs
    fold_log = log.FoldLog(folder, epochs_done=done)
    reading = {"batch_size": config.train.batch_size, "threads": config.train.read_threads}
    batches = loader.training_batches(
        reader, epochs, start_step=done * steps, stop_step=config.train.epochs * steps, **reading
    )
    batches = parallel.prefetch(batches, mode=config.parallel, mesh=mesh)
    valid_batches = functools.partial(loader.fixed_batches, valid_reader, valid_rows, **reading)
    place = functools.partial(parallel.place, mode="jit", mesh=mesh)  # for validation, whatever the mode of training
    try:
        for epoch in range(done + 1, config.train.epochs + 1):
            state, row = _train_epoch(train_step, state, batches, steps, f"fold {fold} epoch {epoch}")
            sums = [validation_step(state.params, place(batch)) for batch in valid_batches()]
            row |= merge(jax.device_get(sums))
            row = {"epoch": epoch, "step": epoch * steps, "learning_rate": float(schedule(epoch * steps)), **row}
            if not math.isfinite(row["loss"] + row["validation_loss"] + row["gradient_norm"]):
                raise InputError(
                    f"fold {fold} epoch {epoch}: the loss or its gradient is not finite; expected a lower "
                    f"config.train.learning_rate than {config.train.learning_rate}"
                )
            if row[checkpoint.SCORE] > best[checkpoint.SCORE]:
                best = {"epoch": epoch, checkpoint.SCORE: row[checkpoint.SCORE]}
            fold_log.write(row)
            checkpoints.save(epoch, state, row, best)
            _say_epoch(fold, row, config.train.epochs)
        checkpoints.close()
        checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
        if best["epoch"] not in (0, checkpoints.latest()):
            state, _ = checkpoints.restore(best["epoch"], state)
    finally:
        fold_log.close()
        checkpoints.close()
    return Fitted(jax.device_get(state.params), best["epoch"], best[checkpoint.SCORE])


@functools.lru_cache(maxsize=2)
def _programs(config: ml_collections.FrozenConfigDict, total_steps: int) -> tuple:
    """(mesh, schedule, training step, validation step): made once for all folds, so that each is compiled once."""
    mesh = parallel.make_mesh()
    schedule = make_schedule(config, total_steps)
    model = make_model(config)
    ranges = AffineRange(**config.augment.to_dict())
    loss = {name: config.train[name] for name in ("dice_weight", "positive_weight")}
    settings = StepSettings(config.windows, ranges, config.seed, **loss, corner_pixel=config.patch.corner_pixel)
    make_step = functools.partial(make_train_step, model, make_optimizer(schedule), settings)
    train_step = parallel.compile_step(make_step, mode=config.parallel, mesh=mesh)
    return mesh, schedule, train_step, jax.jit(make_validation_step(model, settings))


def _examples(
    config, scans, negatives: str, fold: int, *, limit: int = 0, slices: str = "all"
) -> tuple[loader.PatchReader, Epochs]:
    if not scans:
        raise InputError(f"fold {fold}: no scan could be read for training or validation")
    table = patch_table(scans, side=config.patch.side, stride=config.patch.stride)
    return loader.PatchReader(scans, table), Epochs(table, negatives, config.seed, fold, limit, slices)


def _measure_step(train_step, state: TrainState, config, mesh) -> float:
    """Seconds of one step after compiling, on a copy of the state and an empty batch that leave no trace."""
    size, side = config.train.batch_size, config.patch.side
    empty = {
        "image": np.zeros((size, side, side), np.int16),
        "mask": np.zeros((size, side, side), np.uint8),
        "index": np.zeros(size, np.int32),
        "weight": np.ones(size, np.float32),
    }
    copy = jax.tree.map(lambda x: x.copy(), state)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        copy, _ = train_step(copy, parallel.place(empty, mode=config.parallel, mesh=mesh))
        jax.block_until_ready(copy)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def _train_epoch(train_step, state: TrainState, batches, steps: int, label: str) -> tuple[TrainState, dict]:
    """One epoch's steps; metrics stay on the device until its end, so that no step waits for the host."""
    started, waited, history, examples = time.perf_counter(), 0.0, [], 0
    for _ in tqdm(range(steps), label, leave=False, disable=not sys.stderr.isatty()):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        state, metrics = train_step(state, batch)
        history.append(metrics)
        examples += batch["weight"].size
    history = jax.device_get(history)
    seconds = time.perf_counter() - started
    return state, {
        "loss": float(np.mean([m["loss"] for m in history])),
        "gradient_norm": float(np.mean([m["gradient_norm"] for m in history])),
        "examples_per_second": examples / seconds,
        "wait_share": waited / seconds,
        "seconds": seconds,
    }


def _say_epoch(fold: int, row: dict, epochs: int) -> None:
    dead = "  THE OUTPUT IS CONSTANT: the network died or collapsed" if row["constant_output"] else ""
    log.say(
        f"fold {fold} epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:.4f}  validation loss "
        f"{row['validation_loss']:.4f}  Jaccard {row['validation_jaccard']:.3f}  Dice {row['validation_dice']:.3f}  "
        f"{row['examples_per_second']:.0f} patches/s  waiting {row['wait_share']:.0%}{dead}"
    )
