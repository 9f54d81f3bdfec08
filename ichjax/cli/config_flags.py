"""Reads a configuration from the command line: --config=FILE and the --config.FIELD=VALUE that override it."""

import difflib
import pathlib
import re
import runpy
from collections.abc import Iterable
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from ichjax import config as configs
from ichjax.cli.config_files import find_config
from ichjax.config import Config
from ichjax.errors import InputError

MAX_REASON = 400  # characters of another library's message that are quoted


def read_config(words: list[str], *, need_file: bool = True) -> Config:
    """Reads --config=FILE (or the name of a file in configs/) and the --config.FIELD=VALUE that override it.

    Args:
      words: the flags.
      need_file: whether a file is required; otherwise the defaults are used without one.

    Raises:
      InputError: the file is missing or is not a configuration, or a field is unknown or has the wrong type.
    """
    files = [word for word in words if word.startswith("--config=")]
    if not files and need_file:
        raise InputError("no configuration given; expected --config=configs/NAME.py")
    config = _load(find_config(files[-1].removeprefix("--config="))) if files else configs.default()
    known = configs.flatten(config)
    overrides = [word for word in words if word not in files]
    for word in overrides:
        field = word.removeprefix("--config.").split("=", 1)[0]
        if inside := [name for name in known if name.startswith(f"{field}.")]:
            raise InputError(f"config.{field} is a group of fields; expected one of them, such as config.{inside[0]}")
        if field not in known:
            raise InputError(f"there is no field config.{field}; did you mean config.{_nearest(field, known)}?")
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=["ichjax", *overrides])
        values(["ichjax", *overrides])
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(f"the command line cannot be used: {_message(error)[:MAX_REASON]}") from error
    return values.config


def read_predict_fields(words: list[str]) -> dict[str, Any]:
    """{field of config.predict: value} of the --config.predict.FIELD=VALUE that `predict` accepts.

    Raises:
      InputError: any other field, or as `read_config` does.
    """
    prefix = "--config.predict."
    if other := [word for word in words if not word.startswith(prefix)]:
        raise InputError(
            f"{other[0].split('=')[0]}: predict uses the run's own configuration; expected {prefix}FIELD=VALUE"
        )
    fields = configs.fields_of(read_config(words, need_file=False).predict)
    return {name: fields[name] for name in (word.removeprefix(prefix).split("=")[0] for word in words)}


def _load(path: pathlib.Path) -> Config:
    """The result of a file's get_config(); the file is the user's code, so it may raise anything."""
    try:
        if path.suffix != ".py":
            raise ImportError("its name does not end in .py")
        # Not imported: Python's bytecode cache would return the older of two versions written within a second.
        contents = runpy.run_path(str(path))
        if "get_config" not in contents:
            raise AttributeError("it has no attribute 'get_config'")
        config = contents["get_config"]()
    except Exception as error:
        reason = _message(error)
        if unknown := re.search(r"Did you mean \W*(\w+)\W* instead of \W*(\w+)", reason):
            reason = f"there is no field {unknown[2]!r}; did you mean {unknown[1]!r}?"
        raise InputError(
            f"{path}: is not a usable configuration ({type(error).__name__}: {reason[:MAX_REASON]})"
        ) from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise InputError(f"{path}: get_config() returns a {type(config).__name__}; expected a ConfigDict")
    return config


def _message(error: Exception) -> str:
    """An exception's message on one line."""
    return " ".join(str(error.args[0] if error.args else error).replace("\\n", " ").split())


def _nearest(field: str, known: Iterable[str]) -> str:
    """The known field whose name, in full or its last part, is most like the given one."""

    def likeness(other: str) -> float:
        pairs = ((field, other), (field.split(".")[-1], other.split(".")[-1]))
        return sum(difflib.SequenceMatcher(None, a, b).ratio() for a, b in pairs)

    return max(sorted(known), key=likeness)
