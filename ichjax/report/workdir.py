"""Reads the records of a finished run from its work directory."""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Collection, Iterable
from typing import cast

from ichjax.errors import InputError
from ichjax.files import CONFIG_FILE, NOTES_FILE, RESULTS_FILE, SPLITS_FILE, read_json
from ichjax.metrics import published
from ichjax.metrics.records import Results, SubjectRecord

Epoch = dict[str, float | None]  # a line of metrics.jsonl


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """The records of a work directory.

    Attributes:
      path: the work directory.
      config: config.json; empty if missing.
      splits: splits.json; empty if missing.
      methods: {display name: results.json}, the main method first, then those under baselines/.
      metrics: {fold: epochs in order} of the main method; empty if it is not trained in epochs.
      notes: lines of notes.txt: irregularities in the data.
      finished: when results.json was written.
      folders: {display name: the folder of its results.json and of its folds}; empty if unknown.
    """

    path: pathlib.Path
    config: dict
    splits: dict
    methods: dict[str, Results]
    metrics: dict[int, list[Epoch]]
    notes: list[str]
    finished: datetime.datetime
    folders: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The main method's display name."""
        return next(iter(self.methods))

    @property
    def results(self) -> Results:
        """The main method's results."""
        return self.methods[self.name]


def read_run(workdir: pathlib.Path | str) -> Run:
    """Reads the records of a work directory.

    Raises:
      InputError: there is no results.json, or a file does not hold what it should.
    """
    path = pathlib.Path(workdir)
    main = path / RESULTS_FILE
    if not main.is_file():
        raise InputError(f"{path}: has no results.json; expected the work directory of a finished crossval")
    methods: dict[str, Results] = {}
    folders = {}
    for file in [main, *sorted(path.glob(f"baselines/*/{RESULTS_FILE}"))]:
        content = read_json(file)
        if "conventions" not in content:
            raise InputError(f"{file}: has no 'conventions'; expected the results of a crossval")
        results = cast(Results, content)
        name = published.title_of(cast(Results, {"method": file.parent.name, **content}))
        name = _unique(f"{name}, INVALID split" if results.get("invalid") else name, methods)
        methods[name], folders[name] = results, file.parent
    config, splits, notes = (path / name for name in (CONFIG_FILE, SPLITS_FILE, NOTES_FILE))
    return Run(
        path=path,
        config=read_json(config) if config.is_file() else {},
        splits=read_json(splits) if splits.is_file() else {},
        methods=methods,
        metrics=read_metrics(path),
        notes=notes.read_text(encoding="utf-8").splitlines() if notes.is_file() else [],
        finished=datetime.datetime.fromtimestamp(main.stat().st_mtime),
        folders=folders,
    )


def _unique(name: str, taken: Collection[str]) -> str:
    """The name, numbered if another method already has it."""
    number, unique = 2, name
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    return unique


def read_metrics(workdir: pathlib.Path) -> dict[int, list[Epoch]]:
    """Reads fold_K/metrics.jsonl of each fold: {fold: records in the order of epochs}.

    A run that was interrupted and resumed may have written an epoch twice, or half a line: the last complete record
    of an epoch counts.
    """
    folds = {}
    for file in workdir.glob("fold_*/metrics.jsonl"):
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


def choose_subjects(results: Results) -> list[tuple[str, int]]:
    """The subjects to show: [(reason, number)], each subject once.

    The best, the median and the worst by Dice in the paper's convention, and the hemorrhage-free subject with the
    largest predicted volume.
    """
    scored = sorted((s for s in results["subjects"] if s["dice"] is not None), key=lambda s: s["dice"] or 0.0)
    free = [s for s in results["subjects"] if not s["positive_slices"]]
    ranks: dict[int, list[str]] = {}
    if scored:
        for rank, s in (("best", scored[-1]), ("median", scored[len(scored) // 2]), ("worst", scored[0])):
            ranks.setdefault(s["subject"], []).append(rank)
    chosen = [(f"{', '.join(names)} Dice", number) for number, names in ranks.items()]
    if free:
        largest = max(free, key=lambda s: s["predicted_ml"])
        chosen.append(("hemorrhage-free, largest false-positive volume", largest["subject"]))
    return chosen


def collapsed_folds(subjects: Iterable[SubjectRecord]) -> list[int | None]:
    """Folds without any prediction on their test subjects, of which at least one has a hemorrhage.

    Args:
      subjects: the subjects of results.json; [None] stands for a collapse where the folds are unknown.
    """
    folds: dict[int | None, list[SubjectRecord]] = {}
    for s in subjects:
        folds.setdefault(s["fold"], []).append(s)
    return [
        fold
        for fold, tested in sorted(folds.items(), key=lambda item: item[0] or 0)
        if not any(s["predicted_ml"] for s in tested) and any(s["truth_ml"] for s in tested)
    ]
