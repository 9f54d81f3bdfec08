"""What a trained run says about a head CT: probability, mask, and what a reader would note of it."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from ichjax import config as configs
from ichjax.config import Config
from ichjax.data import regrid
from ichjax.errors import InputError
from ichjax.experiment import seen_scans, setup, tuning
from ichjax.inference import discover, lesion_findings, scan_warnings
from ichjax.methods import base, registry
from ichjax.methods.slices import pad_depth
from ichjax.ops import metrics
from ichjax.scan import slabs, world_grid
from ichjax.scan.volume import Volume, scan_digest

FIELDS = (
    *("threshold", "closing_px", "opening_px", "stitch", "mirror", "whole_slices", "batch_size"),
    *("min_max_stretch", "quantize_8bit"),
)  # of config.predict, that may be changed for a prediction


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedRun:
    """A method and its parameters, one set for every finished fold of a work directory.

    Attributes:
      method: as configured, its way of predicting changed where `load_run` was told so.
      params, folds: of the folds that are averaged.
      post: from their mean probability to a mask.
      config: the run's own, with the changes.
      changed: {field of config.predict: value} of those that differ from the run's own.
      tests: of which fold each of the run's own scans is a test scan.
    """

    method: base.Method
    params: tuple
    folds: tuple[int, ...]
    post: base.PostProcess
    config: Config
    changed: dict
    tests: seen_scans.TestFolds

    @property
    def digest(self) -> str:
        """Of the configuration, with the changes."""
        return configs.digest(self.config)

    @functools.cached_property
    def identity(self) -> str:
        """Of all that a prediction follows from: the configuration, what the folds learned, and which of them are
        asked. Training again, or on other data, gives another."""
        learned = [self.method.fingerprint(params) for params in self.params]
        return base.digest([self.digest, self.folds, self.post, learned])

    @property
    def rule_mm2(self) -> float:
        """A slice is called positive above this predicted area."""
        return self.config.evaluate.slice_rule_mm2

    @property
    def method_name(self) -> str:
        """As `config.method`."""
        return self.config.method

    @property
    def pixel_mm(self) -> tuple[float, float] | None:
        """(rows, columns) of the training scans; None where the method does not depend on it."""
        trained_on = self.method.trained_on(self.params[0])
        return None if trained_on is None else trained_on.pixel_mm

    @property
    def slice_spacing_mm(self) -> float:
        """Between slices of the training scans."""
        trained_on = self.method.trained_on(self.params[0])
        return base.ASSUMED_SLICE_SPACING_MM if trained_on is None else trained_on.slice_spacing_mm


@dataclasses.dataclass(frozen=True, eq=False)
class PredictedScan:
    """What a run says about a scan.

    Attributes:
      mask: uint8 of 0 and 1 [D, H, W], on the scan's slices (`Volume.to_file_grid` turns it to the file's).
      probability: float32 [D, H, W].
      folds: of the networks that were averaged.
      own_scan: '' for a scan that the run has not seen in training; else 'held out' where only networks that have not
        seen it were asked, or 'trained on it' where there is none.
      slab_slices: so many thin slices were averaged for the network; 1 for none.
      slice_scores: float32 [D] from methods that score slices themselves, else None.
      subtype_scores: float32 [D, 5], the same by sub-type, or None.
    """

    mask: np.ndarray
    probability: np.ndarray
    folds: tuple[int, ...]
    own_scan: str
    slab_slices: int
    slice_scores: np.ndarray | None = None
    subtype_scores: np.ndarray | None = None


def load_run(workdir: str | pathlib.Path, *, fold: int | None = None, **fields) -> TrainedRun:
    """Reads a trained run.

    Args:
      workdir: of `crossval` or `train`.
      fold: take this one alone; None averages all that are finished.
      **fields: of `config.predict`, in place of the run's own: any of `FIELDS`. On a CPU `whole_slices` is on where it
        is not named and the method gives the same then (`Method.same_on_whole_slices`).

    Raises:
      InputError: the folder is no work directory, no fold in it is finished, or a field is unknown or out of range.
    """
    workdir = pathlib.Path(workdir)
    config = setup.load_config(workdir)
    own = configs.flatten(config)
    if unknown := [name for name in fields if name not in FIELDS]:
        raise InputError(f"config.predict.{unknown[0]} cannot be changed here; expected one of {', '.join(FIELDS)}")
    if missing := [name for name, value in fields.items() if value is None]:
        raise InputError(f"config.predict.{missing[0]} is None; expected a value")
    fields = {name: value.item() if isinstance(value, np.generic) else value for name, value in fields.items()}
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and "whole_slices" not in fields and registry.make(config.method, config).same_on_whole_slices:
        fields = {**fields, "whole_slices": True}
    try:
        config.update_from_flattened_dict({f"predict.{name}": value for name, value in fields.items()})
    except (TypeError, ValueError) as error:
        raise InputError(f"config.predict cannot be {fields} ({error})") from error
    configs.check(config)
    method = registry.make(config.method, config)
    finished = setup.fold_folders(workdir, base.MODEL_FILE)
    if not finished:
        raise InputError(f"{workdir}: no fold is trained; expected fold_0/model.json from `train` or `crossval`")
    numbers = [setup.fold_number(folder) for folder in finished]
    if fold is not None:
        if fold not in numbers:
            raise InputError(f"{workdir}: fold {fold} is not trained; those that are: {', '.join(map(str, numbers))}")
        finished, numbers = [finished[numbers.index(fold)]], [fold]
    return TrainedRun(
        method=method,
        params=tuple(method.load(folder) for folder in finished),
        folds=tuple(numbers),
        post=_post([tuning.read(folder, method.post) for folder in finished], method.post, fields),
        config=config,
        changed={name: value for name, value in fields.items() if own[f"predict.{name}"] != value},
        tests=seen_scans.read(workdir),
    )


def _post(tuned: list[base.PostProcess], own: base.PostProcess, fields: dict) -> base.PostProcess:
    """What the folds chose, combined, but for what was named."""
    post = tuning.combined(tuned)
    named = {name: fields[name] for name in ("threshold", "closing_px", "opening_px") if name in fields}
    return post._replace(**named, **({"chosen_on": "named for this prediction"} if "threshold" in named else {}))


def predict(scan: Volume | str | pathlib.Path, trained: TrainedRun) -> PredictedScan:
    """Predicts a scan by the mean of a run's networks; those that have seen it in training are left out.

    Slices closer than `slabs.THIN_SLICE_MM` are averaged to slabs as thick as the training's slices first, and the
    probability brought back to each slice.

    Args:
      scan: a `Volume`, or the path of a NIfTI file or of a folder with one DICOM series.
      trained: of `load_run`.

    Raises:
      InputError: the path cannot be read.
    """
    if not isinstance(trained, TrainedRun):
        raise InputError(f"the run is of type {type(trained).__name__}; expected what load_run returns")
    if not isinstance(scan, (Volume, str, pathlib.Path)):
        raise InputError(f"the scan is of type {type(scan).__name__}; expected a Volume (ichjax.read) or a path")
    volume = scan if isinstance(scan, Volume) else discover.read_one(scan)
    chosen, own_scan = _select_folds(trained, volume)
    thick, many = slabs.average_to_slabs(volume, trained.slice_spacing_mm)
    predictions = [trained.method.predict(trained.params[k], thick) for k in chosen]
    total = sum(prediction.probability for prediction in predictions)
    probability = pad_depth(total / len(chosen), 0.0)  # so that few programs are compiled
    spread = slabs.interpolation_weights(volume, thick) if many > 1 else None
    if spread is not None:
        wide = ((0, -len(spread) % 8), (0, len(probability) - spread.shape[1]))
        probability = _between_slabs(np.pad(spread, wide), probability)
    closing, opening = kernels(trained, regrid.own_grid(volume))
    threshold = np.array([trained.post.threshold], np.float32)
    probability, mask = _finish(probability, threshold, closing=closing, opening=opening)
    depth = len(volume.hu)
    return PredictedScan(
        np.asarray(mask)[:depth],
        np.asarray(probability)[:depth],
        tuple(trained.folds[k] for k in chosen),
        own_scan,
        many,
        _mean_scores([prediction.slice_scores for prediction in predictions], spread),
        _mean_scores([prediction.subtype_scores for prediction in predictions], spread),
    )


def _mean_scores(scores: list, spread: np.ndarray | None) -> np.ndarray | None:
    """The mean over the folds of scores [S] or [S, 5], brought from slabs to slices [D] by weights [D, S]."""
    if scores[0] is None:
        return None
    mean = np.mean([np.asarray(one, np.float32) for one in scores], axis=0)
    return mean if spread is None else (spread @ mean).astype(np.float32)


def _select_folds(trained: TrainedRun, volume: Volume) -> tuple[list[int], str]:
    """Which of the run's networks to ask, and what the scan is to the run."""
    everyone = list(range(len(trained.folds)))
    if (unseen := trained.tests.of(volume)) is None:
        return everyone, ""
    held_out = [k for k in everyone if trained.folds[k] in unseen]
    return (held_out, "held out") if held_out else (everyone, "trained on it")


@jax.jit
def _between_slabs(spread, probability):
    """Probability of every slice [D, H, W] from that of slabs [S, H, W], by weights [D, S]."""
    return jnp.einsum("ds,shw->dhw", spread, probability, precision=jax.lax.Precision.HIGHEST)


@functools.partial(jax.jit, static_argnames=("closing", "opening"))
def _finish(probability, threshold, *, closing: int, opening: int):
    mask = metrics.masks_at(probability, threshold, closing=closing, opening=opening)[0]
    return probability, mask.astype(jnp.uint8)


def kernels(trained: TrainedRun, own: regrid.Geometry) -> tuple[int, int]:
    """(closing, opening) in pixels of a grid: they are so many of the training scans, and keep their millimetres."""
    post = trained.post
    pixel_mm = (own.row_mm, own.column_mm)
    known = trained.pixel_mm is not None and not regrid.same_pixels(pixel_mm, trained.pixel_mm)
    scale = trained.pixel_mm[0] / pixel_mm[0] if known else 1.0
    return round(post.closing_px * scale), round(post.opening_px * scale)


def describe(trained: TrainedRun, volume: Volume, found: PredictedScan) -> dict:
    """A prediction in numbers (`lesion_findings.describe`), with what it was made by, the scan's geometry and what
    speaks against it (`scan_warnings.warnings`): ready for JSON."""
    if found.mask.shape != volume.shape:
        raise InputError(f"the mask has the shape {found.mask.shape}; expected that of the scan, {volume.shape}")
    closing, opening = kernels(trained, regrid.own_grid(volume))
    down, across = (volume.affine[:3, axis] / volume.pixel_mm[axis - 1] for axis in (1, 2))
    seen = lesion_findings.describe(volume, found.mask, found.probability, rule_mm2=trained.rule_mm2)
    for lesion in seen["lesions"]:
        lesion["centroid_voxel"] = volume.to_file_index(lesion["centroid_voxel"]).round(1).tolist()
    scores = {"slice_scores": found.slice_scores, "subtype_scores": found.subtype_scores}
    return {
        **seen,
        **{name: np.round(values, 4).tolist() for name, values in scores.items() if values is not None},
        "rule_from": "evaluate.slice_rule_mm2 of the run's config.json",
        "warnings": [
            *_own(found),
            *_geometry(volume),
            *volume.notes,
            *scan_warnings.warnings(volume, trained_pixel_mm=trained.pixel_mm),
        ],
        "geometry": world_grid.describe_geometry(volume),
        "positions_mm": np.round(volume.positions_mm, 3).tolist(),
        "slice_origins_mm": np.round(volume.file_origins_mm(), 3).tolist(),
        "down_direction": np.round(down, 6).tolist(),
        "across_direction": np.round(across, 6).tolist(),
        "pixel_mm": volume.pixel_mm,
        "threshold": trained.post.threshold,
        "threshold_chosen_on": trained.post.chosen_on,
        "closing_px": closing,
        "opening_px": opening,
        "mode": trained.method.mode,
        "slab_slices": found.slab_slices,
        "folds": list(found.folds),
        "run_folds": list(trained.folds),
        "own_scan": found.own_scan,
        "config_digest": trained.digest,
        "run_digest": trained.identity,
        "changed": trained.changed,
        "scan_digest": scan_digest(volume),
        "use": "research use only",
    }


def _own(found: PredictedScan) -> list[str]:
    if found.own_scan != "trained on it":
        return []
    return ["the run was trained on this very scan: what it says of it says nothing about other scans"]


def _geometry(volume: Volume) -> list[str]:
    """What whoever opens the mask should know."""
    if world_grid.has_exact_affine(volume):
        return []
    return ["tilted or unevenly spaced: mask.nii.gz lies only about right in space, mask_world.nii.gz does"]
