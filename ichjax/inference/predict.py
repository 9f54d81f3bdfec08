"""The `predict` command: any number of scans, each with a folder of results, and a worklist of them all."""

import contextlib
import pathlib
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ichjax.console import say
from ichjax.dicom import segmentation as dicom_seg
from ichjax.errors import InputError, only_input_errors
from ichjax.files import claim
from ichjax.inference import model as trained_runs
from ichjax.inference import output as outputs
from ichjax.inference import worklist
from ichjax.inference.discover import Source, find_sources
from ichjax.inference.model import PredictedScan, TrainedRun
from ichjax.inference.output import DEFAULT_OUTPUT, OutputOptions
from ichjax.prefetch import one_ahead
from ichjax.scan import slabs
from ichjax.scan.volume import Volume


def predict_scans(
    workdir: pathlib.Path,
    inputs: Sequence[pathlib.Path],
    output: pathlib.Path,
    *,
    fold: int | None = None,
    series: int | None = None,
    options: OutputOptions = DEFAULT_OUTPUT,
    **fields,
) -> list[str]:
    """Predicts every scan that the inputs name, and writes OUTPUT/worklist.csv, the most suspicious scan first.

    For every scan OUTPUT/NAME/ gets mask.nii.gz on the scan's own grid, overlay.png, prediction.json, where the source
    was DICOM scan.nii.gz, the HU that the mask lies on, and where slices are tilted or unevenly spaced both once more
    on a straight grid (`*_world.nii.gz`). A folder appears whole or not at all; one that is there already is kept if
    it holds this run's prediction of this very scan. Three scans are in memory at a time: while one is predicted the
    next one is read and the one before is written.

    Args:
      workdir: of `crossval` or `train`; its finished folds are averaged.
      inputs: as `find_sources` takes them.
      output: made where it is missing.
      fold: as for `trained_runs.load_run`.
      series: as for `find_sources`.
      wanted: what is written beside the rest.
      **fields: of config.predict, as for `trained_runs.load_run`.

    Returns:
      one sentence for each scan that could not be predicted; the others are done all the same.

    Raises:
      InputError: the run cannot be read, or another process is writing to the output.
    """
    trained = trained_runs.load_run(workdir, fold=fold, **fields)
    sources, problems = find_sources(inputs, series=series, taken=(outputs.SEGMENTATIONS, worklist.WORKLIST_FILE))
    for problem in problems:
        say(f"left out: {problem}")
    rows = [worklist.failed("", problem) for problem in problems]
    with claim(output) if sources else contextlib.nullcontext():
        if options.dicom_seg and any(source.series is not None for source in sources):
            say(f"{output / outputs.SEGMENTATIONS}: DICOM Segmentations name the patient, as their sources do")
        try:
            found, kept = _each(trained, sources, output, options)
            rows = worklist.in_order(rows + found)
        finally:  # interrupted, too: what is done has its line
            if lines := worklist.in_order(rows + outputs.others(output, trained, rows)) if sources else []:
                worklist.write(output, lines)
    worklist.say_summary(rows, output, kept=kept)
    return [row["problem"] for row in rows if row["problem"]]


def _each(
    trained: TrainedRun, sources: Sequence[Source], output: pathlib.Path, options: OutputOptions
) -> tuple[list[dict], int]:
    """(a line of the worklist for each source, how many were there already); one scan is written while the next one is
    predicted."""
    rows, kept, before, announced = [], 0, None, False
    with ThreadPoolExecutor(1) as writer:
        for source, read in zip(sources, one_ahead(Source.read, sources), strict=True):
            folder, outcome = output / source.name, Future()
            try:
                volume = read()
                with only_input_errors(str(folder)):
                    there = outputs.kept(folder, source, trained, volume, options)
                if there is not None:
                    kept += 1
                    say(f"{source.name}: is there already")
                    outcome.set_result(there)
                else:
                    if not announced:
                        with only_input_errors(str(source.path), "predicted"):
                            _announce(trained, volume, len(sources))
                        announced = True
                    started = time.perf_counter()
                    found = _predict(trained, source, volume, options)
                    outcome = writer.submit(_write, trained, source, volume, folder, found, options, started)
            except InputError as error:
                outcome.set_exception(error)
            rows += _line(before)
            before = (source, outcome)
        rows += _line(before)
    return rows, kept


def _predict(trained: TrainedRun, source: Source, volume: Volume, options: OutputOptions) -> PredictedScan:
    with only_input_errors(str(source.path), "predicted"):
        if options.dicom_seg and source.series is not None:
            dicom_seg.source_images(source.series)  # what is wrong with them is told before the work
        return trained_runs.predict(volume, trained)


def _line(before: tuple[Source, Future] | None) -> list[dict]:
    """Waits for what is being written, and makes its line of the worklist."""
    if before is None:
        return []
    source, outcome = before
    try:
        return [worklist.row(source.name, outcome.result())]
    except InputError as error:
        say(f"left out: {error}")
        return [worklist.failed(source.name, str(error))]


def _announce(trained: TrainedRun, first: Volume, scans: int) -> None:
    """Says how long predicting all scans will take if they are like the first; reading and writing go on beside it."""
    folds = ", ".join(map(str, trained.folds))
    which = f"mean of folds {folds}" if len(trained.folds) > 1 else f"fold {folds}"
    many = f"{scans} scans, if all are like the first" if scans > 1 else "1 scan"
    seen, _ = slabs.average_to_slabs(first, trained.slice_spacing_mm)
    what = f"{many}, prediction alone, {trained.method.mode}, {which}"
    trained.method.announce(trained.params[0], [seen] * (scans * len(trained.params)), what)


def _write(
    trained: TrainedRun,
    source: Source,
    volume: Volume,
    folder: pathlib.Path,
    found: PredictedScan,
    options: OutputOptions,
    started,
) -> dict:
    """Describes and writes a prediction; what prediction.json holds."""
    with only_input_errors(str(source.path), "described"):
        row = trained_runs.describe(trained, volume, found)
    if source.series is not None:
        row["warnings"] = [f"series: {drawback}" for drawback in source.series.traits.drawbacks()] + row["warnings"]
    with only_input_errors(str(source.path), "written", but=(OSError,)):  # a full disk is full for all
        outputs.write(folder, source, volume, found, row, options, lambda: time.perf_counter() - started)
    noted = "".join(f"; {warning}" for warning in row["warnings"])
    own = f" (its own scan: fold {row['folds'][0]} had not seen it)" if row["own_scan"] == "held out" else ""
    say(f"{source.name}: {_in_words(row)}{own}{noted} -> {folder}")
    return row


def _in_words(found: dict) -> str:
    lesions, slices = len(found["lesions"]), len(found["positive_slices"])
    return (
        f"{found['volume_ml']:.2f} mL, {lesions} {'lesion' if lesions == 1 else 'lesions'}, {slices} of "
        f"{found['slices']} slices positive"
    )
