"""The interface of segmentation methods: all that higher packages know about a method."""

import abc
import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from ichjax.console import say
from ichjax.data.fold_scans import FoldScans
from ichjax.data.leak_guard import SeenScans
from ichjax.data.regrid import Geometry
from ichjax.data.scan_cache import CachedScan
from ichjax.methods.patch_program import PatchProgram
from ichjax.metrics.records import MethodRecord, Published
from ichjax.scan.volume import Volume

WEIGHTS_FOLDER = "weights"  # of a fold of a network
MODEL_FILE = "model.json"  # of a fold; written last, so that its presence marks the fold as finished
ASSUMED_SLICE_SPACING_MM = 5.0  # of the training scans of runs that did not record it


GATE_FIELDS = ("find_threshold", "min_lesion_ml", "min_lesion_slices")


class Prediction(NamedTuple):
    """A method's prediction of a scan.

    Attributes:
      probability: float32 [D, H, W] in [0, 1], on the device, on the scan's own grid.
      slice_scores: float32 [D], the method's own score that a slice has a hemorrhage; None to rank slices by their
        probabilities.
      subtype_scores: float32 [D, 5], the same for each sub-type (`label_tables.SUBTYPES`), or None.
      unrestricted: the probability before that outside the skull was set to 0 (`config.predict.inside_skull`), or None.
      skull_found: bool [], whether a closed skull was found; if not, nothing is restricted. None without restriction.
      class_probability: float32 [D, H, W, 6], the background, then each sub-type (`label_tables.SUBTYPES`); sums to 1.
        On the device, on the scan's own grid, and restricted like `probability`. None for methods without sub-types.
      scan_scores: float32 [6], the method's own score that the scan has each sub-type (`label_tables.SUBTYPES`; NaN for
        those it does not score), then any hemorrhage; None to score a scan by its highest slice.
    """

    probability: jax.Array
    slice_scores: jax.Array | np.ndarray | None = None
    subtype_scores: jax.Array | np.ndarray | None = None
    unrestricted: jax.Array | None = None
    skull_found: jax.Array | None = None
    class_probability: jax.Array | None = None
    scan_scores: jax.Array | np.ndarray | None = None


class PostProcess(NamedTuple):
    """Post-processing from probability to mask: gates, a threshold, closing and opening.

    Attributes:
      threshold: pixels above it are positive.
      thresholds: of the reported slice detection; `threshold` need not be among them.
      closing_px, opening_px: kernel sides in pixels, 0 for none.
      chosen_on: how the threshold was chosen, in words.
      find_threshold: a lesion needs a pixel above it; 0 for none.
      min_lesion_ml, min_lesion_slices: smaller lesions are dropped; 0 and 1 drop none. A lesion is a 26-connected
        component above `threshold`, before closing and opening.
    """

    threshold: float
    thresholds: tuple[float, ...]
    closing_px: int
    opening_px: int
    chosen_on: str
    find_threshold: float = 0.0
    min_lesion_ml: float = 0.0
    min_lesion_slices: int = 1

    @property
    def gates(self) -> dict[str, float | int]:
        """The gates in use by their names."""
        gates = {name: getattr(self, name) for name in GATE_FIELDS}
        return {name: value for name, value in gates.items() if value != self._field_defaults[name]}

    @property
    def all_thresholds(self) -> tuple[float, ...]:
        """`thresholds` and `threshold`, ascending, without duplicates."""
        return tuple(sorted({*self.thresholds, self.threshold}))


class TrainedOn(NamedTuple):
    """Medians over the training scans: pixel size (rows, columns) and slice spacing, in mm."""

    pixel_mm: tuple[float, float]
    slice_spacing_mm: float


class Method(abc.ABC):
    """`fit` trains on scans, `predict` turns a scan into probabilities, `load` reads the results of `fit`.

    A method is deterministic and safe to interrupt: `fit` in the same folder resumes.

    Attributes:
      title: name in tables and figures.
      card: one or two sentences for the model card.
      mode: how it processes a scan, in a few words, for prediction.json.
      post: post-processing of its probability.
      published: the paper's results of this method, structured as `published.UNET`; {} if there are none.
      reference: the reviewed system that it is like, a key of `metrics.literature.REVIEWED`; "" if there is none.
      seams: (side, stride) of the patches whose seams may show in its probability, in the scan's pixels; or None.
      same_on_whole_slices: whether `config.predict.whole_slices` gives the same result as overlapping patches.
      segments_subtypes: whether its predictions have a `class_probability`.
    """

    title: str
    card: str
    mode: str
    post: PostProcess
    published: ClassVar[Published] = {}
    reference: ClassVar[str] = ""
    seams: tuple[int, int] | None = None
    same_on_whole_slices: bool = False
    segments_subtypes: bool = False

    @abc.abstractmethod
    def fit(self, train: Sequence[CachedScan], valid: Sequence[CachedScan], *, workdir: pathlib.Path, fold: int) -> Any:
        """Trains on `train`, selects on `valid` and writes to `workdir`, last of all `MODEL_FILE`.

        A finished `workdir` is only read.
        """

    def fit_together(self, folds: Sequence[FoldScans]) -> None:  # noqa: B027
        """Trains several folds in one program (`config.parallel_folds`), so that `fit` only has to read the results.

        By default nothing: `fit` then trains each of them.
        """

    def other_scans(self) -> SeenScans | None:
        """Which scans `fit` learns from besides those that it gets, so that they can be refused as test scans."""
        return None

    @abc.abstractmethod
    def predict(self, params: Any, volume: Volume) -> Prediction:
        """Predicts a scan on its own grid."""

    def uncertainty(self, params: Any, volume: Volume) -> jax.Array | None:
        """By how much its networks disagree on each pixel, float32 [D, H, W] as of `ops.uncertainty.jensen_shannon`;
        None for a method with one network."""
        return None

    @abc.abstractmethod
    def load(self, workdir: pathlib.Path) -> Any:
        """The parameters that `fit` returned, from its finished `workdir`; InputError if they cannot be read."""

    @abc.abstractmethod
    def fingerprint(self, params: Any) -> str:
        """A digest (`digest`) of all learned parameters.

        Predictions are kept as long as it is the same, so a parameter missing from it would keep stale masks.
        """

    def chosen(self, params: Any) -> dict:
        """The numbers that `fit` chose, by name, for results.json.

        A method with thresholds other than `post.threshold` gives them as 'thresholds', to be reported for each fold.
        """
        return {}

    def trained_on(self, params: Any) -> TrainedOn | None:
        """Medians over its training scans; None for a method that does not depend on them."""
        return None

    def layers(self) -> list[dict]:
        """The network layer by layer, for the report; [] for a method without a network."""
        return []

    def announce(self, params: Any, volumes: Sequence[Volume], what: str) -> None:
        """Prints an estimate of the time to predict `volumes` on this machine."""
        say(f"{what}: {sum(len(volume.hu) for volume in volumes)} slices, a few seconds")

    def slice_program(self, params: Any, own: Geometry) -> Callable[[jax.Array], jax.Array] | None:
        """A traceable function for `export`; None for a method that cannot be exported.

        Maps int16 HU [N, H, W] on the grid `own` to float32 probability [N, H, W], slice by slice.
        """
        return None

    def patch_program(self, params: Any) -> PatchProgram | None:
        """The network on patches alone, for `export --onnx`; None for a method that is no network on single patches."""
        return None

    def record(self) -> MethodRecord:
        """The method's description in results.json, so that reports need no knowledge of methods."""
        record: MethodRecord = {"title": self.title, "card": self.card, "published": self.published}
        if self.reference:
            record["reference"] = self.reference
        if layers := self.layers():
            record["layers"] = layers
        return record


def digest(record: object, arrays: object = ()) -> str:
    """16 hex digits of a JSON-ready record and a tree of arrays, for `Method.fingerprint`."""
    hasher = hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=8)
    for leaf in jax.tree.leaves(arrays):
        array = np.asarray(leaf)
        hasher.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return hasher.hexdigest()
