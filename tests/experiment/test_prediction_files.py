"""Whose a file of predictions is: by the ID in its name, never by a digit that is a rank."""

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data.subject import Subject
from ichjax.errors import InputError
from ichjax.experiment import prediction_files

TWELVE = [f"CT{number}" for number in range(1, 13)]


def subjects(*names):
    """Subjects as the plain layout numbers them: by IDs that are numbers, else in the order of the IDs."""
    numeric = all(name.isdecimal() for name in names)
    return [
        Subject(int(name) if numeric else rank, None, None, None, None, np.zeros((0, 5), bool), np.zeros(0, bool),
                None, name=name)
        for rank, name in enumerate(sorted(names), start=1)
    ]  # fmt: skip


def owners(stem, *names):
    """The IDs of the subjects to which a name could belong."""
    made = subjects(*names)
    named = {subject.number: subject.name for subject in made}
    return {named[number] for number in prediction_files.owner_finder(made)(stem)}


@pytest.mark.parametrize("number", range(1, 13))
@pytest.mark.parametrize("name", ["CT{}", "CT{}_pred", "fold2_CT{}", "ct{}-mask", "CT{}_0000", "3 CT{}.12"])
def test_an_id_with_a_number_is_not_a_rank(name, number):
    assert owners(name.format(number), *TWELVE) == {f"CT{number}"}


@pytest.mark.parametrize("stem", ["10_pred", "CT010", "CT13", "XCT1", "CT1b", "CT", "pred", "", "_"])
def test_a_name_without_an_id_belongs_to_nobody(stem):
    assert owners(stem, *TWELVE) == set()


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("049", {"049"}),
        ("49", {"049"}),
        ("case_0049_pred", {"049"}),
        ("ICH49", {"049"}),
        ("052_0000", {"052"}),
        ("049_052", {"049", "052"}),
        ("1049", set()),
        ("12", set()),
    ],
)
def test_ids_that_are_numbers_count_with_and_without_zeros(stem, expected):
    assert owners(stem, "049", "050", "052") == expected


@pytest.mark.parametrize(
    ("stem", "names", "expected"),
    [
        ("CT1_left_pred", ("CT1", "CT1_left"), {"CT1_left"}),  # the longer ID is meant
        ("CT1_pred", ("CT1", "CT1_left"), {"CT1"}),
        ("CT1_LEFT_pred", ("CT1", "CT1_left"), {"CT1_left"}),
        ("CT1_vs_ct2", ("CT1", "CT2"), {"CT1", "CT2"}),
        ("CT1-left_CT1", ("CT1", "CT1-left"), {"CT1", "CT1-left"}),
        ("a1_pred", ("A1", "a1"), {"a1"}),  # they differ only in case
        ("p-1", ("p-1", "p_1"), {"p-1"}),
        ("p 1", ("p-1", "p_1"), {"p-1", "p_1"}),
        ("pat_1_", ("pat (1)", "pat (2)"), {"pat (1)"}),  # as `predict` names it
        ("sub-01.ses-02", ("sub-01_ses-01", "sub-01_ses-02"), {"sub-01_ses-02"}),
        ("v1.2 b_pred", ("v1.2 a", "v1.2 b"), {"v1.2 b"}),
        ("2_pred", ("1", "2", "A"), {"2"}),  # an ID among others, whatever its rank
        ("3_pred", ("1", "2", "A"), set()),  # the rank of A
        ("M\u00fcller_pred", ("Mu\u0308ller", "Maier"), {"Mu\u0308ller"}),  # macOS stores the accent apart
        ("+", ("+", "-"), {"+"}),
    ],
)
def test_ids_that_resemble_each_other(stem, names, expected):
    assert owners(stem, *names) == expected


WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=4)
IDS = st.lists(WORD, min_size=1, max_size=8, unique_by=str.casefold).filter(
    lambda names: not all(name.isdecimal() for name in names)
)


@given(IDS, st.data())
def test_every_id_is_told_in_any_decoration(names, data):
    """As are no names that hold another ID, or none."""
    chosen = data.draw(st.sampled_from(names))
    decoration = data.draw(st.lists(WORD, max_size=3))
    separator = data.draw(st.sampled_from("_-. "))
    words = [*decoration, chosen]
    expected = {name for name in names if name.casefold() in {word.casefold() for word in words}}
    assert owners(separator.join(words), *names) == (expected if words != [chosen] else {chosen})


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_files_and_the_folders_that_predict_writes_are_listed(tmp_path):
    touch(tmp_path, "CT1.nii.gz", "._CT1.nii.gz", "ct2.NII", "CT3/mask.nii.gz", "CT3/scan.nii.gz", "CT3/overlay.png")
    touch(tmp_path, ".CT4.part/mask.nii.gz", "CT5/prediction.json", "dicom_seg/CT6.dcm", "worklist.csv", "CT7.png")
    found, problems = prediction_files.find_files(tmp_path, subjects("CT1", "CT2", "CT3"))
    assert found == {1: tmp_path / "CT1.nii.gz", 2: tmp_path / "ct2.NII", 3: tmp_path / "CT3" / "mask.nii.gz"}
    assert problems == []


def test_masks_of_sub_types_are_read_from_their_own_file(tmp_path):
    touch(tmp_path, "A/mask.nii.gz", "A/subtypes.nii.gz", "B/mask.nii.gz")
    found, problems = prediction_files.find_files(tmp_path, subjects("A", "B"), inner="subtypes.nii.gz")
    assert found == {1: tmp_path / "A" / "subtypes.nii.gz"}
    assert problems == ["subjects B: no file among the predictions"]


def test_what_is_ambiguous_is_named_by_its_id_and_harms_nobody_else(tmp_path):
    touch(tmp_path, "CT1_pred.nii.gz", "CT1/mask.nii.gz", "CT2.nii.gz", "CT10.nii", "CT2_CT3.nii.gz", "10.nii.gz")
    found, problems = prediction_files.find_files(tmp_path, subjects("CT1", "CT2", "CT3", "CT10"))
    assert found == {2: tmp_path / "CT10.nii", 3: tmp_path / "CT2.nii.gz"}
    assert problems == [
        "subject CT1: 2 files (CT1_pred.nii.gz, CT1/mask.nii.gz); expected one",
        "subjects CT3: no file among the predictions",
        "files that do not belong to exactly one subject of the data set: 10.nii.gz, CT2_CT3.nii.gz (fits CT2, CT3)",
    ]


def test_a_folder_of_strangers_is_refused_with_the_ids_that_are_expected(tmp_path):
    touch(tmp_path, "1.nii.gz", "2.nii.gz")
    with pytest.raises(InputError, match=r"none of its 2 files .*1\.nii\.gz.* a subject's ID in each name: CT1, CT2$"):
        prediction_files.find_files(tmp_path, subjects("CT1", "CT2"))


def test_a_sentence_names_no_more_than_one_can_read():
    names = [f"s{number}" for number in range(prediction_files.MAX_NAMED + 7)]
    assert prediction_files._join(names).endswith(f"{names[-8]} and 7 more")
