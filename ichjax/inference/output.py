"""Write a scan's prediction to its output folder, whole or not at all; recognize and keep predictions already there."""

import contextlib
import dataclasses
import hashlib
import pathlib
import shutil
import time
from collections.abc import Sequence

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.dicom import segmentation as dicom_seg
from ichjax.dicom.series import Series
from ichjax.errors import InputError
from ichjax.files import MASK, SUBTYPE_MASK, atomic, write_json
from ichjax.inference import worklist
from ichjax.inference.discover import PREDICTION_FILE, Source
from ichjax.inference.model import PredictedScan, TrainedRun
from ichjax.inference.provenance import Result, is_outdated
from ichjax.inference.records import PredictionRecord, SourceRecord, WorklistRow, read_prediction
from ichjax.report.figures import run as run_figures
from ichjax.scan import nifti, world_grid
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume

SEGMENTATION_FOLDER = "dicom_seg"  # a folder of its own in the output: its files name the patient
SCAN, PROBABILITY, OVERLAY = "scan.nii.gz", "probability.nii.gz", "overlay.png"
SCAN_WORLD, MASK_WORLD = "scan_world.nii.gz", "mask_world.nii.gz"
SUBTYPE_MASK_WORLD = "subtypes_world.nii.gz"
REQUIRED_FILES = {MASK, OVERLAY, PREDICTION_FILE}
OUTPUT_FILES = REQUIRED_FILES | {SCAN, PROBABILITY, SCAN_WORLD, MASK_WORLD, SUBTYPE_MASK, SUBTYPE_MASK_WORLD}


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """Optional outputs.

    Attributes:
      probability: write probability.nii.gz.
      dicom_seg: write a DICOM Segmentation of each DICOM series.
      overwrite: predict again what is already done.
      subtypes: write subtypes.nii.gz, and a segment for each sub-type into the DICOM Segmentation.
      with_paths: write the paths and series' descriptions of sources, and the names of files that were left out.
    """

    probability: bool = False
    dicom_seg: bool = False
    overwrite: bool = False
    subtypes: bool = False
    with_paths: bool = False


DEFAULT_OUTPUT = OutputOptions()


def read_existing(
    folder: pathlib.Path, source: Source, trained: TrainedRun, volume: Volume, options: OutputOptions
) -> PredictionRecord | None:
    """The prediction of this scan by this run that a folder holds; None where there is none, or a file is missing.

    Raises:
      InputError: the folder holds the prediction of another scan or run, or files that are no prediction, which are
        never overwritten.
    """
    if not folder.exists():
        return None
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else set()
    if PREDICTION_FILE not in names or names - OUTPUT_FILES:
        raise InputError(f"{folder}: holds something else; expected another --output")
    if options.overwrite:
        return None
    record = read_prediction(folder / PREDICTION_FILE)
    if record.get("scan_digest") != volumes.scan_digest(volume):
        raise InputError(f"{folder}: holds another scan's prediction; expected another --output, or --overwrite")
    if record.get("run_digest") != trained.identity:
        content = "a prediction by another run or with other settings"
        raise InputError(f"{folder}: holds {content}; expected another --output, or --overwrite")
    optional = {PROBABILITY: options.probability, SUBTYPE_MASK: options.subtypes}
    complete = names >= REQUIRED_FILES | {name for name, wanted in optional.items() if wanted}
    if options.dicom_seg and source.series is not None:
        written = record.get("dicom_seg", "" if "dicom_seg_problem" in record else None)
        complete &= written == file_digest(segmentation_path(folder))
    return record if complete else None


def read_results(output: pathlib.Path) -> dict[str, Result]:
    """{name: what the folder holds} for the predictions in an output."""
    results = {}
    for path in sorted(output.glob(f"[!.]*/{PREDICTION_FILE}")):
        with contextlib.suppress(InputError, KeyError, TypeError):  # another program's file
            record = read_prediction(path)
            source_hash = record["source"]["hash"] if "source" in record else ""
            results[path.parent.name] = Result(str(source_hash), record["scan_digest"])
    return results


def update_source(folder: pathlib.Path, record: PredictionRecord, source: SourceRecord) -> None:
    """Gives a prediction that is kept the source that it has now, where it lacks one, was moved, or lacks a path."""
    if is_outdated(record.get("source"), source):
        record["source"] = source
        write_json(folder / PREDICTION_FILE, record)


def read_other_rows(output: pathlib.Path, trained: TrainedRun, rows: Sequence[WorklistRow]) -> list[WorklistRow]:
    """Rows of the worklist for the scans that this run predicted earlier and that are not in `rows`."""
    names = {row["scan"] for row in rows}
    other_rows = []
    for path in sorted(output.glob(f"*/{PREDICTION_FILE}")):
        name = path.parent.name
        if name not in names and not name.startswith("."):
            with contextlib.suppress(InputError, KeyError, TypeError, AttributeError):  # another program's file
                record = read_prediction(path)
                if record["run_digest"] == trained.identity:
                    other_rows.append(worklist.make_row(name, record))
    return other_rows


def segmentation_path(folder: pathlib.Path) -> pathlib.Path:
    """The DICOM Segmentation of the scan with this output folder."""
    return folder.parent / SEGMENTATION_FOLDER / f"{folder.name}.dcm"


def write(
    folder: pathlib.Path,
    source: Source,
    volume: Volume,
    prediction: PredictedScan,
    record: PredictionRecord,
    options: OutputOptions,
    started: float,
) -> None:
    """Writes a scan's prediction to a hidden folder and renames it; an older prediction in `folder`, and its DICOM
    Segmentation, are removed.

    Args:
      folder: named after the scan.
      source: where the scan came from.
      volume: the scan.
      prediction: of the scan.
      record: the prediction in numbers; gets 'seconds', and where a DICOM Segmentation is wanted either 'dicom_seg',
        that file's digest, or 'dicom_seg_problem', why there is none.
      options: which files to write.
      started: `time.perf_counter` at the start of the prediction.
    """
    new, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("part", "old"))
    try:
        for leftover in (new, old):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir(parents=True)
        if options.dicom_seg and source.series is not None:
            try:
                _write_segmentation(segmentation_path(folder), source.series, volume, prediction, record)
                record["dicom_seg"] = file_digest(segmentation_path(folder))
            except InputError as error:  # costs the segmentation alone
                record["dicom_seg_problem"] = f"no DICOM Segmentation of {source.path.name}: {error}"
        nifti.write_nifti(new / MASK, prediction.mask, volume)
        if options.probability:
            nifti.write_nifti(new / PROBABILITY, np.rint(prediction.probability * 255).astype(np.uint8), volume)
        if prediction.classes is not None:
            nifti.write_nifti(new / SUBTYPE_MASK, prediction.classes, volume)
        if source.series is not None:
            nifti.write_nifti(new / SCAN, volume.hu, volume)
        if world_grid.describe_geometry(volume) != "exact":
            _write_world(new, volume, prediction)
        name = folder.name.encode("latin-1", "replace").decode("latin-1")  # all that the figure's font is sure to have
        title = f"{name}: {record['volume_ml']:.2f} mL predicted"
        run_figures.overlay_sheet(new / OVERLAY, volume, prediction.mask, title=title)
        record["seconds"] = round(time.perf_counter() - started, 2)
        write_json(new / PREDICTION_FILE, record)
        if "dicom_seg" not in record:
            segmentation_path(folder).unlink(missing_ok=True)  # of the older prediction
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _write_world(folder: pathlib.Path, volume: Volume, prediction: PredictedScan) -> None:
    """Writes the scan, the mask and the sub-types, if there are any, resampled to an axis-aligned, even grid."""
    grid = world_grid.world_grid(volume)
    labels = prediction.mask if prediction.classes is None else prediction.classes  # not 0 where the mask is not
    hu, resampled = world_grid.resample(volume, labels, grid)
    assert resampled is not None  # as labels were given
    nifti.write_grid(folder / SCAN_WORLD, hu, grid.affine)
    nifti.write_grid(folder / MASK_WORLD, (resampled > 0).astype(np.uint8), grid.affine)
    if prediction.classes is not None:
        nifti.write_grid(folder / SUBTYPE_MASK_WORLD, resampled, grid.affine)


def _write_segmentation(
    path: pathlib.Path, series: Series, volume: Volume, prediction: PredictedScan, record: PredictionRecord
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made_from = f"{record['run_digest']} {record['folds']} {record['scan_digest']}"
    subtypes = {}
    if prediction.classes is not None:
        masks = {name: (prediction.classes == k).astype(np.uint8) for k, name in enumerate(SUBTYPES, start=1)}
        subtypes = {name: volume.to_file_grid(mask) for name, mask in masks.items() if mask.any()}
    with atomic(path) as hidden:
        dicom_seg.write(hidden, series, volume.to_file_grid(prediction.mask), made_from=made_from, subtypes=subtypes)


def file_digest(path: pathlib.Path) -> str:
    """Digest of a file's bytes; '' where there is no file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() if path.is_file() else ""
