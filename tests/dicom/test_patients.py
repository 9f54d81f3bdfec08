"""Spellings of a patient's name, ID and birth date that are the same, and those that are not."""

import itertools

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from ichjax.dicom import patients

SAME_NAMES = [
    *(
        "Müller^Jörg",
        "MULLER^JORG",
        "Mueller^Joerg^^",
        "Jörg Müller",
        "Müller, Jörg",
        "  müller ^jörg ",
        "Müller^Jörg^^^",
    ),
    *("Müller^Jörg=山田^太郎", "^Müller^Jörg", "Müller^Jörg^^Dr.", "Mu\u0308ller^Jo\u0308rg", "MÜLLER JÖRG\0"),
]
OTHER_NAMES = ["Müller^Jürg", "Müller", "Müller^Jörg^A", "山田^太郎"]


@pytest.mark.parametrize("name", SAME_NAMES)
def test_spellings_of_a_name(name):
    assert patients.normalize("PatientName", name) == "jorg muller"


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names(name):
    assert patients.normalize("PatientName", name) not in ("jorg muller", "")


@pytest.mark.parametrize(
    ("keyword", "text", "expected"),
    [
        ("PatientName", "O'Brien^Seán", "obrien sean"),
        ("PatientName", "Smith-Jones^A.", "a jones smith"),
        ("PatientName", " ^^^^ ", ""),
        ("PatientName", "=山田^太郎", "太郎 山田"),
        ("PatientID", " 000 123", "123"),
        ("PatientID", "SYN-1", "syn-1"),
        ("PatientID", "syn-1 ", "syn-1"),
        ("PatientID", "", ""),
        ("PatientID", "10", "10"),
        ("PatientBirthDate", "1950.12.31", "19501231"),
        ("PatientBirthDate", "19501231", "19501231"),
        ("PatientBirthDate", "00000000", ""),
    ],
)
def test_what_is_compared(keyword, text, expected):
    assert patients.normalize(keyword, text) == expected


@given(st.text(st.characters(codec="ascii")), st.sampled_from(patients.PATIENT_TAGS))
def test_case_and_spaces_around_do_not_matter(text, keyword):
    assert patients.normalize(keyword, f"  {text.upper()} ") == patients.normalize(keyword, text.lower())


def header(**tags):
    ds = pydicom.Dataset()
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def test_hashes_depend_on_the_key_and_hold_no_name():
    ds = header(PatientName="Doe^Jane", PatientID="7")
    one, other = (patients.read_patient(ds, key=key) for key in (b"a", b"b"))
    assert one == patients.read_patient(header(PatientName="DOE JANE", PatientID="007"), key=b"a") != other
    assert one[2] == ""
    assert all(len(text) == 16 for text in one[:2])
    assert patients.read_patient(header()) == patients.NOBODY


def test_names_in_other_character_sets_are_the_same():
    stored = {"ISO_IR 100": "Müller^Jörg".encode("latin-1"), "ISO_IR 192": "Müller^Jörg".encode()}
    hashes = set()
    for characters, name in stored.items():
        ds = header(SpecificCharacterSet=characters)
        tag = Tag("PatientName")
        ds[tag] = RawDataElement(tag, "PN", len(name), name, 0, False, True)
        hashes.add(patients.read_patient(ds))
    assert len(hashes) == 1


FULL, NO_BIRTH, NO_ID, OTHER = ("1", "n", "b"), ("1", "n", ""), ("", "n", "b"), ("2", "m", "")


def test_missing_tags_are_completed():
    spellings = [FULL, NO_BIRTH, NO_ID, patients.NOBODY]
    for some in itertools.permutations(spellings, 3):
        (united,) = set(patients.unite(some).values())
        assert united == FULL
    assert set(patients.unite([("1", "", ""), ("", "n", "")]).values()) == {("1", "n", "")}


def test_two_patients_stay_two():
    assert patients.unite([FULL, OTHER]) == {FULL: FULL, OTHER: OTHER}
    assert patients.unite([FULL, NO_BIRTH, OTHER, patients.NOBODY]) == {
        **{FULL: FULL, NO_BIRTH: FULL, OTHER: OTHER},
        patients.NOBODY: patients.NOBODY,  # of either
    }
    born_later = ("1", "n", "c")
    assert patients.unite([FULL, born_later, NO_BIRTH]) == {one: one for one in (FULL, born_later, NO_BIRTH)}
    assert patients.contradiction([FULL, NO_BIRTH]) == ""
    assert patients.contradiction([FULL, born_later]) == "PatientBirthDate"
