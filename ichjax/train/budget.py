"""A training time in minutes as a number of epochs: measured once, recorded, and from then on fixed."""

import copy
import os
import pathlib
import shutil
import time
import uuid
from collections.abc import Callable
from typing import Any

from ichjax import config as configs
from ichjax import hosts
from ichjax.config import Config
from ichjax.console import say
from ichjax.errors import InputError
from ichjax.files import read_json, write_json
from ichjax.train import checkpoint
from ichjax.train.state import TrainState

BUDGET_FILE = "budget.json"  # next to the folders of the folds, which share it
MEASURED_FOLDER = "measured_checkpoint"  # in the fold that measures, meanwhile


def saving_seconds(state: TrainState, folder: pathlib.Path) -> float:
    """Seconds that a checkpoint of `state` takes to be written in a fold's folder, where nothing of it stays.

    An epoch's checkpoint is written while the next epoch is trained, but takes the memory, the cores and the disk that
    training uses: on a GPU, with a large network, epochs took twice as long meanwhile.

    Args:
      state: of a training.
      folder: of the fold, which no other process writes to.

    Raises:
      InputError: it cannot be written.
    """
    place = folder / MEASURED_FOLDER
    _remove(place)  # of a run that was killed meanwhile
    checkpoints = checkpoint.Checkpoints(place)
    try:
        started = time.perf_counter()
        checkpoints.save(checkpoint.Progress(step=1), state)
        checkpoints.wait()
        return time.perf_counter() - started
    finally:
        checkpoints.close()
        _remove(place)


def _remove(place: pathlib.Path) -> None:
    if hosts.is_first():
        shutil.rmtree(place, ignore_errors=True)
    hosts.wait(f"{place.name} is removed")


def with_epochs(config: Config, folder: pathlib.Path, seconds_per_epoch: Callable[[], float]) -> Config:
    """The configuration with the `train.epochs` that fit `train.minutes`; unchanged if that is 0.

    The first fold measures and records it, so that all folds of a run, and a run that is resumed on another machine,
    make the same updates. Of processes that measure at the same time, the first to finish records. A record of another
    configuration is replaced: no fold has begun with it, or this one would have been refused.

    Args:
      config: of the run.
      folder: of the method, where `BUDGET_FILE` is read or written.
      seconds_per_epoch: measures an epoch with its validation and its checkpoint.

    Raises:
      InputError: the record cannot be read.
    """
    minutes, path, name = config.train.minutes, folder / BUDGET_FILE, configs.digest(config)
    if not minutes:
        return config
    if not _is_of(path, name, minutes):
        seconds = seconds_per_epoch()
        if hosts.is_first():
            epochs = max(1, int(60 * minutes / seconds))
            measured = {"config": name, "minutes": minutes, "epochs": epochs, "seconds_per_epoch": round(seconds, 3)}
            if _record(path, measured):
                say(f"{minutes:g} minutes a fold: {epochs} epochs at {seconds:.1f} s measured -> {path}")
        hosts.wait("the budget is recorded")
    record = read_json(path)
    if not isinstance(record.get("epochs"), int) or record["epochs"] < 1:
        raise InputError(
            f"{path}: holds {record}; expected epochs for config.train.minutes={minutes:g}: use a new folder"
        )
    changed = copy.deepcopy(config)
    changed.train.epochs = record["epochs"]
    return changed


def _is_of(path: pathlib.Path, name: str, minutes: float) -> bool:
    """Whether there is a record of the configuration with this digest; earlier versions recorded the minutes alone."""
    record = read_json(path) if path.is_file() else {}
    return record.get("minutes") == minutes and record.get("config", name) == name


def _record(path: pathlib.Path, measured: dict[str, Any]) -> bool:
    """Writes the record, if no other process has; whether it did."""
    if path.is_file() and not _is_of(path, measured["config"], measured["minutes"]):
        path.unlink(missing_ok=True)
    own = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        write_json(own, measured)
        os.link(own, path)  # fails where the file is there, unlike a rename
    except FileExistsError:
        return False
    finally:
        own.unlink(missing_ok=True)
    return True
