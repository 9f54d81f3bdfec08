"""The two sides of a comparison: their rows checked, the subjects they share, and what to beware of."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from ichjax.errors import InputError
from ichjax.files import RESULTS_FILE
from ichjax.report.workdir import Run, collapsed_folds, read_run

TRUTH_TOLERANCE = 0.01  # of a subject's true volume: runs on other grids round it a little differently
NAME_LENGTH = 48  # characters of a run's name at most


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """One run, by its main method.

    Attributes:
      letter: 'A' or 'B'.
      run: its records.
      rows: {subject: its row of results.json}, in the order of their numbers; 'fold' is None where it is not told.
    """

    letter: str
    run: Run
    rows: dict[int, dict]

    @property
    def name(self) -> str:
        """'U-Net, demo': the method and the folder's own name, of a baseline with its run's; never a whole path."""
        parts = self.run.path.resolve().parts
        folder = "/".join(parts[-3:] if len(parts) > 3 and parts[-2] == "baselines" else parts[-1:])
        name = "".join(c if c.isprintable() else "?" for c in f"{self.run.name}, {folder}")
        half = NAME_LENGTH // 2 - 2
        return name if len(name) <= NAME_LENGTH else f"{name[:half].rstrip()} .. {name[-half:].lstrip()}"

    def numbers(self, key: str) -> set[int]:
        """Subject numbers under a key of results.json; empty where it is not there."""
        return set(self.run.results.get(key) or ())


def read_side(letter: str, path: pathlib.Path | str) -> Side:
    """Reads a run and checks the rows of its subjects.

    Raises:
      InputError: as `workdir.read_run`; or results.json lists no subjects, one twice, or one without its figures.
    """
    run = read_run(path)
    place, subjects = run.path / RESULTS_FILE, run.results.get("subjects")
    if not isinstance(subjects, list) or not subjects:
        raise InputError(f"{place}: lists no subjects; expected the results of a finished crossval")
    rows = {}
    for row in subjects:
        if not isinstance(row, dict) or not isinstance(row.get("subject"), int):
            raise InputError(f"{place}: has a subject without a number; expected one row a subject, with its number")
        number = row["subject"]
        if number in rows:
            raise InputError(f"{place}: lists subject {number} twice; expected each subject once")
        for key in ("truth_ml", "predicted_ml", "dice", "jaccard", "volume_dice"):
            if not _is_figure(row.get(key), may_lack=not key.endswith("_ml")):
                raise InputError(f"{place}: subject {number} has {key} {row.get(key)!r}; expected a number from 0 on")
        rows[number] = {"fold": None, **row}
    return Side(letter, run, dict(sorted(rows.items())))


def _is_figure(value: object, *, may_lack: bool) -> bool:
    if value is None:
        return may_lack
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def shared_subjects(a: Side, b: Side) -> list[int]:
    """The subjects of both sides, in the order of their numbers.

    Raises:
      InputError: there is none, or the true volumes of one differ by more than `TRUTH_TOLERANCE`.
    """
    places = f"{a.run.path} and {b.run.path}"
    shared = [number for number in a.rows if number in b.rows]
    if not shared:
        raise InputError(f"{places} have no subject in common; expected two runs on the same data set")
    truth_a, truth_b = (np.array([side.rows[n]["truth_ml"] for n in shared]) for side in (a, b))
    apart = abs(truth_a - truth_b) > TRUTH_TOLERANCE * np.maximum(truth_a, truth_b)
    if apart.any():
        n = int(np.argmax(apart))
        raise InputError(
            f"{places} do not have the same truth: subject {shared[n]} has {truth_a[n]:.2f} mL in the first and "
            f"{truth_b[n]:.2f} mL in the second ({int(apart.sum())} of {len(shared)} subjects differ); expected "
            f"the same masks, to {100 * TRUTH_TOLERANCE:g} %"
        )
    return shared


def notes(a: Side, b: Side, shared: Sequence[int]) -> list[str]:
    """What to beware of when the two are compared, a sentence each."""
    found = [
        "Intervals and p are conditional on one training run of each: they tell what other subjects would change, "
        "not what training again from another seed would."
    ]
    if a.run.path.resolve() == b.run.path.resolve():
        found.append("Warning: A and B are the same folder, so there is nothing to find.")
    for one, other in ((a, b), (b, a)):
        only = [n for n in one.rows if n not in other.rows]
        unreadable = sorted(other.numbers("left_out_unreadable").intersection(only))
        why = f"; unreadable in {other.letter}: {_listed(unreadable)}" if unreadable else ""
        if only:
            found.append(f"Warning: only in {one.letter}, so not compared: {_listed(only)}{why}.")
    found += _fold_notes(a, b, shared)
    left = {side.letter: sorted(side.numbers("left_out_of_paper").intersection(shared)) for side in (a, b)}
    if left["A"] != left["B"]:
        said = "; ".join(f"{letter}: {_listed(numbers) if numbers else 'none'}" for letter, numbers in left.items())
        found.append(
            f"Warning: the runs leave different subjects out of the paper's convention ({said}); here all of them "
            "are left out of it."
        )
    for side in (a, b):
        folds = collapsed_folds({"subjects": list(side.rows.values())})
        if folds:
            where = "" if None in folds else f" in fold {', '.join(map(str, folds))}"
            found.append(f"Warning: {side.letter} collapsed{where}: nothing is predicted on any test subject.")
    return found


def _fold_notes(a: Side, b: Side, shared: Sequence[int]) -> list[str]:
    """Whether both sides tested the same subjects together; how the folds are numbered does not matter."""
    unknown = [side.letter for side in (a, b) if any(side.rows[n]["fold"] is None for n in shared)]
    if unknown:
        who = f"{' and '.join(unknown)} {'do' if len(unknown) > 1 else 'does'}"
        return [f"Warning: {who} not tell folds, so whether a subject was trained on is not known here."]
    moved = sum(x != y for x, y in zip(_fold_mates(a, shared), _fold_mates(b, shared), strict=True))
    if not moved:
        return []
    return [
        f"Warning: the folds differ, {moved} of {len(shared)} subjects are tested beside others, so the training "
        "subjects differ too: part of a difference can come from that."
    ]


def _fold_mates(side: Side, shared: Sequence[int]) -> list[set[int]]:
    """Of each shared subject, the shared subjects in its fold."""
    mates: dict[int, set[int]] = {}
    for number in shared:
        mates.setdefault(side.rows[number]["fold"], set()).add(number)
    return [mates[side.rows[number]["fold"]] for number in shared]


def _listed(numbers: Sequence[int]) -> str:
    """'subject 51' or '3 subjects (51, 60, 74)'; the first ten where there are more."""
    shown = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return f"subject {shown}" if len(numbers) == 1 else f"{len(numbers)} subjects ({shown})"
