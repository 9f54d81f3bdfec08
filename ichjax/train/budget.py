"""A training time in minutes as a number of epochs: measured once, recorded, and from then on fixed."""

import copy
import pathlib
from collections.abc import Callable

from ichjax import hosts
from ichjax.config import Config
from ichjax.console import say
from ichjax.errors import InputError
from ichjax.files import read_json, write_json

BUDGET_FILE = "budget.json"  # next to the folders of the folds, which share it


def with_epochs(config: Config, folder: pathlib.Path, seconds_per_epoch: Callable[[], float]) -> Config:
    """The configuration with the `train.epochs` that fit `train.minutes`; unchanged if that is 0.

    The first fold measures and records it, so that all folds of a run, and a run that is resumed on another machine,
    make the same updates.

    Args:
      config: of the run.
      folder: of the method, where `BUDGET_FILE` is read or written.
      seconds_per_epoch: measures an epoch with its validation.

    Raises:
      InputError: the record is of another number of minutes, or cannot be read.
    """
    minutes, path = config.train.minutes, folder / BUDGET_FILE
    if not minutes:
        return config
    if not path.is_file():
        seconds = seconds_per_epoch()
        if hosts.is_first():
            epochs = max(1, int(60 * minutes / seconds))
            write_json(path, {"minutes": minutes, "epochs": epochs, "seconds_per_epoch": round(seconds, 3)})
            say(f"{minutes:g} minutes a fold: {epochs} epochs at {seconds:.1f} s measured -> {path}")
        hosts.wait("the budget is recorded")
    record = read_json(path)
    if record.get("minutes") != minutes or not isinstance(record.get("epochs"), int) or record["epochs"] < 1:
        raise InputError(
            f"{path}: holds {record}; expected epochs for config.train.minutes={minutes:g}: use a new folder"
        )
    changed = copy.deepcopy(config)
    changed.train.epochs = record["epochs"]
    return changed
