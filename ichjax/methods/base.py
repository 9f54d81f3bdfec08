"""A method: a way to turn scans into masks. Everything above this package knows methods by this class alone."""

import abc
import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from ichjax.console import say
from ichjax.data.regrid import Geometry
from ichjax.data.scan_cache import CachedScan
from ichjax.metrics.records import MethodRecord, Published
from ichjax.scan.volume import Volume

MODEL_FILE = "model.json"  # of a fold, written last: with it the fold is finished
ASSUMED_SLICE_SPACING_MM = 5.0  # of the training scans, where a run has none on record


class Prediction(NamedTuple):
    """What a method predicts of a scan.

    Attributes:
      probability: float32 [D, H, W] in [0, 1], on the device, on the scan's own grid.
      slice_scores: float32 [D], how likely each slice has a hemorrhage, from methods that say so themselves; else
        None, and slices are ranked by their probabilities.
      subtype_scores: float32 [D, 5], the same by sub-type (`label_tables.SUBTYPES`), or None.
    """

    probability: jax.Array
    slice_scores: jax.Array | np.ndarray | None = None
    subtype_scores: jax.Array | np.ndarray | None = None


class PostProcess(NamedTuple):
    """From probability to mask: a threshold, closing and opening.

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


class TrainedOn(NamedTuple):
    """The scans a method was trained on: median pixel size (rows, columns) and slice spacing, in mm."""

    pixel_mm: tuple[float, float]
    slice_spacing_mm: float


class Method(abc.ABC):
    """`fit` learns from scans, `predict` turns a scan into probabilities, `load` reads what `fit` wrote.

    A method is deterministic, and safe to interrupt: `fit` in the same folder goes on where it stopped.

    Attributes:
      title: what tables and figures call it.
      card: what it is, in a sentence or two, for the model card.
      mode: how it looks at a scan, in a few words, for prediction.json.
      post: from its probability to a mask.
      published: the paper's figures of this very method, in the shape of `published.UNET`; {} where it has none.
      seams: (side, stride) of the patches whose seams may show in its probability, in the scan's pixels; or None.
      same_on_whole_slices: whether `config.predict.whole_slices` gives what overlapping patches would give.
    """

    title: str
    card: str
    mode: str
    post: PostProcess
    published: ClassVar[Published] = {}
    seams: tuple[int, int] | None = None
    same_on_whole_slices: bool = False

    @abc.abstractmethod
    def fit(self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, workdir: pathlib.Path, fold: int) -> Any:
        """Learns from `train`, chooses on `valid` and writes to `workdir`; a finished `workdir` is only read.

        The fold is finished once `workdir` holds model.json.
        """

    @abc.abstractmethod
    def predict(self, params: Any, volume: Volume) -> Prediction:
        """Predicts a scan, on its own grid."""

    @abc.abstractmethod
    def load(self, workdir: pathlib.Path) -> Any:
        """The parameters that `fit` returned, from its finished `workdir`; InputError where they cannot be read."""

    @abc.abstractmethod
    def fingerprint(self, params: Any) -> str:
        """A digest (`digest`) of all that was learned: other parameters, another fingerprint.

        Predictions are kept as long as it stays the same, so anything left out here serves stale masks.
        """

    def chosen(self, params: Any) -> dict:
        """What `fit` chose, for results.json: numbers by name. A method whose thresholds are not `post.threshold`
        gives them as 'thresholds', and results.json reports them fold by fold."""
        return {}

    def trained_on(self, params: Any) -> TrainedOn | None:
        """What its training scans were like; None for a method that does not depend on it."""
        return None

    def layers(self) -> list[dict]:
        """The network layer by layer, for the report; [] for a method without one."""
        return []

    def announce(self, params: Any, volumes: Sequence[Volume], what: str) -> None:
        """Prints, before long work, how long predicting `volumes` will take on this machine."""
        say(f"{what}: {sum(len(volume.hu) for volume in volumes)} slices, a few seconds")

    def slice_program(self, params: Any, own: Geometry) -> Callable[[jax.Array], jax.Array] | None:
        """A traceable function from int16 HU [N, H, W] on the grid `own` to float32 probability [N, H, W], each slice
        for itself, for `export`; None for a method that cannot be exported."""
        return None

    def record(self) -> MethodRecord:
        """What results.json says of the method, so that reports need not know it."""
        record: MethodRecord = {"title": self.title, "card": self.card, "published": self.published}
        if layers := self.layers():
            record["layers"] = layers
        return record


def digest(record: object, arrays: object = ()) -> str:
    """16 hex digits of a JSON-ready record and a tree of arrays, for `Method.fingerprint`."""
    found = hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=8)
    for leaf in jax.tree.leaves(arrays):
        array = np.asarray(leaf)
        found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()
