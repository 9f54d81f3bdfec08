"""One scan's results as a folder: what is in it, whether it is this run's of this very scan, whole or not at all."""

import dataclasses
import pathlib
import shutil

import numpy as np

from ichjax import trained as trained_runs
from ichjax.data import dicom_seg, straight
from ichjax.data import volume as volumes
from ichjax.data.volume import Volume
from ichjax.errors import InputError
from ichjax.evaluate import figures
from ichjax.files import read_json, write_json
from ichjax.inputs import OUTPUT, Source
from ichjax.trained import Found, TrainedRun

SEGMENTATIONS = "dicom_seg"  # a folder of its own in the output: what is in it names the patient
MASK, SCAN, PROBABILITY, OVERLAY = "mask.nii.gz", "scan.nii.gz", "probability.nii.gz", "overlay.png"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is written beside the rest.

    Attributes:
      probability: probability.nii.gz.
      dicom_seg: a DICOM Segmentation of each DICOM series.
      overwrite: predict again what is there already.
    """

    probability: bool = False
    dicom_seg: bool = False
    overwrite: bool = False


NOTHING_MORE = Wanted()


def kept(folder: pathlib.Path, source: Source, trained: TrainedRun, volume: Volume, wanted: Wanted) -> dict | None:
    """What is there already of this scan by this run; None where there is nothing, or not all that is wanted.

    Raises:
      InputError: another scan's, or another run's prediction lies there.
    """
    if wanted.overwrite or not folder.exists():
        return None
    found = read_json(folder / OUTPUT) if (folder / OUTPUT).is_file() else {}
    asked = (trained.digest, list(trained.folds))
    if not found:
        what = "something else"
    elif found.get("scan_digest") != trained_runs.digest(volume):
        what = "another scan's prediction"
    elif (found.get("config_digest"), found.get("run_folds")) != asked:
        what = "another run's prediction"
    else:
        lacks = wanted.probability and not (folder / PROBABILITY).is_file()
        lacks |= wanted.dicom_seg and source.series is not None and not segmentation(folder).is_file()
        return None if lacks else found
    raise InputError(f"{folder}: holds {what}; expected another --output, or --overwrite")


def segmentation(folder: pathlib.Path) -> pathlib.Path:
    """Where the DICOM Segmentation of the scan of a folder is."""
    return folder.parent / SEGMENTATIONS / f"{folder.name}.dcm"


def write(
    folder: pathlib.Path, source: Source, volume: Volume, found: Found, row: dict, wanted: Wanted, seconds
) -> None:
    """Writes a scan's results aside and renames the folder; what was there before goes.

    Args:
      folder: its name is the scan's.
      source: where the scan came from.
      volume: the scan.
      found: its prediction.
      row: the prediction in numbers; gets 'seconds'.
      wanted: what to write.
      seconds: called before the last file is written: how long the scan took.

    Raises:
      InputError: no DICOM Segmentation can refer to the series.
    """
    aside, old = (folder.with_name(f".{folder.name}.{what}") for what in ("part", "old"))
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        if wanted.dicom_seg and source.series is not None:
            _write_segmentation(segmentation(folder), source, volume, found, row)
        volumes.write_nifti(aside / MASK, found.mask, volume)
        if wanted.probability:
            volumes.write_nifti(aside / PROBABILITY, np.rint(found.probability * 255).astype(np.uint8), volume)
        if source.series is not None:
            volumes.write_nifti(aside / SCAN, volume.hu, volume)
        if straight.in_words(volume) != "exact":
            write_world(aside, volume, found.mask)
        figures.overlay_sheet(aside / OVERLAY, volume, found.mask, title=f"{row['volume_ml']:.2f} mL predicted")
        row["seconds"] = round(seconds(), 2)
        write_json(aside / OUTPUT, row)
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
    finally:
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)


def write_world(folder: pathlib.Path, volume: Volume, mask: np.ndarray | None, *, stem: str = "scan") -> None:
    """Writes STEM_world.nii.gz, the scan on a straight grid along the patient's axes, and mask_world.nii.gz if there
    is a mask."""
    grid = straight.world_grid(volume)
    hu, on_grid = straight.resample(volume, mask, grid)
    volumes.write_grid(folder / f"{stem}_world.nii.gz", hu, grid.affine)
    if on_grid is not None:
        volumes.write_grid(folder / "mask_world.nii.gz", on_grid, grid.affine)


def _write_segmentation(path: pathlib.Path, source: Source, volume: Volume, found: Found, row: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    made_from = f"{row['config_digest']} {row['folds']} {row['scan_digest']}"
    try:
        dicom_seg.write(aside, source.series, volume.to_file_grid(found.mask), made_from=made_from)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
