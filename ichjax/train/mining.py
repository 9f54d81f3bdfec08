"""Mining of hard negatives: every few epochs the averaged weights score training patches without a hemorrhage.

The scores lie in the fold's folder before the checkpoint of their epoch does, so a run that is resumed draws the same
patches. Batches are read in periods that end where patches are scored, as what follows depends on the scores.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from ichjax import hosts, xla
from ichjax.config import Config
from ichjax.data import loader
from ichjax.data.hard_negatives import HardNegatives
from ichjax.data.patch_index import Epochs
from ichjax.errors import InputError
from ichjax.files import atomic
from ichjax.models.network import Network
from ichjax.train import parallel
from ichjax.train.step import DeviceBatch

Batches = TypeVar("Batches")
MAX_CANDIDATES = 4096  # patches that are scored, a fixed random choice if there are more


def with_hard_negatives(config: Config, epochs: Epochs) -> Epochs:
    """The same epochs, with a share of hard negatives if `config.train.hard_negatives` is above 0."""
    share = config.train.hard_negatives
    return (
        dataclasses.replace(epochs, hard=HardNegatives(share, epochs.candidates(MAX_CANDIDATES))) if share else epochs
    )


def steps_per_epoch(config: Config, epochs: Epochs) -> float:
    """Batches that are scored in an epoch, on average."""
    if epochs.hard is None:
        return 0.0
    return len(epochs.hard.rows) / config.train.batch_size / config.train.mine_every


def by_period(
    read: Callable[[int, int], Iterator[Batches]], *, start: int, stop: int, period: int
) -> Generator[Batches]:
    """Yields the batches of read(first step, last step + 1), which is called for a period when its first is needed.

    Args:
      read: may read ahead.
      start, stop: steps.
      period: steps, counted from 0; 0 for one call.
    """
    while start < stop:
        end = min((start // period + 1) * period, stop) if period else stop
        yield from read(start, end)
        start = end


def mine(
    hard: HardNegatives,
    network: Network,
    config: Config,
    weights: dict[str, Any],
    reader: loader.BatchReader,
    *,
    mesh: Mesh,
    folder: pathlib.Path,
    epoch: int,
) -> None:
    """Scores the patches of `hard`, adds the scores to it and writes them into the fold's folder.

    Args:
      hard: gets the masses.
      network, weights: that score.
      config: of the run.
      reader: of the training scans.
      mesh: of the devices.
      folder: of the fold.
      epoch: epochs completed.

    Raises:
      InputError: the file cannot be written.
    """
    size = config.train.batch_size
    batches = loader.fixed_batches(
        reader,
        hard.rows,
        batch_size=size,
        threads=config.train.read_threads,
        share=parallel.local_examples(mesh, size),
    )
    program = _program(network, mesh)
    parts = [program(weights, parallel.shard_batch(batch, mode="jit", mesh=mesh)) for batch in batches]
    hard.masses[epoch] = np.concatenate(jax.device_get(parts))[: len(hard.rows)]
    if not hosts.is_first():
        return
    path = _path(folder, epoch)
    try:
        with atomic(path) as temporary:
            np.save(temporary, hard.masses[epoch])
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); expected enough free disk space; the previous checkpoint "
            "is kept"
        ) from error


def restore(hard: HardNegatives, config: Config, *, folder: pathlib.Path, epochs_done: int) -> None:
    """Adds the latest scores before a checkpoint, if there were any by then.

    Raises:
      InputError: they are missing, damaged, or of other patches.
    """
    epoch = epochs_done // config.train.mine_every * config.train.mine_every
    if not epoch:
        return
    path = _path(folder, epoch)
    try:
        masses = np.load(path)
        if masses.shape != hard.rows.shape or masses.dtype != np.float32:
            raise ValueError(f"{masses.dtype} {list(masses.shape)}")
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); expected the scores of {len(hard.rows)} patches after epoch {epoch}: "
            "delete the fold's folder to train it again"
        ) from error
    hard.masses[epoch] = masses


def is_due(config: Config, epoch: int) -> bool:
    """Whether patches are scored after so many epochs: not after the last, as no draw follows."""
    return epoch % config.train.mine_every == 0 and epoch < config.train.epochs


def make_mass_step(network: Network) -> Callable:
    """Returns mass_step(params, batch) -> float32 [B], the false-positive mass of patches without a hemorrhage.

    The sum of squared probabilities, in which a few false pixels outweigh the faint background of a whole patch.
    """

    def mass_step(params: dict[str, Any], batch: DeviceBatch) -> jax.Array:
        images = network.mark_corner(network.images(batch["image"]))
        return (network.probability(params, images) ** 2).sum(axis=(1, 2))

    return mass_step


@functools.lru_cache(maxsize=2)
def _program(network: Network, mesh: Mesh) -> Callable:
    """Compiled once for all folds; every process gets all scores."""
    return xla.jit(make_mass_step(network), out_shardings=parallel.replicated(mesh))


def _path(folder: pathlib.Path, epoch: int) -> pathlib.Path:
    return folder / f"hard_negatives_{epoch}.npy"
