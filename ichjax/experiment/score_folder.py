"""Scores a folder of masks or probabilities from any source, by the same rules as a run of ichjax."""

import pathlib
import re
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from ichjax.config import Config
from ichjax.console import say
from ichjax.data import scan_cache
from ichjax.data.label_tables import SUBTYPES, format_ranges
from ichjax.data.subject import Subject
from ichjax.errors import InputError
from ichjax.experiment import scoring, setup
from ichjax.files import CONFIG_FILE, NOTES_FILE, RESULTS_FILE, write_json, write_text
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
SCALE = 32767  # probabilities pass through int16 on their way to the scan's orientation


def evaluate(
    predictions: pathlib.Path, config: Config, workdir: pathlib.Path | None, *, name: str, subtypes: bool = False
) -> list[str]:
    """The `evaluate` command: scores NIfTI masks or probabilities against a data set, and reports as a run does.

    A file belongs to the subject whose number (or name) is in its name. It must be on the scan's grid, in any axis
    order. A file that cannot be scored costs no other subject its score.

    Args:
      predictions: a folder of .nii or .nii.gz files.
      config: its data set, thresholds, slice rule and excluded subjects.
      workdir: a new folder for results, tables, figures and report; None only prints the table.
      name: of the method, for the tables.
      subtypes: the files are masks of sub-types, as `predict --subtypes` writes them, which are scored as such too.

    Returns:
      One sentence for everything that is missing, surplus or could not be scored.

    Raises:
      InputError: no file belongs to a subject, none could be scored, or the folders are not usable.
    """
    if workdir is None:
        with tempfile.TemporaryDirectory() as folder:
            return _evaluate(predictions, config, pathlib.Path(folder), name, subtypes=subtypes, published=False)
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise InputError(f"{workdir}: is not empty; expected a new folder for the results")
    return _evaluate(predictions, config, workdir, name, subtypes=subtypes, published=True)


def _evaluate(
    predictions: pathlib.Path, config: Config, folder: pathlib.Path, name: str, *, subtypes: bool, published: bool
) -> list[str]:
    dataset = setup.open_dataset(config)
    files, problems = find_files(predictions, dataset.subjects)
    post = PostProcess(config.predict.threshold, config.predict.thresholds, 0, 0, "fixed beforehand")
    rows: list[ScoreRow] = []
    notes, kinds = list(dataset.notes), set()
    subjects = [subject for subject in dataset.subjects if subject.number in files]
    reads = one_ahead(lambda subject: _read(subject, files[subject.number], subtypes=subtypes), subjects)
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
    write_json(folder / CONFIG_FILE, setup.config_record(config, dataset))
    write_text(folder / NOTES_FILE, "".join(f"{note}\n" for note in setup.gather([*notes, *problems])))
    if published:
        publish(folder)
    else:
        say("")
        say(summary_tables.summary_text(read_run(folder).methods))
    return problems


def _read(
    subject: Subject, path: pathlib.Path, *, subtypes: bool
) -> tuple[scan_cache.CachedScan, str, np.ndarray, np.ndarray | None]:
    """(the scan, 'mask' or 'probability', float32 [D, H, W], the classes uint8 [D, H, W] if asked for)."""
    scan = scan_cache.open_scan(subject)
    if not subtypes:
        return scan, *load_prediction(path, scan.volume), None
    classes = load_classes(path, scan.volume)
    return scan, "mask", (classes > 0).astype(np.float32), classes


def _at_one_threshold(row: ScoreRow) -> ScoreRow:
    main = row["main"]
    return {
        **row,
        "predicted_px": [row["predicted_px"][main]],
        "overlap_px": [row["overlap_px"][main]],
        "main": 0,
    }


def find_files(folder: pathlib.Path, subjects: Sequence[Subject]) -> tuple[dict[int, pathlib.Path], list[str]]:
    """Matches files with subjects.

    A file belongs to a subject if its name, without the ending, is the subject's name, or if exactly one number in it
    is a subject's number ('ICH_0049', '049').

    Args:
      folder: of .nii and .nii.gz files, in upper or lower case; other files are ignored.
      subjects: of the data set.

    Returns:
      ({number: file}, one sentence for each kind of mismatch).

    Raises:
      InputError: the folder is missing, holds no NIfTI file, or none that belongs to a subject.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected NIfTI masks or probabilities, one per subject")
    files = sorted(path for path in folder.iterdir() if path.is_file() and nifti.is_nifti_name(path.name))
    if not files:
        raise InputError(f"{folder}: holds no .nii or .nii.gz file; expected masks or probabilities, one per subject")
    names = {str(subject.name): subject.number for subject in subjects}
    numbers = set(names.values())
    claims: dict[int, list[pathlib.Path]] = {}
    surplus = []
    for path in files:
        stem = nifti.strip_extension(path.name)
        found = {int(digits) for digits in re.findall(r"[0-9]+", stem) if len(digits) < 10} & numbers
        owner = names.get(stem) or (found.pop() if len(found) == 1 else None)
        surplus += [path.name] if owner is None else []
        if owner is not None:
            claims.setdefault(owner, []).append(path)
    if not claims:
        raise InputError(
            f"{folder}: none of its {len(files)} files belongs to a subject of the data set ({files[0].name}); "
            f"expected a subject's number in each name: {format_ranges(numbers)}"
        )
    problems = []
    for number, paths in sorted(claims.items()):
        if len(paths) > 1:
            problems.append(f"subject {number}: {len(paths)} files ({', '.join(p.name for p in paths)}); expected one")
    if missing := numbers - set(claims):
        problems.append(f"subjects {format_ranges(missing)}: no file among the predictions")
    if surplus:
        shown = ", ".join(surplus[:5]) + (f" and {len(surplus) - 5} more" if len(surplus) > 5 else "")
        problems.append(f"files that do not belong to exactly one subject of the data set: {shown}")
    return {number: paths[0] for number, paths in claims.items() if len(paths) == 1}, problems


def load_prediction(path: pathlib.Path, volume: Volume) -> tuple[str, np.ndarray]:
    """Reads a mask or a probability on a scan's grid, in the scan's orientation.

    Masks hold 0 and 1, 0 and 255, or a few labels (which are merged); probabilities are floats in [0, 1], or 8 bits,
    where 255 is 1.

    Returns:
      ('mask' or 'probability', float32 [D, H, W] in [0, 1]).

    Raises:
      InputError: unreadable, values that are neither, or another grid than the scan's.
    """
    array, affine = nifti.load_array(path, name=path.name)
    kind, to_fraction = _interpret(array, path.name)
    to_int16 = lambda values: np.rint(to_fraction(values) * SCALE).astype(np.int16)  # noqa: E731
    if array.dtype == np.uint8:  # of 256 levels, each is converted once
        on_scan = volumes.from_file_grid(array, affine, name=path.name)
        volumes.check_same_grid(on_scan, volume)
        return kind, (to_int16(np.arange(256, dtype=np.uint8)).astype(np.float32) / SCALE)[on_scan.hu]
    on_scan = volumes.from_file_grid(to_int16(array), affine, name=path.name)
    volumes.check_same_grid(on_scan, volume)
    return kind, on_scan.hu.astype(np.float32) / SCALE


def load_classes(path: pathlib.Path, volume: Volume) -> np.ndarray:
    """Reads a mask of sub-types on a scan's grid: uint8 [D, H, W], 0 and 1 + the sub-type's index in `SUBTYPES`.

    Raises:
      InputError: unreadable, other values, or another grid than the scan's.
    """
    array, affine = nifti.load_array(path, name=path.name)
    if not np.isin(array, np.arange(len(SUBTYPES) + 1)).all():
        names = ", ".join(f"{label} {name}" for label, name in enumerate(SUBTYPES, start=1))
        raise InputError(
            f"{path.name}: values lie in {array.min():g} to {array.max():g}; expected the labels of sub-types: "
            f"0 background, {names}"
        )
    on_scan = volumes.from_file_grid(array.astype(np.uint8), affine, name=path.name)
    volumes.check_same_grid(on_scan, volume)
    return np.asarray(on_scan.hu)


def _interpret(array: np.ndarray, name: str) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """('mask' or 'probability', a function from its values to float32 in [0, 1])."""
    low, high = float(array.min()), float(array.max())
    whole = array.dtype.kind in "iu" or bool((array == np.rint(array)).all())
    if low >= 0 and high <= 1:
        return ("mask" if whole else "probability"), lambda values: values.astype(np.float32)
    if whole and low >= 0:
        if high <= MAX_MASK_LABELS or (high == 255 and not ((array > 0) & (array < 255)).any()):
            return "mask", lambda values: (values > 0).astype(np.float32)
        if array.dtype == np.uint8:
            return "probability", lambda values: values.astype(np.float32) / 255.0
    raise InputError(
        f"{name}: values lie in {low:g} to {high:g}; expected a mask (0 and 1, 0 and 255, or a few labels) or "
        f"probabilities in [0, 1]"
    )
