"""The `predict` command: masks of any number of scans, an output folder for each, and a worklist of them all."""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from ichjax import xla
from ichjax.console import say
from ichjax.errors import InputError, only_input_errors
from ichjax.files import claim
from ichjax.inference import manifest, peak_memory, provenance, worklist
from ichjax.inference import model as trained_runs
from ichjax.inference import output as outputs
from ichjax.inference.describe import describe
from ichjax.inference.discover import Source, find_sources
from ichjax.inference.manifest import Progress
from ichjax.inference.model import FieldValue, PredictedScan, TrainedRun
from ichjax.inference.output import DEFAULT_OUTPUT, OutputOptions
from ichjax.inference.provenance import OutputNames
from ichjax.inference.records import PredictionRecord, SourceRecord, WorklistRow
from ichjax.prefetch import one_ahead
from ichjax.scan import slabs
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume


class Effort(NamedTuple):
    """What a prediction takes: when it began (`time.perf_counter`), and the peak resident memory of this process."""

    started: float
    peak_memory_mb: float


def predict_scans(
    workdir: pathlib.Path,
    inputs: Sequence[pathlib.Path],
    output: pathlib.Path,
    *,
    fold: int | None = None,
    series: int | None = None,
    options: OutputOptions = DEFAULT_OUTPUT,
    **fields: FieldValue,
) -> list[str]:
    """Predicts every scan in the inputs; writes OUTPUT/worklist.csv, the most suspicious scan first, and manifest.json.

    Each scan gets a folder OUTPUT/NAME/ with mask.nii.gz on the scan's own grid, overlay.png and prediction.json; from
    DICOM also scan.nii.gz, the HU under the mask; and where slices are tilted or unevenly spaced both resampled to a
    grid along the patient's axes (`*_world.nii.gz`). A folder appears whole or not at all; one that holds this run's
    prediction of the same scan is kept. At most three scans are in memory: while one is predicted, the next one is
    read and the previous one written.

    Args:
      workdir: of `crossval` or `train`; its finished folds are averaged.
      inputs: as for `find_sources`.
      output: created if missing.
      fold: as for `load_run`.
      series: as for `find_sources`.
      options: which files to write, and whether to predict again what is already done.
      **fields: of config.predict, as for `load_run`.

    Returns:
      One sentence for each scan that could not be predicted, or whose DICOM Segmentation could not be written; the
      others are done.

    Raises:
      InputError: the run cannot be read, its method does not segment the sub-types that `options` names, or another
        process is writing to the output.
    """
    start = manifest.Start.now()
    xla.start()
    trained = trained_runs.load_run(workdir, fold=fold, **fields)
    if options.subtypes:
        trained_runs.require_subtypes(trained)
    reserved = (outputs.SEGMENTATION_FOLDER, worklist.WORKLIST_FILE, manifest.MANIFEST_FILE)
    sources, problems = find_sources(inputs, series=series, reserved=reserved, with_paths=options.with_paths)
    for problem in problems:
        say(f"skipped: {problem}")
    if not options.with_paths:
        problems = [functools.reduce(worklist.without_folders, inputs, problem) for problem in problems]
    progress = Progress([{"scan": "", "problem": problem} for problem in problems])
    with claim(output) if sources else contextlib.nullcontext():
        if options.dicom_seg and any(source.series is not None for source in sources):
            say(f"{output / outputs.SEGMENTATION_FOLDER}: DICOM Segmentations name the patient, as their sources do")
        try:
            names = provenance.name_sources(sources, output, outputs.read_results(output), reserved=reserved)
            _predict_all(trained, names, output, options, progress)
        finally:  # also when interrupted: what is done gets its row
            rows = worklist.sort_rows(progress.rows)
            if sources and (all_rows := rows + outputs.read_other_rows(output, trained, rows)):
                worklist.write(output, worklist.sort_rows(all_rows), with_paths=options.with_paths)
                asked = {"fold": fold, "series": series, **dataclasses.asdict(options)}
                manifest.write(output, trained, progress, options=asked, scans=len(sources), start=start)
    worklist.print_summary(rows, output, kept=len(progress.kept))
    return [row["problem"] for row in rows if row["problem"]]


def _predict_all(
    trained: TrainedRun, names: OutputNames, output: pathlib.Path, options: OutputOptions, progress: Progress
) -> None:
    """Predicts each source that is not a repetition, and adds its row to `progress`."""
    sources = names.sources
    announced = False
    previous: tuple[Source, Future[PredictionRecord]] | None = None  # being written while the next one is predicted
    with ThreadPoolExecutor(1) as writer:
        for source, read in zip(sources, one_ahead(Source.read, sources), strict=True):
            future: Future[PredictionRecord] = Future()
            try:
                volume = read()
                with only_input_errors(str(source.path)):
                    settled = names.settle(source, volumes.scan_digest(volume))
                if settled is None:
                    say(f"{source.name}: the same series as one before, predicted once")
                    continue
                source, folder = settled, output / settled.name
                with only_input_errors(str(folder)):
                    existing = outputs.read_existing(folder, source, trained, volume, options)
                if existing is not None:
                    progress.kept.add(source.name)
                    say(f"{source.name}: already done, kept")
                    outputs.update_source(folder, existing, _describe_source(source, len(volume.hu), options))
                    future.set_result(existing)
                else:
                    if not announced:
                        with only_input_errors(str(source.path), "predicted"):
                            _announce(trained, volume, len(sources))
                        announced = True
                    started = time.perf_counter()
                    peak_memory.reset()
                    prediction = _predict_one(trained, source, volume, options)
                    effort = Effort(started, peak_memory.peak_mb())
                    progress.peak_memory_mb = max(progress.peak_memory_mb, effort.peak_memory_mb)
                    future = writer.submit(_write, trained, source, volume, folder, prediction, options, effort)
            except InputError as error:
                future.set_exception(error)
            if previous is not None:
                progress.rows.append(_wait_for_row(*previous, options))
            previous = (source, future)
        if previous is not None:
            progress.rows.append(_wait_for_row(*previous, options))


def _predict_one(trained: TrainedRun, source: Source, volume: Volume, options: OutputOptions) -> PredictedScan:
    with only_input_errors(str(source.path), "predicted"):
        return trained_runs.predict(volume, trained, subtypes=options.subtypes)


def _describe_source(source: Source, slices: int | None, options: OutputOptions) -> SourceRecord:
    return provenance.describe_source(source, slices=slices, with_paths=options.with_paths)


def _wait_for_row(source: Source, future: Future[PredictionRecord], options: OutputOptions) -> WorklistRow:
    """Waits until a prediction is written, and makes its row of the worklist."""
    try:
        record = future.result()
        return worklist.make_row(source.name, record, _describe_source(source, record["slices"], options))
    except InputError as error:
        say(f"skipped: {error}")
        problem = str(error) if options.with_paths else worklist.without_folders(str(error), source.path)
        return worklist.make_problem_row(source.name, problem, _describe_source(source, None, options))


def _announce(trained: TrainedRun, first: Volume, count: int) -> None:
    """Prints how long predicting `count` scans like the first will take, without reading and writing, which overlap."""
    folds = ", ".join(map(str, trained.folds))
    averaged = f"mean of folds {folds}" if len(trained.folds) > 1 else f"fold {folds}"
    scans = f"{count} scans, if all are like the first" if count > 1 else "1 scan"
    slab_volume, _ = slabs.average_to_slabs(first, trained.slice_spacing_mm)
    text = f"{scans}, without reading and writing, {trained.method.mode}, {averaged}"
    trained.method.announce(trained.params[0], [slab_volume] * (count * len(trained.params)), text)


def _write(
    trained: TrainedRun,
    source: Source,
    volume: Volume,
    folder: pathlib.Path,
    prediction: PredictedScan,
    options: OutputOptions,
    effort: Effort,
) -> PredictionRecord:
    """Describes and writes a prediction; returns what prediction.json holds."""
    with only_input_errors(str(source.path), "described"):
        record = describe(trained, volume, prediction)
    record["source"] = _describe_source(source, len(volume.hu), options)
    record["peak_memory_mb"] = round(effort.peak_memory_mb)
    if source.series is not None:
        record["warnings"] = [f"series: {remark}" for remark in source.series.traits.drawbacks()] + record["warnings"]
    if source.choice is not None:
        record["series"] = source.choice
    with only_input_errors(str(source.path), "written", but=(OSError,)):  # a full disk is full for all scans
        outputs.write(folder, source, volume, prediction, record, options, effort.started)
    lesions, positive = len(record["lesions"]), len(record["positive_slices"])
    by_subtype = record["subtypes"]["volume_ml"] if "subtypes" in record else {}
    volumes = ", ".join(f"{name} {volume_ml:.2f}" for name, volume_ml in by_subtype.items() if volume_ml)
    held_out = f" (the run's own scan: held out in fold {record['folds'][0]})"
    interval = f" (90 %: {text})" if (text := worklist.interval_text(record)) else ""
    say(
        f"{source.name}: {record['volume_ml']:.2f} mL{interval}{f' ({volumes})' if volumes else ''}, "
        f"{lesions} {'lesion' if lesions == 1 else 'lesions'}, "
        f"{positive} of {record['slices']} slices positive{held_out if record['own_scan'] == 'held out' else ''}"
        f"{''.join(f'; {warning}' for warning in record['warnings'])} -> {folder}"
    )
    if "dicom_seg_problem" in record:
        say(f"{source.name}: {record['dicom_seg_problem']}")
    return record
