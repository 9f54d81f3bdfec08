"""Load a trained run and predict head CTs with it: probability and mask."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ichjax import config as configs
from ichjax import config_check
from ichjax.config import Config
from ichjax.data import regrid
from ichjax.errors import InputError
from ichjax.experiment import seen_scans, setup, tuning, volume_calibration
from ichjax.inference import discover, fold_means
from ichjax.methods import base, gates, registry
from ichjax.metrics.volume_interval import Calibration
from ichjax.ops import metrics
from ichjax.ops import subtypes as subtype_ops
from ichjax.scan import slabs
from ichjax.scan.volume import Volume

FieldValue = bool | int | float | str
HELD_OUT = "held out"  # one of the run's own scans, predicted by the folds that had not seen it
POST_FIELDS = ("threshold", "closing_px", "opening_px", *base.GATE_FIELDS)
# Fields of config.predict that can be changed for a prediction:
PREDICT_FIELDS = (
    *POST_FIELDS,
    "stitch",
    "mirror",
    "inside_skull",
    "whole_slices",
    "batch_size",
    "min_max_stretch",
    "quantize_8bit",
)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedRun:
    """A method and its parameters, one set for each finished fold of a work directory.

    Attributes:
      method: as configured, with the changes to how it predicts that `load_run` was given.
      params, folds: of the folds that are averaged.
      post: from their mean probability to a mask.
      posts: of each of `folds`, with the fields of `changed`.
      config: the run's own, with the changes.
      changed: {field of config.predict: value}, those that differ from the run's own.
      tests: in which fold each of the run's own scans is a test scan.
      calibration: of volume intervals, from the validation subjects of all finished folds.
    """

    method: base.Method
    params: tuple[Any, ...]  # their type depends on the method
    folds: tuple[int, ...]
    post: base.PostProcess
    posts: tuple[base.PostProcess, ...]
    config: Config
    changed: dict[str, FieldValue]
    tests: seen_scans.TestFolds
    calibration: Calibration

    @property
    def digest(self) -> str:
        """Digest of the configuration, with the changes."""
        return configs.digest(self.config)

    @functools.cached_property
    def identity(self) -> str:
        """Digest of all that determines a prediction: configuration, parameters, post-processing and folds.

        Training again, or on other data, gives another one.
        """
        fingerprints = [self.method.fingerprint(params) for params in self.params]
        post = [value for name, value in self.post._asdict().items() if name not in base.GATE_FIELDS]
        in_use = [self.post.gates] if self.post.gates else []  # so that a run without gates keeps its digest
        return base.digest([self.digest, self.folds, post, fingerprints, *in_use])

    def post_of(self, folds: Sequence[int], own_scan: str) -> base.PostProcess:
        """How a scan's mask is made: of one of the run's own scans, as the folds that held it out have chosen.

        The other folds may have tuned their thresholds on it.
        """
        if own_scan != HELD_OUT:
            return self.post
        return tuning.combined([post for number, post in zip(self.folds, self.posts, strict=True) if number in folds])

    @property
    def pixel_mm(self) -> tuple[float, float] | None:
        """(rows, columns) of the training scans; None where the method does not depend on it."""
        trained_on = self.method.trained_on(self.params[0])
        return None if trained_on is None else trained_on.pixel_mm

    @property
    def slice_spacing_mm(self) -> float:
        """Distance between the slices of the training scans."""
        trained_on = self.method.trained_on(self.params[0])
        return base.ASSUMED_SLICE_SPACING_MM if trained_on is None else trained_on.slice_spacing_mm


@dataclasses.dataclass(frozen=True, eq=False)
class PredictedScan:
    """A run's prediction of a scan.

    Attributes:
      mask: uint8 of 0 and 1 [D, H, W], on the scan's slices (`Volume.to_file_grid` turns it to the file's axes).
      probability: float32 [D, H, W].
      folds: whose networks were averaged.
      own_scan: '' for a scan that the run does not know; 'held out' for one of the run's own scans, predicted only
        by folds that had not seen it; 'trained on it' where there is no such fold.
      slab_slices: the number of thin slices that the thickest slab averages; 1 where nothing was averaged.
      slice_scores: float32 [D] from methods that score slices themselves, else None.
      subtype_scores: float32 [D, 5], the same by sub-type, or None.
      scan_scores: float32 [6] from methods that score whole scans (`Prediction.scan_scores`), else None.
      skull_found: whether a closed skull was found; None where the prediction is not restricted to its inside.
      outside_skull_ml: volume of the mask without this restriction, less that of `mask`.
      classes: uint8 [D, H, W], the sub-type of each pixel of the mask (`ops.subtypes.class_mask`), or None.
      level_ml: volume above each probability of `volume_interval.VOLUME_LEVELS`.
    """

    mask: np.ndarray
    probability: np.ndarray
    folds: tuple[int, ...]
    own_scan: str
    slab_slices: int
    slice_scores: np.ndarray | None = None
    subtype_scores: np.ndarray | None = None
    skull_found: bool | None = None
    outside_skull_ml: float = 0.0
    classes: np.ndarray | None = None
    level_ml: Sequence[float] = ()
    scan_scores: np.ndarray | None = None


def load_run(
    workdir: str | pathlib.Path, *, fold: int | None = None, **fields: FieldValue | np.generic | None
) -> TrainedRun:
    """Reads a trained run.

    Args:
      workdir: of `crossval` or `train`.
      fold: use this one alone; None averages all that are finished.
      **fields: of `config.predict`, in place of the run's own: any of `PREDICT_FIELDS`. On a CPU `whole_slices`
        defaults to True where the method predicts the same with it (`Method.same_on_whole_slices`).

    Raises:
      InputError: the folder is no work directory, no fold in it is finished, or a field is unknown or out of range.
    """
    workdir = pathlib.Path(workdir)
    config: Any = setup.load_config(workdir)
    own = configs.flatten(config)
    changes = _check_fields(fields)
    own_method = registry.make(config.method, config)
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and "whole_slices" not in changes and own_method.same_on_whole_slices:
        changes["whole_slices"] = True
    try:
        for name, value in changes.items():
            setattr(config.predict, name, value)
    except (TypeError, ValueError) as error:
        raise InputError(f"config.predict cannot be {changes} ({error})") from error
    config_check.check(config)
    method = registry.make(config.method, config)
    folders = {setup.fold_number(folder): folder for folder in setup.fold_folders(workdir, base.MODEL_FILE)}
    own_posts = [(folder, tuning.read(folder, own_method.post)) for folder in folders.values()]
    if not folders:
        raise InputError(f"{workdir}: no fold is trained; expected fold_0/model.json from `train` or `crossval`")
    if fold is not None:
        if fold not in folders:
            raise InputError(f"{workdir}: fold {fold} is not trained; expected one of {', '.join(map(str, folders))}")
        folders = {fold: folders[fold]}
    named = {name: changes[name] for name in POST_FIELDS if name in changes}
    if "threshold" in named:
        named["chosen_on"] = "set for this prediction"
    own_values = [tuning.read(folder, method.post)._asdict() for folder in folders.values()]
    posts = [base.PostProcess(**{**values, **named}) for values in own_values]
    return TrainedRun(
        method=method,
        params=tuple(method.load(folder) for folder in folders.values()),
        folds=tuple(folders),
        post=tuning.combined(posts),
        posts=tuple(posts),
        config=config,
        changed={name: value for name, value in changes.items() if own[f"predict.{name}"] != value},
        tests=seen_scans.read(workdir),
        calibration=volume_calibration.pooled(own_posts),
    )


def _check_fields(fields: dict[str, FieldValue | np.generic | None]) -> dict[str, FieldValue]:
    """The fields with NumPy scalars as Python's; InputError for one that is unknown or None."""
    if unknown := [name for name in fields if name not in PREDICT_FIELDS]:
        raise InputError(
            f"config.predict.{unknown[0]} cannot be changed here; expected one of {', '.join(PREDICT_FIELDS)}"
        )
    checked: dict[str, FieldValue] = {}
    for name, value in fields.items():
        if value is None:
            raise InputError(f"config.predict.{name} is None; expected a value")
        checked[name] = value.item() if isinstance(value, np.generic) else value
    return checked


def require_subtypes(trained: TrainedRun) -> None:
    """InputError for a run of a method that does not segment sub-types."""
    if not trained.method.segments_subtypes:
        raise InputError(
            f"the run's method {trained.config.method!r} ({trained.method.title}) does not segment sub-types; expected "
            "a run of a method that does"
        )


def predict(scan: Volume | str | pathlib.Path, trained: TrainedRun, *, subtypes: bool = False) -> PredictedScan:
    """Predicts a scan with the mean of a run's folds; one of the run's own scans with those that had not seen it.

    Slices thinner than `slabs.THIN_SLICE_MM` are first averaged to slabs as thick as the training slices, and the
    probability is interpolated back to each slice.

    Args:
      scan: a `Volume`, or the path of a NIfTI file or of a folder with one DICOM series.
      trained: from `load_run`.
      subtypes: also predict the sub-type of each pixel of the mask, from the mean of the folds' class probabilities.

    Raises:
      InputError: the path cannot be read or holds no scan or several, an argument is of another type, or the run's
        method does not segment sub-types.
    """
    if not isinstance(trained, TrainedRun):
        raise InputError(f"the run is of type {type(trained).__name__}; expected what load_run returns")
    if not isinstance(scan, (Volume, str, pathlib.Path)):
        raise InputError(f"the scan is of type {type(scan).__name__}; expected a Volume (ichjax.read) or a path")
    if subtypes:
        require_subtypes(trained)
    volume = scan if isinstance(scan, Volume) else discover.read_one(scan)
    selected, own_scan = _select_folds(trained, volume)
    slab_volume, slab_slices = slabs.average_to_slabs(volume, trained.slice_spacing_mm)
    predictions = [_predict_fold(trained, k, slab_volume, subtypes=subtypes) for k in selected]
    weights = slabs.interpolation_weights(volume, slab_volume) if slab_slices > 1 else None
    probability = fold_means.mean_probability([prediction.probability for prediction in predictions], weights)
    post = trained.post_of([trained.folds[k] for k in selected], own_scan)
    closing, opening = kernel_sides_px(trained, post, regrid.own_grid(volume))
    threshold = np.array([post.threshold], np.float32)
    lesion_gates = gates.arguments(post, volume.pixel_ml)
    mask = _make_mask(probability, threshold, lesion_gates, closing=closing, opening=opening)
    # Everything is dispatched before anything is fetched, as fetching waits for the device.
    classes, removed_px = None, None
    if subtypes:
        of_folds = [fold.class_probability for fold in predictions if fold.class_probability is not None]
        classes = _class_mask(fold_means.mean_probability(of_folds, weights), mask)
    if predictions[0].skull_found is not None:
        everywhere = [prediction.unrestricted for prediction in predictions if prediction.unrestricted is not None]
        unrestricted = _make_mask(
            fold_means.mean_probability(everywhere, weights), threshold, lesion_gates, closing=closing, opening=opening
        )
        removed_px = _pixels_of_slices(unrestricted) - _pixels_of_slices(mask)
    level_ml, depth = volume_calibration.level_volumes(probability, volume), len(volume.hu)
    return PredictedScan(
        np.asarray(mask)[:depth],
        np.asarray(probability, np.float32)[:depth],
        tuple(trained.folds[k] for k in selected),
        own_scan,
        slab_slices,
        fold_means.mean_scores([prediction.slice_scores for prediction in predictions], weights),
        fold_means.mean_scores([prediction.subtype_scores for prediction in predictions], weights),
        None if removed_px is None else bool(predictions[0].skull_found),
        0.0 if removed_px is None else float(np.asarray(removed_px)[:depth] @ volume.pixel_ml),
        None if classes is None else np.asarray(classes)[:depth],
        level_ml,
        fold_means.mean_scores([prediction.scan_scores for prediction in predictions], None),
    )


def _predict_fold(trained: TrainedRun, fold: int, volume: Volume, *, subtypes: bool) -> base.Prediction:
    """The prediction of the run's fold of this index, without class probabilities, which are large, if not needed."""
    prediction = trained.method.predict(trained.params[fold], volume)
    return prediction if subtypes else prediction._replace(class_probability=None)


@jax.jit
def _pixels_of_slices(mask: jax.Array) -> jax.Array:
    """int32 [D]: pixels of a mask [D, H, W] on each slice."""
    return mask.sum(axis=(1, 2), dtype=jnp.int32)


def _select_folds(trained: TrainedRun, volume: Volume) -> tuple[list[int], str]:
    """(indices of the folds to predict a scan with, `PredictedScan.own_scan`)."""
    indices = list(range(len(trained.folds)))
    if (unseen := trained.tests.of(volume)) is None:
        return indices, ""
    held_out = [k for k in indices if trained.folds[k] in unseen]
    return (held_out, HELD_OUT) if held_out else (indices, "trained on it")


@functools.partial(jax.jit, static_argnames=("closing", "opening"))
def _make_mask(
    probability: jax.Array, threshold: jax.Array, lesion_gates: gates.Gates | None, *, closing: int, opening: int
) -> jax.Array:
    """uint8 [D, H, W] from float32 [D, H, W], a threshold [1] and gates at the same threshold."""
    gated = gates.apply(probability, lesion_gates)
    return metrics.masks_at(gated, threshold, closing=closing, opening=opening)[0].astype(jnp.uint8)


@jax.jit
def _class_mask(class_probability: jax.Array, mask: jax.Array) -> jax.Array:
    """uint8 [D, H, W]: the classes of a mask, uint8 [D, H, W], from float32 [D, H, W, 6]."""
    return subtype_ops.class_mask(class_probability, mask > 0)


def kernel_sides_px(trained: TrainedRun, post: base.PostProcess, grid: regrid.Geometry) -> tuple[int, int]:
    """(closing, opening) of `post` in pixels of a grid, of the same size in mm as on the training scans."""
    pixel_mm = grid.row_mm, grid.column_mm
    scale = 1.0
    if trained.pixel_mm is not None and not regrid.same_pixels(pixel_mm, trained.pixel_mm):
        scale = trained.pixel_mm[0] / pixel_mm[0]
    return round(post.closing_px * scale), round(post.opening_px * scale)
