"""Reads what a cross-validation left in its work directory."""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Mapping

from ichjax.errors import InputError
from ichjax.files import CONFIG_FILE, NOTES_FILE, RESULTS_FILE, SPLITS_FILE
from ichjax.metrics import published


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A work directory's records.

    Attributes:
      path: the work directory.
      config: config.json; empty where there is none.
      splits: splits.json; empty where there is none.
      methods: {name to print: results.json}, the main method first, then those under baselines/.
      metrics: {fold: one record an epoch, in order} of the main method; empty where it has no epochs.
      notes: lines of notes.txt: what was odd about the data.
      finished: when results.json was written.
    """

    path: pathlib.Path
    config: dict
    splits: dict
    methods: dict[str, dict]
    metrics: dict[int, list[dict]]
    notes: list[str]
    finished: datetime.datetime

    @property
    def name(self) -> str:
        """The main method's name."""
        return next(iter(self.methods))

    @property
    def results(self) -> dict:
        """The main method's results."""
        return self.methods[self.name]


def read_run(workdir: pathlib.Path | str) -> Run:
    """Reads the records of a work directory.

    Raises:
      InputError: there is no results.json, or a file is not what it should be.
    """
    path = pathlib.Path(workdir)
    main = path / RESULTS_FILE
    if not main.is_file():
        raise InputError(f"{path}: has no results.json; expected the work directory of a finished crossval")
    notes = path / NOTES_FILE
    files = [main, *sorted(path.glob(f"baselines/*/{RESULTS_FILE}"))]
    methods = {}
    for file in files:
        results = _read_json(file)
        if "conventions" not in results:
            raise InputError(f"{file}: holds no 'conventions'; expected the results of a crossval")
        name = published.title_of({"method": file.parent.name, **results})
        methods[_unused(f"{name}, INVALID split" if results.get("invalid") else name, methods)] = results
    return Run(
        path=path,
        config=_read_json(path / CONFIG_FILE, missing={}),
        splits=_read_json(path / SPLITS_FILE, missing={}),
        methods=methods,
        metrics=read_metrics(path),
        notes=notes.read_text(encoding="utf-8").splitlines() if notes.is_file() else [],
        finished=datetime.datetime.fromtimestamp(main.stat().st_mtime),
    )


def _unused(name: str, taken: dict) -> str:
    """The name, numbered where another method has it already."""
    number = 2
    unused = name
    while unused in taken:
        unused, number = f"{name} ({number})", number + 1
    return unused


def read_metrics(workdir: pathlib.Path) -> dict[int, list[dict]]:
    """The epochs of each fold from fold_K/metrics.jsonl: {fold: records in the order of epochs}.

    A run that was killed and went on may have written an epoch twice, or half a line: the last whole record of
    an epoch counts.
    """
    folds = {}
    for file in sorted(pathlib.Path(workdir).glob("fold_*/metrics.jsonl")):
        number = file.parent.name.removeprefix("fold_")
        epochs = {}
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(record, dict) and "epoch" in record:
                epochs[record["epoch"]] = record
        if number.isdecimal() and epochs:
            folds[int(number)] = [epochs[epoch] for epoch in sorted(epochs)]
    return dict(sorted(folds.items()))


def _read_json(file: pathlib.Path, *, missing: dict | None = None) -> dict:
    if missing is not None and not file.is_file():
        return missing
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{file}: not readable as JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: holds a {type(content).__name__}; expected a JSON object")
    return content


def choose_subjects(results: dict) -> list[tuple[str, int]]:
    """The subjects to look at: [(why, number)], each subject once.

    The best, the median and the worst by Dice in the paper's convention, and of the hemorrhage-free the one with
    the most false-positive volume.
    """
    scored = sorted((s for s in results["subjects"] if s["dice"] is not None), key=lambda s: s["dice"])
    free = [s for s in results["subjects"] if not s["positive_slices"]]
    ranks: dict[int, list[str]] = {}
    if scored:
        for rank, s in (("best", scored[-1]), ("median", scored[len(scored) // 2]), ("worst", scored[0])):
            ranks.setdefault(s["subject"], []).append(rank)
    chosen = [(f"{', '.join(names)} Dice", number) for number, names in ranks.items()]
    if free:
        most = max(free, key=lambda s: s["predicted_ml"])
        chosen.append(("hemorrhage-free, most false-positive volume", most["subject"]))
    return chosen


def collapsed_folds(results: Mapping) -> list[int]:
    """Folds in which nothing at all was predicted on any test subject, although one has a hemorrhage."""
    folds: dict[int, list[Mapping]] = {}
    for s in results["subjects"]:
        folds.setdefault(s["fold"], []).append(s)
    return sorted(
        fold
        for fold, subjects in folds.items()
        if not any(s["predicted_ml"] for s in subjects) and any(s["truth_ml"] for s in subjects)
    )
