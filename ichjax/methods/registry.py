"""The methods by name; a new method is a file in this folder and a line here."""

import importlib

from ichjax.config import Config
from ichjax.errors import InputError
from ichjax.methods.base import Method

# {config.method: a module with make(config)}. Imported on demand, so that a method costs no time, and needs no
# libraries, unless it is used.
METHODS = {
    "unet": "ichjax.methods.unet",
    "threshold": "ichjax.methods.threshold",
    "full_slices": "ichjax.methods.full_slices",
    "subtypes": "ichjax.methods.subtypes",
    "recurrent_unet": "ichjax.methods.recurrent_unet",
    "yuh": "ichjax.methods.yuh",
    "li": "ichjax.methods.li",
    "chan": "ichjax.methods.chan",
    "bhadauria": "ichjax.methods.bhadauria",
    "prakash": "ichjax.methods.prakash",
    "gautam": "ichjax.methods.gautam",
    "nag": "ichjax.methods.nag",
    "muschelli": "ichjax.methods.muschelli",
    "shahangian": "ichjax.methods.shahangian",
    "prevedello": "ichjax.methods.prevedello",
    "chilamkurthy": "ichjax.methods.chilamkurthy",
    "lee": "ichjax.methods.lee",
    "ye": "ichjax.methods.ye",
    "grewal": "ichjax.methods.grewal",
    "kuo": "ichjax.methods.kuo",
    "kuang": "ichjax.methods.kuang",
    "cho": "ichjax.methods.cho",
    "arbabshirani": "ichjax.methods.arbabshirani",
    "jnawali": "ichjax.methods.jnawali",
    "chang": "ichjax.methods.chang",
}


def make(name: str, config: Config) -> Method:
    """The method of that name.

    Raises:
      InputError: there is no such method, or a field of `config` has an invalid value.
    """
    if name not in METHODS:
        raise InputError(f"config names the method {name!r}; expected one of {', '.join(METHODS)}")
    return importlib.import_module(METHODS[name]).make(config)
