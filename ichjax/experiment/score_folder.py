"""Scores a folder of masks or probabilities from any source, by the same rules as a run of ichjax."""

import functools
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from tqdm import tqdm

from ichjax import xla
from ichjax.config import Config
from ichjax.console import say
from ichjax.data import scan_cache
from ichjax.data.label_tables import SUBTYPES
from ichjax.data.subject import Subject
from ichjax.errors import InputError
from ichjax.experiment import scoring, setup
from ichjax.experiment.prediction_files import find_files
from ichjax.files import (
    CONFIG_FILE,
    MASK,
    NOTES_FILE,
    RESULTS_FILE,
    SUBTYPE_MASK,
    check_new,
    write_json,
    write_text,
)
from ichjax.methods.base import PostProcess, Prediction
from ichjax.metrics.records import ScoreRow
from ichjax.prefetch import one_ahead
from ichjax.report.publish import publish
from ichjax.report.tables import summary as summary_tables
from ichjax.report.workdir import read_run
from ichjax.scan import nifti
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume

MAX_MASK_LABELS = 20  # an integer file with more than these is no mask of several labels
MAX_ROUNDING = 1e-3  # how far from a whole number the values of a mask can be, as after float16
EightBits = Literal["as it looks", "probability", "unclear"]  # content of 8-bit files that could be labels
SCALE = 32767  # probabilities pass through int16 on their way to the scan's orientation


def evaluate(
    predictions: pathlib.Path,
    config: Config,
    workdir: pathlib.Path | None,
    *,
    name: str,
    subtypes: bool = False,
    prevalence: float | None = None,
) -> list[str]:
    """The `evaluate` command: scores NIfTI masks or probabilities against a data set, and reports as a run does.

    A file belongs to the subject whose ID is in its name, see `prediction_files`. It must be on the scan's grid, in any
    axis order. A file that cannot be scored costs no other subject its score.

    Args:
      predictions: a folder of .nii or .nii.gz files, or the output of `predict`.
      config: its data set, thresholds, slice rule and excluded subjects.
      workdir: a new folder for results, tables, figures and report; None only prints the table.
      name: of the method, for the tables.
      subtypes: the files are masks of sub-types, as `predict --subtypes` writes them, which are scored as such too.
      prevalence: share of scans with a hemorrhage at which detection is stated too; None for none.

    Returns:
      One sentence for everything that is missing, surplus or could not be scored.

    Raises:
      InputError: no file belongs to a subject, none could be scored, or the folders are not usable.
    """
    xla.start()
    score = functools.partial(_evaluate, predictions, config, name=name, subtypes=subtypes, prevalence=prevalence)
    if workdir is None:
        with tempfile.TemporaryDirectory() as folder:
            return score(pathlib.Path(folder), published=False)
    check_new(workdir, "the results")
    return score(workdir, published=True)


def _evaluate(
    predictions: pathlib.Path,
    config: Config,
    folder: pathlib.Path,
    *,
    name: str,
    published: bool,
    subtypes: bool,
    prevalence: float | None,
) -> list[str]:
    dataset = setup.open_dataset(config)
    files, problems = find_files(predictions, dataset.subjects, inner=SUBTYPE_MASK if subtypes else MASK)
    post = PostProcess(config.predict.threshold, config.predict.thresholds, 0, 0, "fixed beforehand")
    rows: list[ScoreRow] = []
    notes, kinds = list(dataset.notes), set()
    subjects = [subject for subject in dataset.subjects if subject.number in files]
    eight_bits = "as it looks" if subtypes else eight_bit_kind(files.values())
    read_one = lambda subject: _read(  # noqa: E731
        subject, files[subject.number], predictions, subtypes=subtypes, eight_bits=eight_bits
    )
    reads = one_ahead(read_one, subjects)
    for read in tqdm(reads, desc="scoring", total=len(subjects), disable=None):
        try:
            scan, kind, probability, classes = read()
        except InputError as error:
            problems.append(str(error))
        else:
            row = scoring.score_scan(
                scan,
                Prediction(probability),
                post,
                thresholds=post.all_thresholds,
                fold=None,
                folder=folder if published else None,
                config=config,
                classes=classes,
            )
            rows.append(row)
            kinds.add(kind)
            notes += scan.notes
    for problem in problems:
        say(f"skipped: {problem}")
    if not rows:
        raise InputError(f"{predictions}: none of its files could be scored")
    thresholds, chosen_on = post.all_thresholds, post.chosen_on
    if kinds == {"mask"}:  # the same at every threshold, so one is enough
        rows, thresholds = [_at_one_threshold(row) for row in rows], (post.threshold,)
        chosen_on = "fixed beforehand and without effect: the files are masks"
    results = scoring.results(config, rows, thresholds=thresholds, chosen_on=chosen_on)
    origin = setup.provenance(config)
    seen = {row["subject"] for row in rows}
    scoring.write(
        folder / RESULTS_FILE,
        {"method": name, "title": name, "published": {}, **origin, "scored": sorted(kinds), **results},
        unreadable=[s.number for s in dataset.subjects if s.number not in seen],
        rows=rows,
    )
    scoring.add_detection(folder / RESULTS_FILE, prevalence)
    write_json(folder / CONFIG_FILE, setup.config_record(config, dataset))
    write_text(folder / NOTES_FILE, "".join(f"{note}\n" for note in setup.gather([*notes, *problems])))
    if published:
        publish(folder)
    else:
        say("")
        say(summary_tables.summary_text(read_run(folder).methods))
    return problems


def _read(
    subject: Subject, path: pathlib.Path, folder: pathlib.Path, *, subtypes: bool, eight_bits: EightBits
) -> tuple[scan_cache.CachedScan, str, np.ndarray, np.ndarray | None]:
    """(the scan, 'mask' or 'probability', float32 [D, H, W], the classes uint8 [D, H, W] if asked for)."""
    scan, name = scan_cache.open_scan(subject), path.relative_to(folder).as_posix()
    if not subtypes:
        return scan, *load_prediction(path, scan.volume, name=name, eight_bits=eight_bits), None
    classes = load_classes(path, scan.volume, name=name)
    return scan, "mask", (classes > 0).astype(np.float32), classes


def _at_one_threshold(row: ScoreRow) -> ScoreRow:
    main = row["main"]
    return {
        **row,
        "predicted_px": [row["predicted_px"][main]],
        "overlap_px": [row["overlap_px"][main]],
        "main": 0,
    }


def eight_bit_kind(paths: Iterable[pathlib.Path]) -> EightBits:
    """How to read 8-bit files that could be labels: a probability that is low everywhere, as without a hemorrhage,
    looks like a mask of a few labels. The other files of the folder decide."""
    clear = unclear = 0
    for path in paths:
        try:
            array, _ = nifti.load_array(path)
            if array.dtype == np.uint8:
                is_clear = _interpret(array, path.name)[0] == "probability"
                clear += is_clear
                unclear += not is_clear and 0 < array.max() < 255
        except InputError:  # reported when it is scored
            continue
    if not clear:
        return "as it looks"
    return "probability" if clear >= unclear else "unclear"


def load_prediction(
    path: pathlib.Path, volume: Volume, *, name: str | None = None, eight_bits: EightBits = "as it looks"
) -> tuple[str, np.ndarray]:
    """Reads a mask or a probability on a scan's grid, in the scan's orientation.

    Masks hold 0 and one other value, such as 1 or 255, or a few labels (which are merged); probabilities are floats in
    [0, 1], or 8 bits, where 255 is 1. Values can be off by rounding, as under a scaled header.

    Args:
      path: a NIfTI file.
      volume: the scan.
      name: the name used in messages; None uses the file's name.
      eight_bits: from `eight_bit_kind`.

    Returns:
      ('mask' or 'probability', float32 [D, H, W] in [0, 1]).

    Raises:
      InputError: unreadable, values that are neither, or another grid than the scan's.
    """
    name = name or path.name
    array, affine = nifti.load_array(path, name=name)
    kind, to_fraction = _interpret(array, name, eight_bits=eight_bits)
    to_int16 = lambda values: np.rint(to_fraction(values) * SCALE).astype(np.int16)  # noqa: E731
    if array.dtype == np.uint8:  # of 256 levels, each is converted once
        on_scan = volumes.from_file_grid(array, affine, name=name)
        volumes.check_same_grid(on_scan, volume)
        return kind, (to_int16(np.arange(256, dtype=np.uint8)).astype(np.float32) / SCALE)[on_scan.hu]
    on_scan = volumes.from_file_grid(to_int16(array), affine, name=name)
    volumes.check_same_grid(on_scan, volume)
    return kind, on_scan.hu.astype(np.float32) / SCALE


def load_classes(path: pathlib.Path, volume: Volume, *, name: str | None = None) -> np.ndarray:
    """Reads a mask of sub-types on a scan's grid: uint8 [D, H, W], 0 and 1 + the sub-type's index in `SUBTYPES`.

    Args:
      path, volume, name: see `load_prediction`.

    Raises:
      InputError: unreadable, other values, or another grid than the scan's.
    """
    name = name or path.name
    array, affine = nifti.load_array(path, name=name)
    low, high = _range(array)
    if not (low >= 0 and high <= len(SUBTYPES) and _are_labels(array, high)):
        names = ", ".join(f"{label} {subtype}" for label, subtype in enumerate(SUBTYPES, start=1))
        raise InputError(
            f"{name}: values lie in {array.min():g} to {array.max():g}; expected the labels of sub-types: "
            f"0 background, {names}"
        )
    on_scan = volumes.from_file_grid(np.rint(array).astype(np.uint8), affine, name=name)
    volumes.check_same_grid(on_scan, volume)
    return np.asarray(on_scan.hu)


def _interpret(
    array: np.ndarray, name: str, *, eight_bits: EightBits = "as it looks"
) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """('mask' or 'probability', a function from its values to float32 in [0, 1])."""
    low, high = _range(array)
    eight_bit_probability = "probability", lambda values: values.astype(np.float32) / 255.0
    has_one_value = low == 0 and high > 1 and (array.dtype.kind in "iu" or high == 255)
    has_one_value = has_one_value and not ((array > 0.5) & (array < high - 0.5)).any()
    looks_like_mask = 0 < high <= MAX_MASK_LABELS or has_one_value
    if eight_bits != "as it looks" and array.dtype == np.uint8 and looks_like_mask and high < 255:
        if eight_bits == "probability":
            return eight_bit_probability
        raise InputError(
            f"{name}: holds whole numbers up to {high:g}, which are labels or low 8-bit probabilities like those in "
            f"other files of the folder; expected masks only, or probabilities only"
        )
    if low >= 0 and high <= MAX_MASK_LABELS and _are_labels(array, high):
        return "mask", lambda values: (values > 0.5).astype(np.float32)
    if low >= 0 and high <= 1:
        return "probability", lambda values: values.clip(0, 1).astype(np.float32)
    if has_one_value:
        return "mask", lambda values: (values > high / 2).astype(np.float32)
    if array.dtype == np.uint8:
        return eight_bit_probability
    raise InputError(
        f"{name}: values lie in {array.min():g} to {array.max():g}; expected a mask (0 and 1, 0 and 255, or a few "
        f"labels) or probabilities in [0, 1]"
    )


def _range(array: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest value, each a whole number where it is within rounding of one."""
    low, high = float(array.min()), float(array.max())
    nearest = lambda value: float(np.rint(value)) if abs(value - np.rint(value)) <= MAX_ROUNDING else value  # noqa: E731
    return nearest(low), nearest(high)


def _are_labels(array: np.ndarray, high: float) -> bool:
    """Whether an array holds whole numbers up to `high`, give or take what 8 bits under a scaled header lose."""
    if array.dtype.kind in "iu":
        return True
    tolerance = MAX_ROUNDING + (high / 510 if high > 1 else 0)  # half a step, if the highest label is stored as 255
    return bool((np.abs(array - np.rint(array)) <= tolerance).all())
