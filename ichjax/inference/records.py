"""Types of the records that are written: prediction.json, worklist.csv, the JSON of `convert` and of `export`.

Their keys are a contract; docs/prediction.md says what each one means.
"""

import pathlib
from collections.abc import Sequence
from typing import Literal, NotRequired, Required, TypedDict, cast

from ichjax.errors import InputError
from ichjax.files import read_json
from ichjax.metrics.secondary_records import VolumeInterval

PREDICTION_SCHEMA = 2  # of prediction.json; a file without the field is version 1, which only lacks this field
Side = Literal["left", "right", "midline", "unknown"]  # of the patient


class Lesion(TypedDict):
    """A connected component of a predicted mask."""

    volume_ml: float
    abc2_ml: float
    diameter_mm: float
    centroid_mm: list[float]
    centroid_voxel: list[float]
    side: Side
    slices: list[int]
    to_skull_mm: float | None
    highest_probability: float
    subtype_ml: NotRequired[dict[str, float]]


class LeftOutSeries(TypedDict):
    """A series of a DICOM study that was not read; number is its SeriesNumber."""

    rank: int
    number: int | None
    slices: int
    reason: str


class SeriesChoice(TypedDict):
    """The series of a DICOM study that was read, and those that were not."""

    rank: int
    number: int | None
    slices: int
    left_out: list[LeftOutSeries]


class Findings(TypedDict):
    """The part of prediction.json that is measured on the mask and the probability."""

    volume_ml: float
    abc2_ml: float
    slices: int
    positive_slices: list[int]
    rule_mm2: float
    predicted_px: list[int]
    highest_probability: float
    suspicion: float
    small_components: int
    lesions: list[Lesion]


class SliceScores(TypedDict, total=False):
    """The part of prediction.json that only some methods have."""

    slice_scores: list[float]
    subtype_scores: list[list[float]]
    scan_scores: list[float | None]


class SkullRestriction(TypedDict, total=False):
    """The part of prediction.json that only config.predict.inside_skull gives."""

    skull_found: bool
    outside_skull_ml: float


class SubtypeVolumes(TypedDict):
    """The sub-types by label of subtypes.nii.gz, and the volume of each."""

    labels: dict[str, str]
    volume_ml: dict[str, float]


class SubtypeFindings(TypedDict, total=False):
    """The part of prediction.json that only `predict --subtypes` gives."""

    subtypes: SubtypeVolumes


class MissingInterval(TypedDict, total=False):
    """The part of prediction.json that says why `volume_interval_ml` is None."""

    volume_interval_missing: str


class SourceRecord(TypedDict):
    """Where a scan came from, without naming a patient; path and description only with `--with_paths`."""

    input: int
    input_path: int
    series_number: int | None
    slices: int | None  # None in a row of the worklist for a scan that could not be read
    hash: str
    path: NotRequired[str]
    series_description: NotRequired[str]


class PredictionRecord(Findings, SliceScores, SkullRestriction, SubtypeFindings, MissingInterval):
    """prediction.json."""

    schema: int
    volume_interval_ml: VolumeInterval | None
    rule_from: str
    warnings: list[str]
    series: NotRequired[SeriesChoice]  # from DICOM
    geometry: str
    positions_mm: list[float]
    slice_origins_mm: list[list[float]]
    down_direction: list[float]
    across_direction: list[float]
    pixel_mm: Sequence[float]
    threshold: float
    threshold_chosen_on: str
    closing_px: int
    opening_px: int
    gates: dict[str, float | int]
    mode: str
    slab_slices: int
    folds: list[int]
    run_folds: list[int]
    own_scan: str
    config_digest: str
    run_digest: str
    changed: dict[str, bool | int | float | str]
    scan_digest: str
    use: str
    dicom_seg: NotRequired[str]
    dicom_seg_problem: NotRequired[str]
    seconds: NotRequired[float]  # of every file; not yet known when the prediction is described
    source: NotRequired[SourceRecord]  # of every file; files of earlier versions lack it
    peak_memory_mb: NotRequired[int]  # likewise


class WorklistRow(TypedDict, total=False):
    """A row of worklist.csv, its columns in this order.

    Where a scan was not predicted, there are only `scan`, `problem`, `source` and `path`; the last two as far as known.
    """

    scan: Required[str]
    suspicion: float
    volume_ml: float
    volume_interval_ml: str
    abc2_ml: float
    lesions: int
    largest_ml: float
    largest_diameter_mm: float
    side: str
    positive_slices: str
    slices: int
    highest_probability: float
    geometry: str
    seconds: float
    peak_memory_mb: int
    series: str
    warnings: str
    problem: Required[str]  # '' for a scan that was predicted and all of whose outputs were written
    source: str
    path: str  # a column only with `--with_paths`


class ManifestInput(TypedDict, total=False):
    """A scan in manifest.json."""

    index: Required[int]  # from 1, in the order of the command
    scan: Required[str]  # '' for an input path without a scan
    source: Required[str]  # as in the worklist
    state: Required[Literal["predicted", "kept", "skipped"]]
    scan_digest: str
    problem: str


class ScanRecord(TypedDict):
    """NAME.json, which `convert` writes about a DICOM series."""

    geometry: str
    tilt_degrees: float
    slices: int
    pixel_mm: Sequence[float]
    gap_mm: float
    positions_mm: list[float]
    slice_origins_mm: list[list[float]]
    first_axis: list[float]
    second_axis: list[float]
    kernel: str
    contrast: bool
    remarks: list[str]
    series: NotRequired[SeriesChoice]
    warnings: list[str]
    lowest_hu: int
    highest_hu: int
    scan_digest: str
    made_by: str
    source: NotRequired[SourceRecord]  # of every file; files of earlier versions lack it


class ProgramRecord(TypedDict):
    """model.json, which `export` writes about a program."""

    takes: str
    gives: str
    side: int
    pixel_mm: list[float]
    platforms: list[str]
    calling_convention_version: int
    threshold: float
    threshold_chosen_on: str
    closing_px: int
    opening_px: int
    gates_not_applied: NotRequired[dict[str, float | int]]  # of the run; the program has none
    folds: list[int]
    config_digest: str
    made: str  # day of the export, ISO 8601
    loads_until: str  # the last day on which JAX guarantees to load it
    versions: dict[str, str]
    use: str


def read_prediction(path: pathlib.Path) -> PredictionRecord:
    """Reads a prediction.json of this or an earlier schema.

    Raises:
      InputError: it cannot be read as a JSON object, or its schema is not a known one.
    """
    record = read_json(path)
    schema = record.get("schema", 1)
    if schema not in range(1, PREDICTION_SCHEMA + 1):
        raise InputError(f"{path}: has schema {schema!r}; expected at most {PREDICTION_SCHEMA}")
    return cast(PredictionRecord, {**record, "schema": schema})  # any program may have written it: keys may be missing
