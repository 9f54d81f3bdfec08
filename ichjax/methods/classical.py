"""What the classical methods share: learning from training scans, storing what was learned, and predicting a scan."""

import abc
import json
import math
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ichjax import hosts
from ichjax.config import Config, fields_of
from ichjax.console import say
from ichjax.data.regrid import own_grid
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.files import atomic, read_json, write_json
from ichjax.methods import heads, views
from ichjax.methods.base import MODEL_FILE, Method, PostProcess, Prediction, digest
from ichjax.methods.heads import Head, Training, Trainings
from ichjax.methods.own_settings import checked
from ichjax.ops import resample
from ichjax.scan.volume import Volume

ARRAYS_FILE = "arrays.npz"  # of a fold: what is learned besides numbers
Params = dict[str, Any]


class Segmented(NamedTuple):
    """What a classical method finds in a head.

    Attributes:
      probability: float32 [D, h, w] in [0, 1], on the working grid.
      slice_scores: float32 [D], or None.
      subtype_scores: float32 [D, 5], or None.
    """

    probability: jax.Array
    slice_scores: jax.Array | None = None
    subtype_scores: jax.Array | None = None


class ClassicalMethod(Method):
    """Learns from scans on the working grid (`heads`) and segments one there; nothing outside the skull.

    Attributes:
      name: of the method, and of its options: `config.options[name]` changes some of `defaults`.
      defaults: its options.
      seconds_a_slice: for the estimate of the time, on two CPU cores.
    """

    mode = "inside the skull, in pixels of 1 mm"
    name: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    seconds_a_slice: ClassVar[float] = 0.1

    def __init__(self, config: Config):
        self.options = _options(config, self.name, self.defaults)
        predict = config.predict
        self.post = PostProcess(0.5, tuple(predict.thresholds), 0, 0, "training subjects of each fold (calibration)")
        self._program = jax.jit(self._predict)

    @abc.abstractmethod
    def learn(self, train: Sequence[Training], valid: Sequence[Training], *, fold: int) -> Params:
        """What the training scans tell: numbers, lists of numbers, and NumPy arrays, by name.

        Deterministic. At least one training scan has a hemorrhage.

        Raises:
          InputError: the scans lack what the method needs.
        """

    @abc.abstractmethod
    def segment(self, params: Params, head: Head) -> Segmented:
        """Segments a head; traceable, with `params` as arrays. Never NaN, and nothing outside `head.inside`."""

    def fit(self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, workdir: pathlib.Path, fold: int) -> Any:
        """Learns from the training scans; see `Method.fit`.

        Raises:
          InputError: no training scan has a hemorrhage, or see `learn`.
        """
        if (workdir / MODEL_FILE).is_file():
            return self.load(workdir)
        if not any(scan.truth_px.any() for scan in train):
            raise InputError(f"fold {fold}: no training slice has a hemorrhage; expected at least one")
        say(f"fold {fold}: learning from {len(train)} scans")
        params = self.learn(Trainings(train), Trainings(valid), fold=fold)
        numbers, arrays = _split(params)
        workdir.mkdir(parents=True, exist_ok=True)
        if hosts.is_first():
            with atomic(workdir / ARRAYS_FILE) as path, path.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            write_json(workdir / MODEL_FILE, {"method": self.name, "options": self.options, "learned": numbers})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in _scalars(numbers).items())
        say(f"fold {fold}: {shown or 'learned'}")
        return numbers | arrays

    def predict(self, params: Params, volume: Volume) -> Prediction:
        """Segments a scan on its own grid."""
        grid = heads.grid_of(volume)
        maps = views.grid_maps(own_grid(volume), grid)
        depth = len(volume.hu)
        head, found = heads.head_of(volume, grid)
        segmented = self._program(params, head, None if maps is None else maps[1])
        probability, slice_scores, subtype_scores = jax.tree.map(lambda x: x[:depth], segmented)
        return Prediction(probability, slice_scores, subtype_scores, skull_found=found)

    def _predict(self, params: Params, head: Head, to_own: Any) -> Segmented:
        """What is found in a head, with the probability on the scan's own grid."""
        segmented = self.segment(params, head)
        probability = jnp.where(head.inside, segmented.probability, 0.0)
        if to_own is not None:
            probability = jnp.clip(resample.resample(probability, *to_own), 0.0, 1.0)
        return segmented._replace(probability=probability)

    def load(self, workdir: pathlib.Path) -> Params:
        """Reads the results of `fit`; InputError if the fold is not finished or is of another method."""
        if not (workdir / MODEL_FILE).is_file():
            raise InputError(f"{workdir}: no finished fold; expected {MODEL_FILE} from `train`")
        try:
            record = read_json(workdir / MODEL_FILE)
            with np.load(workdir / ARRAYS_FILE) as arrays:
                params = dict(record["learned"]) | {name: arrays[name] for name in arrays.files}
            method = record["method"]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{workdir}: {MODEL_FILE} and {ARRAYS_FILE} cannot be read; expected `train`'s") from error
        if method != self.name:
            raise InputError(f"{workdir}: was trained by the method {method!r}; expected {self.name!r}")
        return params

    def fingerprint(self, params: Params) -> str:
        """A digest of options, numbers and arrays."""
        numbers, arrays = _split(params)
        return digest([self.name, self.options, numbers], arrays)

    def chosen(self, params: Params) -> dict:
        """The single numbers that `learn` chose."""
        return _scalars(params)

    def announce(self, params: Params, volumes: Sequence[Volume], what: str) -> None:
        """Prints how long the prediction takes on two CPU cores."""
        slices = sum(len(volume.hu) for volume in volumes)
        seconds = math.ceil(slices * self.seconds_a_slice)
        say(f"{what}: {slices} slices, about {seconds} s on two CPU cores")


def _split(params: Params) -> tuple[Params, dict[str, np.ndarray]]:
    """(numbers and lists, arrays)."""
    arrays = {name: value for name, value in sorted(params.items()) if isinstance(value, np.ndarray)}
    return {name: value for name, value in params.items() if name not in arrays}, arrays


def _scalars(params: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in params.items() if isinstance(value, int | float)}


def _options(config: Config, name: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults, changed by `config.options[name]`.

    Raises:
      InputError: an unknown option, or one of another type than its default.
    """
    given = fields_of(config.options).get(name, {})
    if not isinstance(given, Mapping):
        raise InputError(f"config.options.{name} is {given!r}; expected fields of this method")
    if unknown := set(given) - set(defaults):
        expected = f"one of {', '.join(defaults)}" if defaults else "none"
        raise InputError(f"config.options.{name}.{min(unknown)} is unknown to this method; expected {expected}")
    for field, value in given.items():
        checked(f"config.options.{name}.{field}", value, defaults[field])
    return json.loads(json.dumps(dict(defaults) | dict(given)))
