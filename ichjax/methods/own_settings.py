"""The configuration of a method that differs from that of the run: its own defaults, changed by its options."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import ml_collections

from ichjax.config import Config, fields_of
from ichjax.errors import InputError

Fields = Mapping[str, Any]


def configured(config: Config, name: str, defaults: Fields) -> tuple[Config, dict[str, Any]]:
    """The run's configuration with a method's own fields, so that several methods can share a run.

    Args:
      config: of the run; `config.options[name]` changes some of `defaults`.
      name: of the method.
      defaults: options of the method by name; a dict is a group of the configuration with some of its fields, such as
        {"width": 16, "train": {"epochs": 8}}.

    Returns:
      (the configuration, the options without the groups).

    Raises:
      InputError: an unknown option or field, or a value of another type than the default's.
    """
    given = fields_of(config.options).get(name, {})
    if not isinstance(given, Mapping):
        raise InputError(f"config.options.{name} is {given!r}; expected fields of this method")
    changed: Any = copy.deepcopy(config)
    groups = {field for field in changed if isinstance(changed[field], ml_collections.ConfigDict)} - {"options"}
    options = {}
    for field, value in {**defaults, **given}.items():
        where = f"config.options.{name}.{field}"
        if field in groups:
            for inner, new in {**defaults.get(field, {}), **_group(where, value)}.items():
                _set(changed[field], inner, new, f"{where}.{inner}")
        elif field in changed:
            _set(changed, field, value, where)
        elif field not in defaults:
            expected = ", ".join(sorted(set(defaults) - groups) + sorted(groups))
            raise InputError(f"{where} is unknown to this method; expected one of {expected}")
        else:
            options[field] = checked(where, value, defaults[field])
    return changed, json.loads(json.dumps(options))


def _group(where: str, value: object) -> Fields:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} is {value!r}; expected some of the fields of config.{where.rpartition('.')[2]}")
    return value


def _set(group: ml_collections.ConfigDict, field: str, value: Any, where: str) -> None:
    if field not in group:
        raise InputError(
            f"{where} is {value!r}, but there is no such field; expected one of {', '.join(sorted(group))}"
        )
    try:
        group[field] = tuple(value) if isinstance(group[field], tuple) else value
    except TypeError as error:
        raise InputError(f"{where} is {value!r}; expected a {type(group[field]).__name__}") from error


def checked(where: str, value: Any, default: Any) -> Any:
    """The value of an option; InputError, which begins with `where`, if it is of another type than the default."""
    kind = int | float if isinstance(default, float) else list | tuple if isinstance(default, tuple) else type(default)
    if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
        raise InputError(f"{where} is {value!r}; expected a {type(default).__name__}")
    return value
