"""Scans in, masks out: what a trained run says about any head CT."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ichjax import run, tune
from ichjax.ahead import one_ahead
from ichjax.data import regrid
from ichjax.data import volume as volumes
from ichjax.data.volume import Volume
from ichjax.errors import InputError
from ichjax.evaluate import figures
from ichjax.files import write_json
from ichjax.inputs import Source, find_sources
from ichjax.methods import base
from ichjax.methods.slices import pad_depth
from ichjax.ops import metrics
from ichjax.train.log import say


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedRun:
    """A method and its parameters, one set for every finished fold of a work directory."""

    method: base.Method
    params: tuple
    folds: tuple[int, ...]
    digest: str
    post: base.PostProcess


def load_run(workdir: pathlib.Path) -> TrainedRun:
    """Reads a trained run.

    Raises:
      InputError: the folder is no work directory, or no fold in it is finished.
    """
    config = run.load_config(workdir)
    method = base.make(config.method, config)
    finished = run.fold_folders(workdir, "model.json")
    if not finished:
        raise InputError(f"{workdir}: no fold is trained; expected fold_0/model.json from `train` or `crossval`")
    params = tuple(method.load(folder) for folder in finished)
    folds = tuple(run.fold_number(folder) for folder in finished)
    posts = [tune.read(folder, method.post) for folder in finished]
    return TrainedRun(method, params, folds, run.provenance(config)["config_digest"], tune.combined(posts))


def predict_volume(trained: TrainedRun, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """The mask uint8 [D, H, W] and the probability float32 [D, H, W] of a scan, averaged over the run's folds."""
    total = sum(trained.method.predict(params, volume).probability for params in trained.params)
    post = trained.post
    scale = _kernel_scale(trained, volume)
    probability, mask = _finish(
        pad_depth(total / len(trained.params), 0.0),  # so that few programs are compiled
        np.array([post.threshold], np.float32),
        closing=round(post.closing_px * scale),
        opening=round(post.opening_px * scale),
    )
    return np.asarray(mask)[: len(volume.hu)], np.asarray(probability)[: len(volume.hu)]


@functools.partial(jax.jit, static_argnames=("closing", "opening"))
def _finish(probability, threshold, *, closing: int, opening: int):
    mask = metrics.masks_at(probability, threshold, closing=closing, opening=opening)[0]
    return probability, mask.astype(jnp.uint8)


def _kernel_scale(trained: TrainedRun, volume: Volume) -> float:
    """Kernels are so many pixels of the training scans: on other pixels they keep their millimetres."""
    trained_mm = getattr(trained.params[0], "pixel_mm", None)
    if trained_mm is None or regrid.same_pixels(volume.pixel_mm, trained_mm):
        return 1.0
    return trained_mm[0] / volume.pixel_mm[0]


def predict(
    workdir: pathlib.Path, inputs: Sequence[pathlib.Path], output: pathlib.Path, *, series: int | None = None
) -> list[str]:
    """The `predict` command.

    For every scan OUTPUT/NAME/ gets mask.nii.gz on the scan's own grid, overlay.png, prediction.json, and, where
    the source was DICOM, scan.nii.gz, the HU that the mask lies on. Two scans are in memory at a time:
    the next one is read while one is predicted.

    Returns:
      one sentence for each scan that could not be read; the others are done all the same.
    """
    trained = load_run(workdir)
    sources, problems = find_sources(inputs, series=series)
    for problem in problems:
        say(f"left out: {problem}")
    announced = False
    for source, read in zip(sources, one_ahead(Source.read, sources), strict=True):
        try:
            volume = read()
        except InputError as error:
            problems.append(str(error))
            say(f"left out: {error}")
            continue
        if not announced:
            _announce(trained, volume, len(sources))
            announced = True
        row = _predict_one(trained, source, volume, output / source.name)
        found = f"{row['volume_ml']:.2f} mL predicted on {row['positive_slices']} of {row['slices']} slices"
        say(f"{source.name}: {found}, highest probability {row['highest_probability']:.2f} -> {output / source.name}")
    say("research use only: not for diagnosis")
    return problems


def _announce(trained: TrainedRun, first: Volume, scans: int) -> None:
    """Says how long the scans will take if all are as deep as the first."""
    folds = ", ".join(map(str, trained.folds))
    which = f"mean of folds {folds}" if len(trained.folds) > 1 else f"fold {folds}"
    many = f"{scans} scans, if all are as deep as the first" if scans > 1 else "1 scan"
    trained.method.announce(trained.params[0], [first] * (scans * len(trained.params)), f"{many}, {which}")


def _predict_one(trained: TrainedRun, source: Source, volume: Volume, folder: pathlib.Path) -> dict:
    mask, probability = predict_volume(trained, volume)
    folder.mkdir(parents=True, exist_ok=True)
    row = {
        "volume_ml": float(mask.sum(axis=(1, 2)) @ volume.pixel_ml),
        "slices": len(mask),
        "positive_slices": int(mask.any(axis=(1, 2)).sum()),
        "highest_probability": float(probability.max()),
        "predicted_px": mask.sum(axis=(1, 2), dtype=int).tolist(),
        "positions_mm": np.round(volume.positions_mm, 3).tolist(),
        "pixel_mm": volume.pixel_mm,
        "geometry": _geometry(volume),
        "threshold": trained.post.threshold,
        "threshold_chosen_on": trained.post.chosen_on,
        "folds": list(trained.folds),
        "config_digest": trained.digest,
        "use": "research use only",
    }
    volumes.write_nifti(folder / "mask.nii.gz", mask, volume)
    if source.series is not None:
        volumes.write_nifti(folder / "scan.nii.gz", volume.hu, volume)
    figures.overlay_sheet(folder / "overlay.png", volume, mask, title=f"{row['volume_ml']:.2f} mL predicted")
    write_json(folder / "prediction.json", row)
    return row


def _geometry(volume: Volume) -> str:
    """Whether the affine of what is written says the true place of every slice."""
    even = np.allclose(np.diff(volume.positions_mm), volume.spacing_mm[0], rtol=0.01)
    straight = abs(volume.affine[:3, 0] @ volume.normal) > 0.9999 * np.linalg.norm(volume.affine[:3, 0])
    return "exact" if even and straight else "approximate: the slices are tilted or unevenly spaced"
