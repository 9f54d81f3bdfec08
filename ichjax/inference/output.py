"""One scan's results as a folder: what is in it, whether it is this run's of this very scan, whole or not at all."""

import contextlib
import dataclasses
import hashlib
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np

from ichjax.dicom import segmentation as dicom_seg
from ichjax.errors import InputError
from ichjax.files import atomic, read_json, write_json
from ichjax.inference import worklist
from ichjax.inference.discover import PREDICTION_FILE, Source
from ichjax.inference.model import PredictedScan, TrainedRun
from ichjax.report.figures import run as run_figures
from ichjax.scan import nifti, world_grid
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume

SEGMENTATIONS = "dicom_seg"  # a folder of its own in the output: what is in it names the patient
MASK, SCAN, PROBABILITY, OVERLAY = "mask.nii.gz", "scan.nii.gz", "probability.nii.gz", "overlay.png"
SCAN_WORLD, MASK_WORLD = "scan_world.nii.gz", "mask_world.nii.gz"
ALWAYS = {MASK, OVERLAY, PREDICTION_FILE}
OUTPUT_FILES = ALWAYS | {SCAN, PROBABILITY, SCAN_WORLD, MASK_WORLD}


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """What is written beside the rest.

    Attributes:
      probability: probability.nii.gz.
      dicom_seg: a DICOM Segmentation of each DICOM series.
      overwrite: predict again what is there already.
    """

    probability: bool = False
    dicom_seg: bool = False
    overwrite: bool = False


DEFAULT_OUTPUT = OutputOptions()


def kept(
    folder: pathlib.Path, source: Source, trained: TrainedRun, volume: Volume, options: OutputOptions
) -> dict | None:
    """What is there already of this scan by this run; None where there is nothing, or not all that is wanted.

    Raises:
      InputError: another scan's, or another run's prediction lies there, or anything that is no prediction: that is
        never overwritten.
    """
    if not folder.exists():
        return None
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else set()
    if PREDICTION_FILE not in names or names - OUTPUT_FILES:
        raise InputError(f"{folder}: holds something else; expected another --output")
    if options.overwrite:
        return None
    found = read_json(folder / PREDICTION_FILE)
    if found.get("scan_digest") != volumes.scan_digest(volume):
        raise InputError(f"{folder}: holds another scan's prediction; expected another --output, or --overwrite")
    if found.get("run_digest") != trained.identity:
        what = "a prediction by another run or with other settings"
        raise InputError(f"{folder}: holds {what}; expected another --output, or --overwrite")
    whole = names >= ALWAYS | ({PROBABILITY} if options.probability else set())
    if options.dicom_seg and source.series is not None:
        whole &= found.get("dicom_seg") == _digest_of(segmentation(folder))
    return found if whole else None


def others(output: pathlib.Path, trained: TrainedRun, rows: Sequence[dict]) -> list[dict]:
    """Lines of the worklist for the scans that this run predicted before and that `rows` do not name."""
    named = {row["scan"] for row in rows}
    found = []
    for path in sorted(output.glob(f"*/{PREDICTION_FILE}")):
        name = path.parent.name
        if name not in named and not name.startswith("."):
            with contextlib.suppress(InputError, KeyError, TypeError, AttributeError):  # a file of somebody else's
                there = read_json(path)
                if there["run_digest"] == trained.identity:
                    found.append(worklist.row(name, there))
    return found


def segmentation(folder: pathlib.Path) -> pathlib.Path:
    """Where the DICOM Segmentation of the scan of a folder is."""
    return folder.parent / SEGMENTATIONS / f"{folder.name}.dcm"


def write(
    folder: pathlib.Path,
    source: Source,
    volume: Volume,
    found: PredictedScan,
    row: dict,
    options: OutputOptions,
    seconds,
) -> None:
    """Writes a scan's results aside and renames the folder; what `kept` found there before goes, a DICOM Segmentation
    of it too.

    Args:
      folder: its name is the scan's.
      source: where the scan came from.
      volume: the scan.
      found: its prediction.
      row: the prediction in numbers; gets 'seconds', and 'dicom_seg', a digest of that file.
      wanted: what to write.
      seconds: called before the last file is written: how long the scan took.

    Raises:
      InputError: no DICOM Segmentation can refer to the series.
    """
    aside, old = (folder.with_name(f".{folder.name}.{what}") for what in ("part", "old"))
    try:
        for left in (aside, old):  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        aside.mkdir(parents=True)
        if options.dicom_seg and source.series is not None:
            _write_segmentation(segmentation(folder), source, volume, found, row)
            row["dicom_seg"] = _digest_of(segmentation(folder))
        nifti.write_nifti(aside / MASK, found.mask, volume)
        if options.probability:
            nifti.write_nifti(aside / PROBABILITY, np.rint(found.probability * 255).astype(np.uint8), volume)
        if source.series is not None:
            nifti.write_nifti(aside / SCAN, volume.hu, volume)
        if world_grid.describe_geometry(volume) != "exact":
            _write_world(aside, volume, found.mask)
        name = folder.name.encode("latin-1", "replace").decode("latin-1")  # the figure's font holds no more for certain
        run_figures.overlay_sheet(
            aside / OVERLAY, volume, found.mask, title=f"{name}: {row['volume_ml']:.2f} mL predicted"
        )
        row["seconds"] = round(seconds(), 2)
        write_json(aside / PREDICTION_FILE, row)
        if "dicom_seg" not in row:
            segmentation(folder).unlink(missing_ok=True)  # of what was here before
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
    finally:
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)


def _write_world(folder: pathlib.Path, volume: Volume, mask: np.ndarray) -> None:
    grid = world_grid.world_grid(volume)
    hu, on_grid = world_grid.resample(volume, mask, grid)
    nifti.write_grid(folder / SCAN_WORLD, hu, grid.affine)
    nifti.write_grid(folder / MASK_WORLD, on_grid, grid.affine)


def _write_segmentation(path: pathlib.Path, source: Source, volume: Volume, found: PredictedScan, row: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made_from = f"{row['run_digest']} {row['folds']} {row['scan_digest']}"
    with atomic(path) as aside:
        dicom_seg.write(aside, source.series, volume.to_file_grid(found.mask), made_from=made_from)


def _digest_of(path: pathlib.Path) -> str:
    """Of a file's bytes; '' where there is none."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() if path.is_file() else ""
