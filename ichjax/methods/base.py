"""A method: a way to turn scans into masks. Cross-validation, scoring and the report know nothing else about it."""

import importlib
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import ml_collections

from ichjax.data.cache import CachedScan
from ichjax.data.volume import Volume
from ichjax.errors import InputError

METHODS = {"unet": "U-Net", "threshold": "Threshold"}  # methods/NAME.py, and what tables call it


class Prediction(NamedTuple):
    """What a method says about a scan.

    Attributes:
      probability: float32 [D, H, W] in [0, 1], on the device, on the scan's own grid.
      slice_scores: float32 [D] or None.
      subtype_scores: float32 [D, 5] or None.
    """

    probability: jax.Array
    slice_scores: jax.Array | None = None
    subtype_scores: jax.Array | None = None


class PostProcess(NamedTuple):
    """From probability to mask: a threshold, closing and opening, and what else belongs to it.

    Attributes:
      threshold: a pixel is positive above it.
      thresholds: those at which slice detection is reported; `threshold` need not be one of them.
      closing_px, opening_px: kernel sides in pixels, 0 for none.
      chosen_on: what the threshold was chosen on, in words.
    """

    threshold: float
    thresholds: tuple[float, ...]
    closing_px: int
    opening_px: int
    chosen_on: str

    @property
    def all_thresholds(self) -> tuple[float, ...]:
        """`thresholds` and `threshold`, ascending, each once."""
        return tuple(sorted({*self.thresholds, self.threshold}))


class Method(Protocol):
    """One object with two functions, `fit` and `predict`; `load` reads again what `fit` wrote."""

    post: PostProcess

    def fit(self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, workdir: pathlib.Path, fold: int) -> Any:
        """Learns from `train`, chooses on `valid`, writes to `workdir`; in a finished `workdir` only reads."""

    def predict(self, params: Any, volume: Volume) -> Prediction:
        """The probability of hemorrhage on the scan's own grid."""

    def load(self, workdir: pathlib.Path) -> Any:
        """The parameters that `fit` returned, from its finished `workdir`."""

    def announce(self, params: Any, volumes: Sequence[Volume], what: str) -> None:
        """Prints, before long work, how long it will take on this machine to predict `volumes`."""

    def chosen(self, params: Any) -> dict:
        """What `fit` chose, for results.json: numbers by name. A method whose thresholds are not `post.threshold`
        says them as 'thresholds', and results.json reports them fold by fold."""


def make(name: str, config: ml_collections.ConfigDict) -> Method:
    """The method of that name, with the fields of `config` that are its.

    Raises:
      InputError: there is no such method.
    """
    if name not in METHODS:
        raise InputError(f"config names the method {name!r}; expected one of {', '.join(METHODS)}")
    return importlib.import_module(f"ichjax.methods.{name}").make(config)
