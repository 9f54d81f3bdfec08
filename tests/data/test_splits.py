"""Folds: the authors' blocks by hand, the balance of the stratified order, and rejection of leaks."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichjax.data import splits
from ichjax.data.label_tables import SUBTYPES
from ichjax.data.subject import Subject
from ichjax.errors import InputError

ALL_82 = range(49, 131)
NIFTI_75 = [number for number in ALL_82 if not 59 <= number <= 65]


def subject(number, subtypes=()):
    """A subject with three slices and all sub-types on the second one."""
    labels = np.zeros((3, 5), bool)
    labels[1] = [name in subtypes for name in SUBTYPES]
    return Subject(number, pathlib.Path("x.nii"), None, None, None, labels, np.zeros(3, bool), False)


def cohort(kinds):
    return [subject(100 + i, kind) for i, kind in enumerate(kinds)]


# The counts of the paper's Table 4: IVH 5, IPH 16, SAH 7, EDH 21, SDH 4 in 36 subjects, so some have two sub-types.
PAPER_LIKE = (
    [("IVH", "IPH")] * 5 + [("IPH", "SAH")] * 7 + [("IPH", "EDH")] * 4 + [("EDH",)] * 16 + [("EDH", "SDH")] * 1
    + [("SDH",)] * 3 + [()] * 39
)  # fmt: skip


def test_the_authors_order_has_every_subject_once():
    assert sorted(splits.PAPER_ORDER) == list(range(82))


def test_the_authors_blocks_for_82_subjects():
    made = splits.paper_splits(ALL_82)
    assert (made.order, made.seed) == ("paper", None)
    assert [len(fold.test) for fold in made.folds] == [16, 16, 16, 16, 18]
    assert [len(fold.validation) for fold in made.folds] == [16] * 5
    assert [len(fold.train) for fold in made.folds] == [50, 50, 50, 50, 48]
    # 31, 39, 21, 33 are the first indices of the order, 76 the 16th; 9 and 11 end it.
    assert made.folds[0].test[:4] == (80, 88, 70, 82)
    assert made.folds[0].test[-1] == 125
    assert made.folds[4].test[-2:] == (58, 60)
    first, second = made.folds[0].test, made.folds[1].test
    assert made.folds[0].validation == second
    assert [fold.validation for fold in made.folds[1:]] == [first] * 4
    assert "4 of 5 folds share one validation block" in made.notes[0]


def test_the_authors_blocks_for_75_subjects():
    made = splits.paper_splits(NIFTI_75)
    assert [(len(f.test), len(f.validation), len(f.train)) for f in made.folds] == [(15, 15, 45)] * 5
    # Of the first 16 indices, 15 and 10 are missing, and 59 follows.
    assert made.folds[0].test == tuple(49 + i for i in (31, 39, 21, 33, 34, 5, 54, 2, 67, 68, 53, 29, 44, 76, 59))
    assert [fold.validation for fold in made.folds[1:]] == [made.folds[0].test] * 4


@given(numbers=st.sets(st.sampled_from(list(ALL_82)), min_size=3), folds=st.integers(3, 10))
def test_the_authors_order_for_any_subjects(numbers, folds):
    if len(numbers) < folds:
        with pytest.raises(InputError, match=f"{len(numbers)} subjects found for {folds} folds"):
            splits.paper_splits(numbers, folds=folds)
        return
    made = splits.paper_splits(numbers, folds=folds)
    assert_sound(made, numbers, folds)
    block = len(numbers) // folds
    assert [len(fold.test) for fold in made.folds[:-1]] == [block] * (folds - 1)
    assert [len(fold.validation) for fold in made.folds] == [block] * folds


def assert_sound(made, numbers, folds):
    """Independent of splits.check: parts are disjoint and complete, every subject is tested once."""
    assert len(made.folds) == folds
    for fold in made.folds:
        parts = [set(fold.train), set(fold.validation), set(fold.test)]
        assert all(parts)
        assert sum(map(len, parts)) == len(fold.train) + len(fold.validation) + len(fold.test) == len(numbers)
        assert set.union(*parts) == set(numbers)
    assert sorted(number for fold in made.folds for number in fold.test) == sorted(numbers)


def test_subjects_outside_the_authors_order_are_rejected():
    with pytest.raises(InputError, match=r"subjects 131, 140 .*stratified"):
        splits.paper_splits([*range(49, 60), 131, 140])


kinds = st.lists(st.sets(st.sampled_from(SUBTYPES), max_size=3).map(tuple), min_size=3, max_size=70)


@settings(max_examples=150)
@given(kinds=kinds, folds=st.integers(3, 9), seed=st.integers(0, 2**31))
def test_the_stratified_order_is_sound_and_balanced(kinds, folds, seed):
    subjects = cohort(kinds)
    positive = {s.number for s in subjects if s.slice_labels.any()}
    if len(subjects) < folds or len(positive) < folds:
        with pytest.raises(InputError, match=r"subjects found for|no subject with a hemorrhage"):
            splits.stratified_splits(subjects, folds=folds, seed=seed)
        return
    made = splits.stratified_splits(subjects, folds=folds, seed=seed)
    assert (made.order, made.seed) == ("stratified", seed)
    assert_sound(made, [s.number for s in subjects], folds)
    sizes = [len(fold.test) for fold in made.folds]
    bleeding = [len(positive & set(fold.test)) for fold in made.folds]
    assert max(sizes) - min(sizes) <= 1
    assert max(bleeding) - min(bleeding) <= 1
    for i, fold in enumerate(made.folds):
        assert fold.validation == made.folds[(i + 1) % folds].test


@pytest.mark.parametrize("seed", range(5))
def test_sub_types_are_distributed_evenly(seed):
    made = splits.stratified_splits(cohort(PAPER_LIKE), folds=5, seed=seed)
    for name in SUBTYPES:
        carriers = {100 + i for i, kind in enumerate(PAPER_LIKE) if name in kind}
        counts = [len(carriers & set(fold.test)) for fold in made.folds]
        # The rarest (IVH 5, SDH 4, SAH 7) are distributed first, so they are even; the others depend on the room left.
        assert max(counts) - min(counts) <= (1 if len(carriers) <= 7 else 2), (name, counts)


def test_the_stratified_order_depends_only_on_the_seed():
    subjects = cohort(PAPER_LIKE)
    made = splits.stratified_splits(subjects, folds=5, seed=3)
    assert splits.stratified_splits(subjects[::-1], folds=5, seed=3) == made
    assert splits.stratified_splits(subjects, folds=5, seed=4).folds != made.folds


def test_the_largest_fold_is_random():
    largest = {
        max(made.folds, key=lambda fold: len(fold.test)).index
        for made in (splits.stratified_splits(cohort([("EDH",)] * 6 + [()] * 7), folds=3, seed=s) for s in range(20))
    }
    assert largest == {0, 1, 2}


def test_missing_sub_types_are_noted():
    kinds = [("EDH",)] * 8 + [("SDH",)] + [()] * 9
    made = splits.stratified_splits(cohort(kinds), folds=3, seed=0)
    assert [note for note in made.notes if note.startswith("no subject")] == [
        "no subject has IVH", "no subject has IPH", "no subject has SAH",
    ]  # fmt: skip
    has = next(fold.index for fold in made.folds if 108 in fold.test)
    assert {note for note in made.notes if note.startswith("fold")} == {
        *(f"fold {fold}: no test subject has SDH" for fold in range(3) if fold != has),
        *(f"fold {fold}: no validation subject has SDH" for fold in range(3) if fold != (has - 1) % 3),
        *(f"fold {fold}: no train subject has SDH" for fold in range(3) if fold != (has + 1) % 3),
    }


@pytest.mark.parametrize(
    ("kinds", "folds", "words"),
    [
        ([("EDH",)] * 4 + [()] * 16, 5, ["fold ", "4 of 20 subjects have one", "at most 4 folds"]),
        ([("EDH",)] * 2 + [()] * 18, 5, ["2 of 20 subjects have one", "at least 3 of them are needed"]),
        ([()] * 20, 5, ["fold 0", "0 of 20 subjects have one"]),
        ([("EDH",)] * 4, 5, ["4 subjects found for 5 folds"]),
        ([("EDH",)] * 9, 2, ["2 folds requested", "at least 3"]),
    ],
)
def test_too_few_subjects_are_rejected(kinds, folds, words):
    with pytest.raises(InputError) as caught:
        splits.stratified_splits(cohort(kinds), folds=folds, seed=0)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_part_without_hemorrhage_is_rejected_in_any_order(part):
    made = splits.paper_splits(range(49, 69), folds=5)
    splits.require_hemorrhage(made, [subject(number, ("IPH",)) for number in range(49, 69)])
    made = dataclasses.replace(made, folds=made.folds[2:3])
    without = set(getattr(made.folds[0], part))
    subjects = [subject(number, () if number in without else ("IPH",)) for number in range(49, 69)]
    with pytest.raises(InputError, match=rf"fold 2 has no subject with a hemorrhage among its {part} subjects"):
        splits.require_hemorrhage(made, subjects)


def test_duplicate_subjects_are_rejected():
    with pytest.raises(InputError, match="subjects 50 occur more than once"):
        splits.paper_splits([49, 50, 50, 51], folds=3)


def test_written_splits_are_read_back(tmp_path):
    made = splits.stratified_splits(cohort(PAPER_LIKE), folds=5, seed=np.int64(7))
    splits.write(made, tmp_path / "splits.json")
    numbers = [100 + i for i in range(len(PAPER_LIKE))]
    assert splits.read(tmp_path / "splits.json", numbers) == made
    record = json.loads((tmp_path / "splits.json").read_text())
    assert list(record) == ["order", "seed", "folds", "notes"]
    assert list(record["folds"][0]) == ["fold", "train", "validation", "test"]
    assert [path.name for path in tmp_path.iterdir()] == ["splits.json"]


def _leak(record):
    record["folds"][1]["train"].append(record["folds"][1]["test"][0])


def _test_twice(record):
    number = record["folds"][0]["test"].pop()
    record["folds"][0]["train"].append(number)


def _test_in_two_folds(record):
    number = record["folds"][1]["test"][0]
    record["folds"][3]["train"].remove(number)
    record["folds"][3]["test"].append(number)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_leak, "fold 1: subject .* is in train and in test"),
        (_test_twice, "are tested in no fold"),
        (_test_in_two_folds, "is tested in folds 1 and 3"),
        (lambda r: r["folds"][2]["train"].pop(), "fold 2 lacks subjects"),
        (lambda r: r["folds"][2]["train"].append(999), "fold 2 holds unknown subjects 999"),
        (lambda r: r["folds"][2]["train"].append(r["folds"][2]["train"][0]), "is in train and in train"),
        (lambda r: r["folds"][0].update(validation=[]), "no validation subjects"),
        (lambda r: r["folds"].reverse(), "folds are numbered"),
        (lambda r: r.update(folds=[]), "folds are numbered"),
        (lambda r: r["folds"][0].pop("train"), "'train' is missing"),
        (lambda r: r["folds"][0].update(test=["a"]), "'test' is missing or malformed"),
        (lambda r: r["folds"][0].update(test=[True]), "'test' is missing or malformed"),
        (lambda r: r["folds"].append("x"), "'fold' is missing"),
        (lambda r: r.update(order="random"), "'order' is missing"),
        (lambda r: r.update(seed=0.5), "'seed' is missing"),
        (lambda r: r.update(notes="x"), "'notes' is missing"),
    ],
)
def test_an_invalid_file_is_rejected(tmp_path, spoil, message):
    path = tmp_path / "splits.json"
    splits.write(splits.paper_splits(range(49, 69)), path)
    record = json.loads(path.read_text())
    spoil(record)
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=message) as caught:
        splits.read(path, range(49, 69))
    assert "splits.json" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), ("{", "cannot be read as JSON"), ("[]", "holds a list")]
)
def test_a_file_without_splits_is_rejected(tmp_path, content, message):
    path = tmp_path / "splits.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        splits.read(path, range(49, 69))


def test_folds_of_another_data_set_are_rejected(tmp_path):
    splits.write(splits.paper_splits(NIFTI_75), tmp_path / "splits.json")
    with pytest.raises(InputError, match="fold 0 lacks subjects 59, 60, 61"):
        splits.read(tmp_path / "splits.json", ALL_82)
    with pytest.raises(InputError, match="holds unknown"):
        splits.read(tmp_path / "splits.json", NIFTI_75[1:])


def test_check_accepts_numbers_in_any_order():
    made = splits.paper_splits(NIFTI_75)
    splits.check(made, reversed(NIFTI_75))
    leaking = dataclasses.replace(made.folds[3], train=made.folds[3].train + made.folds[3].test[:1])
    with pytest.raises(InputError, match="leak"):
        splits.check(dataclasses.replace(made, folds=(*made.folds[:3], leaking, made.folds[4])), NIFTI_75)


def test_subjects_without_sub_type_labels_are_stratified_by_hemorrhage():
    unlabelled = [dataclasses.replace(subject(100 + i), hemorrhage=i % 2 == 0) for i in range(30)]
    made = splits.stratified_splits(unlabelled, folds=5, seed=0)
    bleeding = {s.number for s in unlabelled if s.labelled_hemorrhage}
    assert [len(fold.test) for fold in made.folds] == [6] * 5
    assert [len(bleeding & set(fold.test)) for fold in made.folds] == [3] * 5
