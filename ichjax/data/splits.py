"""Cross-validation folds by subject: the authors' fixed order or stratified; checked for leaks when made and read."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ichjax.data.label_tables import FIRST_NUMBER, SUBTYPES
from ichjax.data.subject import Subject
from ichjax.errors import InputError
from ichjax.files import read_json, write_json

# The order of subjects in the authors' code (index = number - `FIRST_NUMBER`); for 75 subjects it drops 10 to 16.
PAPER_ORDER = (
    31, 39, 21, 33, 34, 5, 54, 2, 67, 15, 68, 10, 53, 29, 44, 76, 59, 73, 77, 71, 61, 69, 50, 32, 6, 37, 57, 75,
    80, 41, 27, 16, 40, 46, 79, 13, 45, 55, 62, 7, 66, 58, 78, 4, 47, 52, 28, 20, 24, 51, 36, 63, 30, 48, 26, 60,
    49, 25, 42, 18, 43, 14, 72, 0, 35, 81, 70, 22, 64, 1, 3, 17, 74, 23, 38, 12, 8, 65, 19, 56, 9, 11,
)  # fmt: skip
PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Fold:
    """One fold: its index from 0 and the subject numbers of its three parts."""

    index: int
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Splits:
    """All folds; every subject is tested in exactly one of them.

    Attributes:
      order: 'paper' or 'stratified'.
      seed: of the stratified order; None for the paper's order.
      folds: sorted by index.
      notes: remarks for readers of the results, one sentence each.
    """

    order: str
    seed: int | None
    folds: tuple[Fold, ...]
    notes: tuple[str, ...]


def paper_splits(numbers: Iterable[int], *, folds: int = 5) -> Splits:
    """The folds of the authors' code: consecutive blocks of their fixed order of subjects.

    A test block has n // folds subjects, the last one also the remainder; validation is the first n // folds of the
    other subjects, so all folds but the first share one validation block. Not stratified.

    Raises:
      InputError: fewer than 3 folds, fewer subjects than folds, or a subject that is not in the order.
    """
    numbers = _checked_numbers(numbers, folds)
    position = {FIRST_NUMBER + index: k for k, index in enumerate(PAPER_ORDER)}
    unknown = [number for number in numbers if number not in position]
    if unknown:
        raise InputError(
            f"subjects {_first_eight(unknown)} are not in the paper's order, which holds {FIRST_NUMBER} to "
            f"{FIRST_NUMBER + len(PAPER_ORDER) - 1}; use the stratified order for other data"
        )
    order = sorted(numbers, key=position.__getitem__)
    size = len(order) // folds
    made = []
    for index in range(folds):
        start, stop = index * size, len(order) if index == folds - 1 else (index + 1) * size
        rest = order[:start] + order[stop:]
        made.append(Fold(index, train=tuple(rest[size:]), validation=tuple(rest[:size]), test=tuple(order[start:stop])))
    shared = f"{folds - 1} of {folds} folds share one validation block, as in the authors' code"
    splits = Splits("paper", None, tuple(made), (shared,))
    check(splits, numbers)
    return splits


def stratified_splits(subjects: Sequence[Subject], *, folds: int, seed: int) -> Splits:
    """Folds of a seeded order, balanced by hemorrhage and, as far as the counts allow, by sub-type.

    Test blocks differ by at most one in size and in the number of subjects with a hemorrhage. Sub-types are distributed
    by iterative stratification (Sechidis et al., 2011): the rarest first, each subject to the fold with the fewest of
    it. A fold's validation subjects are the next fold's test subjects, so each is in validation once. The folds depend
    on the subjects' labels and the seed, not on their order.

    Several scans of one person (`Subject.person`) are distributed as one, so blocks can then differ by more.

    Raises:
      InputError: fewer than 3 folds, fewer subjects than folds, or a part of a fold without a hemorrhage.
    """
    subjects = sorted(subjects, key=lambda subject: subject.number)
    numbers = _checked_numbers([subject.number for subject in subjects], folds)
    people, scans_of = _merge_people(subjects)
    _checked_numbers(scans_of, folds)
    rng = np.random.default_rng(seed)
    positive = [person for person in people if person.labelled_hemorrhage]
    negative = [person for person in people if not person.labelled_hemorrhage]
    turn = rng.permutation(folds)  # which folds get the remainder; otherwise fold 0 would always be the largest
    tests = _distribute_subtypes(positive, _quotas(len(positive), turn), rng)
    # The negative subjects continue where the positive ones ended, so that whole blocks also differ by at most one.
    remaining = iter(rng.permutation([person.number for person in negative]).tolist())
    for test, quota in zip(tests, _quotas(len(negative), np.roll(turn, -len(positive))), strict=True):
        test.extend(next(remaining) for _ in range(quota))
    tests = [[number for first in test for number in scans_of[first]] for test in tests]
    made = []
    for index in range(folds):
        test, validation = tests[index], tests[(index + 1) % folds]
        train = set(numbers) - set(test) - set(validation)
        made.append(Fold(index, *(tuple(sorted(part)) for part in (train, validation, test))))
    splits = Splits("stratified", int(seed), tuple(made), ())
    check(splits, numbers)
    require_hemorrhage(splits, subjects)
    return dataclasses.replace(splits, notes=subtype_notes(splits, subjects))


def _merge_people(subjects: Sequence[Subject]) -> tuple[list[Subject], dict[int, list[int]]]:
    """(one subject per person, with the labels of all its scans; {its number, the first: the numbers of its scans})."""
    scans: dict[str, list[Subject]] = {}
    for subject in subjects:
        scans.setdefault(subject.person or f"number {subject.number}", []).append(subject)
    people = [
        dataclasses.replace(
            group[0],
            slice_labels=np.concatenate([each.slice_labels for each in group]),
            hemorrhage=any(each.labelled_hemorrhage for each in group),
        )
        for group in scans.values()
    ]
    return people, {group[0].number: [each.number for each in group] for group in scans.values()}


def _quotas(count: int, turn: np.ndarray) -> list[int]:
    """How many of `count` subjects each fold gets: equal shares, the remainder to the first folds in `turn`."""
    quotas = np.full(len(turn), count // len(turn))
    quotas[turn[: count % len(turn)]] += 1
    return quotas.tolist()


def _distribute_subtypes(positive: list[Subject], quotas: list[int], rng: np.random.Generator) -> list[list[int]]:
    """Iterative stratification of the subjects with a hemorrhage: the subject numbers of each fold."""
    remaining = [positive[i] for i in rng.permutation(len(positive))]
    tie = rng.permutation(len(quotas))
    subtypes = {subject.number: subject.subtypes for subject in remaining}
    room, held = list(quotas), [dict.fromkeys(SUBTYPES, 0) for _ in quotas]  # of each fold
    tests: list[list[int]] = [[] for _ in quotas]
    while remaining:
        counts = {name: sum(name in subtypes[subject.number] for subject in remaining) for name in SUBTYPES}
        rarest = min((name for name in SUBTYPES if counts[name]), key=counts.__getitem__, default=None)
        for subject in remaining:
            if rarest is None or rarest in subtypes[subject.number]:  # None: no labels
                fold = _next_fold(room, [one[rarest] if rarest else 0 for one in held], tie)
                tests[fold].append(subject.number)
                room[fold] -= 1
                for name in subtypes[subject.number]:
                    held[fold][name] += 1
        remaining = [] if rarest is None else [s for s in remaining if rarest not in subtypes[s.number]]
    return tests


def _next_fold(room: list[int], counts: list[int], tie: np.ndarray) -> int:
    """The fold with room and the fewest subjects of a sub-type; then with the most room; then by `tie`."""
    open_folds = [fold for fold in range(len(room)) if room[fold]]
    return min(open_folds, key=lambda fold: (counts[fold], -room[fold], tie[fold]))


def require_hemorrhage(splits: Splits, subjects: Sequence[Subject]) -> None:
    """Raises InputError if a part of a fold has no subject with a hemorrhage: it would be useless for training, model
    selection or scoring."""
    positive = {subject.number for subject in subjects if subject.labelled_hemorrhage}
    total, folds = len(positive), len(splits.folds)
    for fold in splits.folds:
        for part in PARTS:
            if positive.isdisjoint(getattr(fold, part)):
                # With as many hemorrhage subjects as folds, the stratified order gives one to each.
                fewer = min(total, folds - 1)
                advice = f"use at most {fewer} folds" if fewer >= 3 else "at least 3 of them are needed"
                if total >= folds:
                    advice = f"use the stratified order or at most {fewer} folds"
                raise InputError(
                    f"fold {fold.index} has no subject with a hemorrhage among its {part} subjects; "
                    f"{total} of {len(subjects)} subjects have one, for {folds} folds: {advice}"
                )


def subtype_notes(splits: Splits, subjects: Sequence[Subject]) -> tuple[str, ...]:
    """Notes on sub-types that no subject has or that are missing from a part of a fold, one sentence each."""
    subtypes_of = {subject.number: set(subject.subtypes) for subject in subjects}
    known = set().union(*subtypes_of.values())
    notes = [f"no subject has {name}" for name in SUBTYPES if name not in known]
    for fold in splits.folds:
        for part in PARTS:
            missing = known.difference(*(subtypes_of[number] for number in getattr(fold, part)))
            if missing:
                names = ", ".join(name for name in SUBTYPES if name in missing)
                notes.append(f"fold {fold.index}: no {part} subject has {names}")
    return tuple(notes)


def _checked_numbers(numbers: Iterable[int], folds: int) -> list[int]:
    """The sorted subject numbers; InputError for duplicates, too few of them, or too few folds."""
    numbers = sorted(int(number) for number in numbers)
    if folds < 3:
        raise InputError(f"{folds} folds requested; expected at least 3, for test, validation and training")
    if len(numbers) < folds:
        raise InputError(f"{len(numbers)} subjects found for {folds} folds; expected at least one subject per fold")
    repeated = sorted({a for a, b in itertools.pairwise(numbers) if a == b})
    if repeated:
        raise InputError(f"subjects {_first_eight(repeated)} occur more than once; expected each subject once")
    return numbers


def check(splits: Splits, numbers: Iterable[int]) -> None:
    """Raises InputError unless the parts of every fold are a partition of `numbers` without empty parts, and every
    subject is tested in exactly one fold."""
    expected = set(numbers)
    tested: dict[int, int] = {}
    if [fold.index for fold in splits.folds] != list(range(len(splits.folds))) or not splits.folds:
        raise InputError(f"the folds are numbered {[f.index for f in splits.folds]}; expected 0, 1, 2 and so on")
    for fold in splits.folds:
        _check_fold(fold, expected)
        for number in fold.test:
            if number in tested:
                raise InputError(
                    f"subject {number} is tested in folds {tested[number]} and {fold.index}; expected once"
                )
            tested[number] = fold.index
    untested = sorted(expected - set(tested))
    if untested:
        raise InputError(f"subjects {_first_eight(untested)} are tested in no fold; expected each in one")


def _check_fold(fold: Fold, expected: set[int]) -> None:
    seen: dict[int, str] = {}
    for part in PARTS:
        if not getattr(fold, part):
            raise InputError(f"fold {fold.index} has no {part} subjects; expected at least one")
        for number in getattr(fold, part):
            if number in seen:
                raise InputError(
                    f"fold {fold.index}: subject {number} is in {seen[number]} and in {part}; expected in one "
                    "part, once: this is a leak"
                )
            seen[number] = part
    for problem, numbers in (("lacks", expected - set(seen)), ("holds unknown", set(seen) - expected)):
        if numbers:
            raise InputError(
                f"fold {fold.index} {problem} subjects {_first_eight(sorted(numbers))}; expected exactly the data set's"
            )


def write(splits: Splits, path: pathlib.Path) -> None:
    """Writes splits.json."""
    folds = [{"fold": fold.index, **{part: list(getattr(fold, part)) for part in PARTS}} for fold in splits.folds]
    record = {"order": splits.order, "seed": splits.seed, "folds": folds, "notes": list(splits.notes)}
    write_json(path, record)


def read(path: pathlib.Path, numbers: Iterable[int]) -> Splits:
    """Reads splits.json and checks it against the data set's subject numbers.

    Raises:
      InputError: the file is missing or malformed, leaks a subject, or has other subjects than the data set.
    """
    record = read_json(path)
    try:
        splits = _from_record(record)
        check(splits, numbers)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return splits


def _from_record(record: dict) -> Splits:
    _check_field(record, "order", lambda value: value in ("paper", "stratified"), "'paper' or 'stratified'")
    _check_field(record, "seed", lambda value: value is None or _is_integer(value), "an integer or null")
    _check_field(record, "folds", lambda value: isinstance(value, list), "a list of folds")
    _check_field(record, "notes", lambda value: _is_list_of(value, lambda note: isinstance(note, str)), "sentences")
    folds = []
    for entry in record["folds"]:
        _check_field(entry, "fold", _is_integer, "an integer")
        for part in PARTS:
            _check_field(entry, part, lambda value: _is_list_of(value, _is_integer), "a list of subject numbers")
        folds.append(Fold(entry["fold"], **{part: tuple(entry[part]) for part in PARTS}))
    return Splits(record["order"], record["seed"], tuple(folds), tuple(record["notes"]))


def _check_field(record: object, name: str, accepts: Callable[[object], bool], expected: str) -> None:
    if not isinstance(record, dict) or name not in record or not accepts(record[name]):
        raise InputError(f"field '{name}' is missing or malformed; expected {expected}")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list_of(value: object, accepts: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and all(accepts(item) for item in value)


def _first_eight(numbers: Sequence[int]) -> str:
    """Formats the first eight numbers for a message."""
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
