"""The two runs of a comparison: reads and checks them, finds the subjects they share, and writes the warnings."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from ichjax.errors import InputError
from ichjax.files import RESULTS_FILE
from ichjax.metrics.records import SubjectRecord
from ichjax.report.workdir import Run, collapsed_folds, read_run

TRUTH_TOLERANCE = 0.01  # relative difference of true volumes: grids of different runs round them differently
MAX_NAME_LENGTH = 48  # characters of a run's name


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """One run, represented by its main method."""

    letter: str  # 'A' or 'B'
    run: Run
    rows: dict[int, SubjectRecord]  # by subject number, in order; 'fold' is None if unknown

    @property
    def name(self) -> str:
        """'U-Net, demo': the method and the name of the folder (of a baseline, also its run's), never a full path."""
        parts = self.run.path.resolve().parts
        folder = "/".join(parts[-3:] if len(parts) > 3 and parts[-2] == "baselines" else parts[-1:])
        name = "".join(c if c.isprintable() else "?" for c in f"{self.run.name}, {folder}")
        half = MAX_NAME_LENGTH // 2 - 2
        return name if len(name) <= MAX_NAME_LENGTH else f"{name[:half].rstrip()} .. {name[-half:].lstrip()}"

    def numbers(self, key: Literal["left_out_of_paper", "left_out_unreadable"]) -> set[int]:
        """Subject numbers under a key of results.json; empty if the key is missing."""
        return set(self.run.results.get(key) or ())


def read_side(letter: str, path: pathlib.Path | str) -> Side:
    """Reads a run and checks the records of its subjects.

    Raises:
      InputError: as `workdir.read_run`; or results.json lists no subjects, a subject twice, or one without its scores.
    """
    run = read_run(path)
    file, subjects = run.path / RESULTS_FILE, run.results.get("subjects")
    if not isinstance(subjects, list) or not subjects:
        raise InputError(f"{file}: lists no subjects; expected the results of a finished crossval")
    rows: dict[int, SubjectRecord] = {}
    for row in subjects:
        if not isinstance(row, dict) or not isinstance(row.get("subject"), int):
            raise InputError(f"{file}: has a subject without a number; expected a number in each subject's record")
        number = row["subject"]
        if number in rows:
            raise InputError(f"{file}: lists subject {number} twice; expected each subject once")
        for key in ("truth_ml", "predicted_ml", "dice", "jaccard", "volume_dice"):
            if not _is_score(row.get(key), optional=not key.endswith("_ml")):
                raise InputError(f"{file}: subject {number} has {key} {row.get(key)!r}; expected a number >= 0")
        rows[number] = cast(SubjectRecord, {"fold": None, **row})
    return Side(letter, run, dict(sorted(rows.items())))


def _is_score(value: object, *, optional: bool) -> bool:
    if value is None:
        return optional
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def shared_subjects(a: Side, b: Side) -> list[int]:
    """The numbers of the subjects in both runs, in order.

    Raises:
      InputError: there is none, or the true volumes of a subject differ by more than `TRUTH_TOLERANCE`.
    """
    paths = f"{a.run.path} and {b.run.path}"
    shared = [number for number in a.rows if number in b.rows]
    if not shared:
        raise InputError(f"{paths} have no subject in common; expected two runs on the same data set")
    truth_a, truth_b = (np.array([side.rows[n]["truth_ml"] for n in shared]) for side in (a, b))
    differs = abs(truth_a - truth_b) > TRUTH_TOLERANCE * np.maximum(truth_a, truth_b)
    if differs.any():
        n = int(np.argmax(differs))
        raise InputError(
            f"{paths} do not have the same truth: subject {shared[n]} has {truth_a[n]:.2f} mL in the first and "
            f"{truth_b[n]:.2f} mL in the second ({int(differs.sum())} of {len(shared)} subjects differ); expected "
            f"the same masks, to {100 * TRUTH_TOLERANCE:g} %"
        )
    return shared


def notes(a: Side, b: Side, shared: Sequence[int]) -> list[str]:
    """What to keep in mind when comparing the two runs, a sentence each."""
    sentences = [
        "Intervals and p-values are conditional on one training run of each method: they reflect the choice of "
        "subjects, not the variation between training runs with different seeds."
    ]
    if a.run.path.resolve() == b.run.path.resolve():
        sentences.append("Warning: A and B are the same folder, so all differences are zero.")
    for one, other in ((a, b), (b, a)):
        only = [n for n in one.rows if n not in other.rows]
        unreadable = sorted(other.numbers("left_out_unreadable").intersection(only))
        why = f"; unreadable in {other.letter}: {_listed(unreadable)}" if unreadable else ""
        if only:
            sentences.append(f"Warning: only in {one.letter}, therefore not compared: {_listed(only)}{why}.")
    sentences += _fold_notes(a, b, shared)
    excluded = {side.letter: sorted(side.numbers("left_out_of_paper").intersection(shared)) for side in (a, b)}
    if excluded["A"] != excluded["B"]:
        lists = "; ".join(f"{side}: {_listed(numbers) if numbers else 'none'}" for side, numbers in excluded.items())
        sentences.append(
            f"Warning: the runs exclude different subjects from the paper's convention ({lists}); this comparison "
            "excludes all of them from it."
        )
    for side in (a, b):
        folds = collapsed_folds(side.rows.values())
        if folds:
            where = "" if None in folds else f" in fold {', '.join(map(str, folds))}"
            sentences.append(f"Warning: {side.letter} collapsed{where}: it predicts nothing on any test subject.")
    return sentences


def _fold_notes(a: Side, b: Side, shared: Sequence[int]) -> list[str]:
    """A warning unless both runs tested the same subjects together; the numbering of the folds does not matter."""
    unknown = [side.letter for side in (a, b) if any(side.rows[n]["fold"] is None for n in shared)]
    if unknown:
        runs = f"{' and '.join(unknown)} {'do' if len(unknown) > 1 else 'does'}"
        return [f"Warning: {runs} not record folds, so it is unknown whether training included a test subject."]
    moved = sum(x != y for x, y in zip(_fold_mates(a, shared), _fold_mates(b, shared), strict=True))
    if not moved:
        return []
    return [
        f"Warning: the folds differ for {moved} of {len(shared)} subjects, so the training subjects differ too; this "
        "may explain part of a difference."
    ]


def _fold_mates(side: Side, shared: Sequence[int]) -> list[set[int]]:
    """For each shared subject, the shared subjects in its fold."""
    mates: dict[int | None, set[int]] = {}
    for number in shared:
        mates.setdefault(side.rows[number]["fold"], set()).add(number)
    return [mates[side.rows[number]["fold"]] for number in shared]


def _listed(numbers: Sequence[int]) -> str:
    """'subject 51' or '3 subjects (51, 60, 74)'; at most the first ten numbers."""
    shown = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return f"subject {shown}" if len(numbers) == 1 else f"{len(numbers)} subjects ({shown})"
