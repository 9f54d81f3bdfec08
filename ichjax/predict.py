"""What a trained run says about a head CT: probability, mask, and what a reader would note of it."""

import dataclasses
import functools
import hashlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from ichjax import run, tune
from ichjax.data import regrid
from ichjax.data.volume import Volume
from ichjax.errors import InputError
from ichjax.evaluate import findings, quality
from ichjax.methods import base
from ichjax.methods.slices import pad_depth
from ichjax.ops import metrics


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedRun:
    """A method and its parameters, one set for every finished fold of a work directory."""

    method: base.Method
    params: tuple
    folds: tuple[int, ...]
    digest: str
    post: base.PostProcess
    rule_mm2: float
    method_name: str


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
    rule = config.evaluate.slice_rule_mm2
    posts = [tune.read(folder, method.post) for folder in finished]
    return TrainedRun(
        method, params, folds, run.provenance(config)["config_digest"], tune.combined(posts), rule, config.method
    )


def predict_volume(trained: TrainedRun, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """The mask uint8 [D, H, W] and the probability float32 [D, H, W] of a scan, averaged over the run's folds."""
    total = sum(trained.method.predict(params, volume).probability for params in trained.params)
    closing, opening = kernels(trained, regrid.own_grid(volume))
    probability, mask = _finish(
        pad_depth(total / len(trained.params), 0.0),  # so that few programs are compiled
        np.array([trained.post.threshold], np.float32),
        closing=closing,
        opening=opening,
    )
    return np.asarray(mask)[: len(volume.hu)], np.asarray(probability)[: len(volume.hu)]


@functools.partial(jax.jit, static_argnames=("closing", "opening"))
def _finish(probability, threshold, *, closing: int, opening: int):
    mask = metrics.masks_at(probability, threshold, closing=closing, opening=opening)[0]
    return probability, mask.astype(jnp.uint8)


def kernels(trained: TrainedRun, own: regrid.Geometry) -> tuple[int, int]:
    """(closing, opening) in pixels of a grid: they are so many of the training scans, and keep their millimetres."""
    post, trained_mm = trained.post, getattr(trained.params[0], "pixel_mm", None)
    pixel_mm = (own.row_mm, own.column_mm)
    known = trained_mm is not None and not regrid.same_pixels(pixel_mm, trained_mm)
    scale = trained_mm[0] / pixel_mm[0] if known else 1.0
    return round(post.closing_px * scale), round(post.opening_px * scale)


def describe(trained: TrainedRun, volume: Volume, mask: np.ndarray, probability: np.ndarray) -> dict:
    """A prediction in numbers (`findings.describe`), with what it was made by, the scan's geometry and what speaks
    against it (`quality.warnings`): ready for JSON."""
    return {
        **findings.describe(volume, mask, probability, rule_mm2=trained.rule_mm2),
        "warnings": quality.warnings(volume, trained_pixel_mm=getattr(trained.params[0], "pixel_mm", None)),
        "positions_mm": np.round(volume.positions_mm, 3).tolist(),
        "pixel_mm": volume.pixel_mm,
        "geometry": _geometry(volume),
        "threshold": trained.post.threshold,
        "threshold_chosen_on": trained.post.chosen_on,
        "folds": list(trained.folds),
        "config_digest": trained.digest,
        "scan_digest": digest(volume),
        "use": "research use only",
    }


def digest(volume: Volume) -> str:
    """Tells scans apart: of the HU and of the place of every slice, never of a header."""
    found = hashlib.blake2b(np.ascontiguousarray(volume.hu), digest_size=16)
    found.update(np.round(volume.slice_origins_mm, 2).tobytes() + np.round(volume.affine, 4).tobytes())
    return found.hexdigest()


def _geometry(volume: Volume) -> str:
    """Whether the affine of what is written says the true place of every slice."""
    even = np.allclose(np.diff(volume.positions_mm), volume.spacing_mm[0], rtol=0.01)
    straight = abs(volume.affine[:3, 0] @ volume.normal) > 0.9999 * np.linalg.norm(volume.affine[:3, 0])
    return "exact" if even and straight else "approximate: the slices are tilted or unevenly spaced"
