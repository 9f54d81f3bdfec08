"""The methods by name: a new one is a file in this folder and a line here."""

import importlib

from ichjax.config import Config
from ichjax.errors import InputError
from ichjax.methods.base import Method

# {config.method: the module whose make(config) makes it}. Imported when asked for, so that a method costs the others
# nothing: neither the time nor what it needs to be installed.
METHODS = {
    "unet": "ichjax.methods.unet",
    "threshold": "ichjax.methods.threshold",
}


def make(name: str, config: Config) -> Method:
    """The method of that name, with the fields of `config` that it uses.

    Raises:
      InputError: there is no such method, or a field has a value that it cannot have.
    """
    if name not in METHODS:
        raise InputError(f"config names the method {name!r}; expected one of {', '.join(METHODS)}")
    return importlib.import_module(METHODS[name]).make(config)
