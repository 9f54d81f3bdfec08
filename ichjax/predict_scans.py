"""The `predict` command: any number of scans, each with a folder of results, and a worklist of them all."""

import contextlib
import pathlib
import shutil
import time
from collections.abc import Sequence

import numpy as np

from ichjax import predict
from ichjax.ahead import one_ahead
from ichjax.data import volume as volumes
from ichjax.data.volume import Volume
from ichjax.errors import InputError
from ichjax.evaluate import figures
from ichjax.files import claim, read_json, write_csv, write_json
from ichjax.inputs import OUTPUT, Source, find_sources
from ichjax.predict import TrainedRun
from ichjax.train.log import duration, say

WORKLIST = "worklist.csv"
COLUMNS = (
    *("scan", "suspicion", "volume_ml", "abc2_ml", "lesions", "largest_ml", "largest_diameter_mm", "side"),
    *("positive_slices", "slices", "highest_probability", "geometry", "seconds", "warnings", "problem"),
)
MOST_SHOWN = 30  # scans in the table on the terminal


def predict_scans(
    workdir: pathlib.Path,
    inputs: Sequence[pathlib.Path],
    output: pathlib.Path,
    *,
    series: int | None = None,
    probability: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Predicts every scan that the inputs name, and writes OUTPUT/worklist.csv, the most suspicious scan first.

    For every scan OUTPUT/NAME/ gets mask.nii.gz on the scan's own grid, overlay.png, prediction.json, where the source
    was DICOM scan.nii.gz, the HU that the mask lies on, and probability.nii.gz if asked for. A folder appears whole or
    not at all; one that is there already is kept if it holds this run's prediction of this very scan. Two scans are in
    memory at a time: the next one is read while one is predicted.

    Args:
      workdir: of `crossval` or `train`; its finished folds are averaged.
      inputs: as `find_sources` takes them.
      output: made where it is missing.
      series: as for `find_sources`.
      probability: write it, in 8 bits.
      overwrite: predict again what is there already.

    Returns:
      one sentence for each scan that could not be predicted; the others are done all the same.

    Raises:
      InputError: the run cannot be read, or another process is writing to the output.
    """
    trained = predict.load_run(workdir)
    sources, problems = find_sources(inputs, series=series)
    for problem in problems:
        say(f"left out: {problem}")
    rows = [_failed("", problem) for problem in problems]
    with claim(output) if sources else contextlib.nullcontext():
        rows += _each(trained, sources, output, probability=probability, overwrite=overwrite)
        rows.sort(key=lambda row: (row["problem"] != "", -(row["suspicion"] or 0.0), row["scan"]))
        if sources:
            write_csv(output / WORKLIST, [{name: _safe(value) for name, value in row.items()} for row in rows])
    _say_summary(rows, output)
    return [row["problem"] for row in rows if row["problem"]]


def _each(
    trained: TrainedRun, sources: Sequence[Source], output: pathlib.Path, *, probability, overwrite
) -> list[dict]:
    """A line of the worklist for each source."""
    rows, announced = [], False
    for source, read in zip(sources, one_ahead(Source.read, sources), strict=True):
        folder = output / source.name
        try:
            volume = read()
            found = None if overwrite else _kept(folder, trained, volume)
            if found is None:
                if not announced:
                    _announce(trained, volume, len(sources))
                    announced = True
                found = _predict_one(trained, source, volume, folder, probability=probability)
            rows.append(_row(source.name, found))
        except InputError as error:
            rows.append(_failed(source.name, str(error)))
            say(f"left out: {error}")
    return rows


def _announce(trained: TrainedRun, first: Volume, scans: int) -> None:
    """Says how long the scans will take if all are as deep as the first."""
    folds = ", ".join(map(str, trained.folds))
    which = f"mean of folds {folds}" if len(trained.folds) > 1 else f"fold {folds}"
    many = f"{scans} scans, if all are as deep as the first" if scans > 1 else "1 scan"
    trained.method.announce(trained.params[0], [first] * (scans * len(trained.params)), f"{many}, {which}")


def _kept(folder: pathlib.Path, trained: TrainedRun, volume: Volume) -> dict | None:
    """What is there already of this scan by this run; None where there is nothing.

    Raises:
      InputError: another scan's, or another run's prediction lies there.
    """
    if not folder.exists():
        return None
    found = read_json(folder / OUTPUT) if (folder / OUTPUT).is_file() else {}
    if not found:
        what = "something else"
    elif found.get("scan_digest") != predict.digest(volume):
        what = "another scan's prediction"
    elif (found.get("config_digest"), found.get("folds")) != (trained.digest, list(trained.folds)):
        what = "another run's prediction"
    else:
        say(f"{folder.name}: is there already")
        return found
    raise InputError(f"{folder}: holds {what}; expected another --output, or --overwrite")


def _predict_one(
    trained: TrainedRun, source: Source, volume: Volume, folder: pathlib.Path, *, probability: bool
) -> dict:
    """Predicts and writes one scan, aside first."""
    started = time.perf_counter()
    mask, chance = predict.predict_volume(trained, volume)
    found = predict.describe(trained, volume, mask, chance)
    if source.series is not None:
        found["warnings"] = [f"series: {remark}" for remark in source.series.traits.remarks()] + found["warnings"]
    aside, old = (folder.with_name(f".{folder.name}.{what}") for what in ("part", "old"))
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        volumes.write_nifti(aside / "mask.nii.gz", mask, volume)
        if probability:
            eight_bits = np.rint(chance * 255).astype(np.uint8)
            volumes.write_nifti(aside / "probability.nii.gz", eight_bits, volume)
        if source.series is not None:
            volumes.write_nifti(aside / "scan.nii.gz", volume.hu, volume)
        title = f"{found['volume_ml']:.2f} mL predicted"
        figures.overlay_sheet(aside / "overlay.png", volume, mask, title=title)
        found["seconds"] = round(time.perf_counter() - started, 2)
        write_json(aside / OUTPUT, found)
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
    finally:
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)
    noted = "".join(f"; {warning}" for warning in found["warnings"])
    say(f"{source.name}: {_in_words(found)}{noted} -> {folder}")
    return found


def _in_words(found: dict) -> str:
    lesions, slices = len(found["lesions"]), len(found["positive_slices"])
    return (
        f"{found['volume_ml']:.2f} mL, {lesions} {'lesion' if lesions == 1 else 'lesions'}, {slices} of "
        f"{found['slices']} slices positive"
    )


def _row(name: str, found: dict) -> dict:
    """A line of the worklist."""
    lesions = found["lesions"]
    row = {name: found[name] for name in COLUMNS if name in found}
    row |= {
        "scan": name,
        "lesions": len(lesions),
        "largest_ml": lesions[0]["volume_ml"] if lesions else 0.0,
        "largest_diameter_mm": max((lesion["diameter_mm"] for lesion in lesions), default=0.0),
        "side": lesions[0]["side"] if lesions else "",
        "positive_slices": " ".join(map(str, found["positive_slices"])),
        "warnings": "; ".join(found["warnings"]),
        "problem": "",
    }
    return {column: row[column] for column in COLUMNS}


def _failed(name: str, problem: str) -> dict:
    """A line of the worklist for what could not be predicted."""
    return {**dict.fromkeys(COLUMNS), "scan": name, "problem": problem}


def _safe(value: object) -> object:
    """A cell that a spreadsheet does not take for a formula; numbers to four digits behind the point."""
    if isinstance(value, float):
        return round(value, 4)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _say_summary(rows: Sequence[dict], output: pathlib.Path) -> None:
    """The worklist on the terminal."""
    done = [row for row in rows if not row["problem"]]
    if len(done) > 1:
        say(f"\n{'scan':24} {'suspicion':>9} {'mL':>8} {'ABC/2':>7} {'lesions':>7} {'side':>8} {'slices':>7}")
        for row in done[:MOST_SHOWN]:
            slices = len(row["positive_slices"].split())
            say(
                f"{row['scan'][:24]:24} {row['suspicion']:9.2f} {row['volume_ml']:8.2f} {row['abc2_ml']:7.1f} "
                f"{row['lesions']:7} {row['side'] or '-':>8} {slices:7}"
            )
        if len(done) > MOST_SHOWN:
            say(f"and {len(done) - MOST_SHOWN} more in {output / WORKLIST}")
    seconds = sum(row["seconds"] for row in done)
    left_out = f", {len(rows) - len(done)} left out" if len(done) < len(rows) else ""
    if rows and output.is_dir():
        say(f"{len(done)} predicted{left_out}, {duration(seconds)} of work; {output / WORKLIST}")
    say("research use only: not for diagnosis")
