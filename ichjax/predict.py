"""Scans in, masks out: what a trained run says about any head CT."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ichjax import run
from ichjax.data import dicom
from ichjax.data import volume as volumes
from ichjax.data.volume import Volume
from ichjax.errors import InputError
from ichjax.evaluate import figures
from ichjax.files import write_json
from ichjax.methods import base
from ichjax.ops import metrics
from ichjax.train.log import say


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedRun:
    """A method and its parameters, one set for every finished fold of a work directory."""

    method: base.Method
    params: tuple
    folds: tuple[int, ...]
    digest: str


def load_run(workdir: pathlib.Path) -> TrainedRun:
    """Reads a trained run.

    Raises:
      InputError: the folder is no work directory, or no fold in it is finished.
    """
    config = run.load_config(workdir)
    method = base.make(config.method, config)
    finished = sorted(path.parent for path in workdir.glob("fold_*/model.json"))
    if not finished:
        raise InputError(f"{workdir}: no fold is trained; expected fold_0/model.json from `train` or `crossval`")
    params = tuple(method.load(folder) for folder in finished)
    folds = tuple(int(folder.name.removeprefix("fold_")) for folder in finished)
    return TrainedRun(method, params, folds, run.provenance(config)["config_digest"])


def predict_volume(trained: TrainedRun, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """The mask uint8 [D, H, W] and the probability float32 [D, H, W] of a scan, averaged over the run's folds."""
    total = sum(trained.method.predict(params, volume).probability for params in trained.params)
    post = trained.method.post
    scale = _kernel_scale(trained, volume)
    probability, mask = _finish(
        total / len(trained.params),
        np.array([post.threshold], np.float32),
        closing=round(post.closing_px * scale),
        opening=round(post.opening_px * scale),
    )
    return np.asarray(mask), np.asarray(probability)


@functools.partial(jax.jit, static_argnames=("closing", "opening"))
def _finish(probability, threshold, *, closing: int, opening: int):
    mask = metrics.masks_at(probability, threshold, closing=closing, opening=opening)[0]
    return probability, mask.astype(jnp.uint8)


def _kernel_scale(trained: TrainedRun, volume: Volume) -> float:
    """Kernels are so many pixels of the training's grid: on other pixels they keep their millimetres."""
    grid = getattr(trained.params[0], "grid", None)
    return 1.0 if grid is None or grid[:2] == volume.shape[1:] else grid.row_mm / volume.pixel_mm[0]


def find_scans(paths: Sequence[pathlib.Path]) -> tuple[list[tuple[str, Volume]], list[str]]:
    """Reads what the paths name: NIfTI files, folders of them, or folders of DICOM files.

    Returns:
      ([(name for the output, scan)], [one sentence for each that could not be read]). A name is the last part of
      the path that the user gave, never anything from a header.
    """
    found, problems, taken = [], [], set()
    for path in paths:
        files = [path]
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if re.search(r"\.nii(\.gz)?$", p.name)) or [path]
        for file in files:
            try:
                volume = dicom.read_series(file) if file.is_dir() else volumes.read_nifti(file)
            except InputError as error:
                problems.append(str(error))
                continue
            stem = re.sub(r"\.nii(\.gz)?$", "", file.resolve().name)
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip(".") or "scan"
            while name in taken:
                name += "_"
            taken.add(name)
            found.append((name, volume))
    return found, problems


def predict(workdir: pathlib.Path, inputs: Sequence[pathlib.Path], output: pathlib.Path) -> list[str]:
    """The `predict` command.

    For every scan OUTPUT/NAME/ gets mask.nii.gz on the scan's own grid, overlay.png, prediction.json, and, where
    the source was DICOM, scan.nii.gz, the HU that the mask lies on.

    Returns:
      one sentence for each scan that could not be read; the others are done all the same.
    """
    trained = load_run(workdir)
    scans, problems = find_scans(inputs)
    for problem in problems:
        say(f"left out: {problem}")
    if not scans:
        return problems or ["no scan found; expected NIfTI files or folders of DICOM files"]
    folds = ", ".join(map(str, trained.folds))
    trained.method.announce(
        trained.params[0],
        [volume for _, volume in scans for _ in trained.params],
        f"{len(scans)} scan{'s' * (len(scans) > 1)} with the mean of fold{'s' * (len(trained.folds) > 1)} {folds}",
    )
    for name, volume in scans:
        row = _predict_one(trained, name, volume, output)
        say(
            f"{name}: {row['volume_ml']:.2f} mL predicted on {row['positive_slices']} of {row['slices']} slices, "
            f"highest probability {row['highest_probability']:.2f} -> {output / name}"
        )
    say("research use only: not for diagnosis")
    return problems


def _predict_one(trained: TrainedRun, name: str, volume: Volume, output: pathlib.Path) -> dict:
    mask, probability = predict_volume(trained, volume)
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    even = np.allclose(np.diff(volume.positions_mm), volume.spacing_mm[0], rtol=0.01)
    straight = abs(volume.affine[:3, 0] @ volume.normal) > 0.9999 * np.linalg.norm(volume.affine[:3, 0])
    row = {
        "volume_ml": float(mask.sum(axis=(1, 2)) @ volume.pixel_ml),
        "slices": len(mask),
        "positive_slices": int(mask.any(axis=(1, 2)).sum()),
        "highest_probability": float(probability.max()),
        "predicted_px": mask.sum(axis=(1, 2), dtype=int).tolist(),
        "positions_mm": np.round(volume.positions_mm, 3).tolist(),
        "pixel_mm": volume.pixel_mm,
        "geometry": "exact" if even and straight else "approximate: the slices are tilted or unevenly spaced",
        "threshold": trained.method.post.threshold,
        "threshold_chosen_on": trained.method.post.chosen_on,
        "folds": list(trained.folds),
        "config_digest": trained.digest,
        "use": "research use only",
    }
    volumes.write_nifti(folder / "mask.nii.gz", mask, volume)
    if not re.search(r"\.nii(\.gz)?$", volume.name):
        volumes.write_nifti(folder / "scan.nii.gz", volume.hu, volume)
    figures.overlay_sheet(folder / "overlay.png", volume, mask, title=f"{name}: {row['volume_ml']:.2f} mL predicted")
    write_json(folder / "prediction.json", row)
    return row
