"""Parts of a scan in several series are merged by their geometry; what is not one scan, or may not be, is not."""

import itertools

import numpy as np
import pydicom
import pytest

from ichjax.dicom import series as dicom_series
from tests.dicom.test_series import UNEVEN, ct_slice, generate_uid, hu_slice, read, save, series_of, tilted

ALL = tuple(5.0 * k for k in range(8))  # slices of 5 mm
STUDY = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "ConvolutionKernel": "H31s"}
PART_NOTE = "merged from {} series whose slices complete each other"


def part(indices, positions=ALL, number=1, **tags):
    """Slices of the scan as a series of their own."""
    uid = tags.pop("SeriesInstanceUID", None) or generate_uid()
    tags = {**STUDY, "SeriesNumber": number, **tags}
    return [ct_slice(k, positions[k], series=uid, InstanceNumber=k + 1, **tags) for k in indices]


def found(folder, *parts):
    """[[(slices, notes, problem) of each series] of each study] of datasets saved in one folder."""
    save(folder, [ds for one in parts for ds in one])
    studies, _ = dicom_series.find_studies(folder)
    return [[(series.traits.slices, series._notes, series.problem) for series in study.series] for study in studies]


def check_whole(folder, *parts, notes=1, positions=ALL):
    """The parts are one series of all slices, whatever the order of its files."""
    ((series,),) = found(folder, *parts)
    assert series[0] == len(positions)
    assert (len(series[1]), series[2]) == (notes, "")
    volume = read(folder)
    np.testing.assert_array_equal(volume.hu, [hu_slice(k) for k in range(len(positions))])
    np.testing.assert_allclose(volume.positions_mm, np.array(positions) - 100)
    assert volume.notes == series[1]


BASE_5_VERTEX_10 = (0.0, 5.0, 10.0, 15.0, 22.5, 32.5, 42.5)
BASE_5_VERTEX_8 = (0.0, 5.0, 10.0, 15.0, 21.5, 29.5, 37.5)
BASE_5_THEN_OLD_STEP = (0.0, 5.0, 10.0, 15.0, 25.0, 35.0, 45.0)


@pytest.mark.parametrize("positions", [BASE_5_VERTEX_10, BASE_5_VERTEX_8, BASE_5_THEN_OLD_STEP, ALL])
@pytest.mark.parametrize("order", [1, -1])
def test_base_and_vertex(tmp_path, positions, order):
    base = part(range(4), positions)
    thick = positions[-1] - positions[-2]
    vertex = part(range(4, len(positions)), positions, 2, SliceThickness=thick)
    check_whole(tmp_path / "a", *(base, vertex)[::order], positions=positions)


@pytest.mark.parametrize("alone", [0, 3, 7])
def test_a_single_slice_beside_the_others(tmp_path, alone):
    check_whole(tmp_path / "a", part([k for k in range(8) if k != alone]), part([alone], number=2))


def test_odd_and_even_slices(tmp_path):
    check_whole(tmp_path / "a", part(range(0, 8, 2)), part(range(1, 8, 2), number=2))


def test_every_third_slice(tmp_path):
    check_whole(tmp_path / "a", *(part(range(k, 8, 3), number=k) for k in range(3)))


def test_three_parts_of_a_tilted_scan(tmp_path):
    """Gantry tilt moves each slice in its own plane."""
    parts = [part(indices, ImageOrientationPatient=tilted(15)) for indices in ((0, 1, 2), (3, 4, 5), (6, 7))]
    ((series,),) = found(tmp_path / "a", *parts)
    assert series == (8, (PART_NOTE.format(3),), "")


UIDS = ("SeriesInstanceUID", "StudyInstanceUID")


@pytest.mark.parametrize("tags", [UIDS[:1], UIDS[1:], UIDS], ids="+".join)
@pytest.mark.parametrize("numbers", ["same", "each"])
def test_a_uid_for_each_image(tmp_path, tags, numbers):
    uid = generate_uid()
    slices = [
        part(
            [k], number=k if numbers == "each" else 2, **{"SeriesInstanceUID": uid, **{t: generate_uid() for t in tags}}
        )
        for k in range(8)
    ]
    check_whole(tmp_path / "a", *slices, notes=int("SeriesInstanceUID" in tags))


def test_two_reconstructions_with_a_uid_for_each_image(tmp_path):
    """The kernel separates them, and two phases their SeriesNumber."""
    parts = [
        part([k], number=number, ConvolutionKernel=kernel)
        for k, (number, kernel) in itertools.product(range(8), [(2, "H31s"), (3, "H60s"), (4, "H31s")])
    ]
    (study,) = found(tmp_path / "a", *parts)
    assert [(slices, problem) for slices, _, problem in study] == [(8, "")] * 3


@pytest.mark.parametrize("tags", [{}, {"StudyInstanceUID": None}], ids=["one study", "a study each"])
def test_slices_that_nothing_holds_together_are_refused(tmp_path, tags):
    """Each image is a series, with a frame of reference of its own."""
    parts = [part([k], FrameOfReferenceUID=generate_uid(), **{t: generate_uid() for t in tags}) for k in range(8)]
    problems = [problem for study in found(tmp_path / "a", *parts) for _, _, problem in study]
    assert len(problems) == 8
    assert all("00.dcm and 7 more: each is a series of one slice" in problem for problem in problems)


SPELLINGS = [
    {"PatientName": "doe^john^^"},
    {"PatientName": "John Doe"},
    {"PatientName": ""},
    {"PatientID": " 012345 "},
    {"PatientID": ""},
    {"PatientBirthDate": "19500101"},
    {"PatientSex": "F"},
    {"PatientBirthDate": "19500101", "PatientID": "", "PatientName": "DOE^JOHN"},
]


@pytest.mark.parametrize("tags", SPELLINGS, ids=str)
def test_a_patient_spelled_twice(tmp_path, tags):
    uid = generate_uid()
    odd, even = (part(range(k, 8, 2), SeriesInstanceUID=uid, **(tags if k else {})) for k in (0, 1))
    check_whole(tmp_path / "a", odd, even, notes=0)


def test_a_patient_spelled_twice_in_two_series(tmp_path):
    """One study of two series, and base and vertex of a third one."""
    parts = [part(range(8), number=2), part(range(8), number=3, ConvolutionKernel="H60s", PatientID="")]
    parts += [part(range(4), number=4, ConvolutionKernel="H40s"), part(range(4, 8), number=5, ConvolutionKernel="H40s")]
    for ds in parts[3]:
        ds.PatientBirthDate, ds.PatientName = "19500101", "DOE JOHN"
    (study,) = found(tmp_path / "a", *parts)
    assert [(slices, problem) for slices, _, problem in study] == [(8, "")] * 3


@pytest.mark.parametrize(
    ("tags", "keyword"),
    [({"PatientName": "ROE^JANE"}, "PatientName"), ({"PatientID": "777"}, "PatientID")],
    ids=["name", "id"],
)
@pytest.mark.parametrize("indices", [range(1, 8, 2), range(4, 8)], ids=["interleaved", "stacked"])
def test_one_scan_of_two_patients_is_refused(tmp_path, tags, keyword, indices):
    """By UIDs and geometry one scan, but of two people who share an ID or a name: it cannot be told."""
    uid = generate_uid()
    others = [k for k in range(8) if k not in indices]
    studies = found(tmp_path / "a", part(others, SeriesInstanceUID=uid), part(indices, SeriesInstanceUID=uid, **tags))
    assert [[slices for slices, *_ in study] for study in studies] == [[4], [4]]
    for ((_, _, problem),) in studies:
        assert f"slices of one scan, but they differ in {keyword}; expected" in problem
        assert "ROE" not in problem
        assert "777" not in problem


def test_two_patients_with_the_same_uids_stay_apart(tmp_path):
    """Both are complete and at the same positions, in one folder and with the same image numbers."""
    uid = generate_uid()
    parts = [part(range(8), SeriesInstanceUID=uid, **tags) for tags in ({}, {"PatientID": "777"})]
    assert found(tmp_path / "a", *parts) == [[(8, (), "")], [(8, (), "")]]


@pytest.mark.parametrize("foreign", [[3], [7], [1, 3, 5]], ids=["inside", "at the end", "several"])
def test_slices_of_another_patient_within_a_scan_are_refused(tmp_path, foreign):
    """ID and name both differ, but the gap that they fill and the series UID are of one scan."""
    uid = generate_uid()
    other = part(foreign, SeriesInstanceUID=uid, PatientID="777", PatientName="ROE^JANE")
    own = part([k for k in range(8) if k not in foreign], SeriesInstanceUID=uid)
    problems = [problem for study in found(tmp_path / "a", own, other) for _, _, problem in study]
    assert len(problems) == 2
    assert all("slices of one scan, but they differ in PatientID; expected" in problem for problem in problems)
    assert "777" not in "".join(problems)


def test_base_and_vertex_in_two_studies(tmp_path):
    """One patient and one frame of reference: one examination, whatever the study UIDs say."""
    check_whole(tmp_path / "a", part(range(4)), part(range(4, 8), number=2, StudyInstanceUID="1.2.5"))


NOBODY = {"PatientID": "", "PatientName": ""}


def nameless_slices():
    """A study, a series and no patient for each image."""
    return [part([k], StudyInstanceUID=generate_uid(), **NOBODY) for k in range(8)]


def test_nameless_slices_of_one_folder(tmp_path):
    check_whole(tmp_path / "a", *nameless_slices())


def test_nameless_slices_of_one_folder_that_nothing_else_holds_together_are_refused(tmp_path):
    parts = nameless_slices()
    for (ds,) in parts:
        ds.FrameOfReferenceUID = generate_uid()
    problems = [problem for study in found(tmp_path / "a", *parts) for _, _, problem in study]
    assert len(problems) == 8
    assert all("and 7 more: each is a series of one slice" in problem for problem in problems)


def test_nameless_slices_of_several_folders_stay_apart(tmp_path):
    for k, slices in enumerate(nameless_slices()):
        save(tmp_path / "in" / str(k), slices)
    studies, _ = dicom_series.find_studies(tmp_path / "in")
    assert [[series.traits.slices for series in study.series] for study in studies] == [[1]] * 8


def test_what_completes_another_patient_or_day_stays_apart(tmp_path):
    """The positions would fit, but ID and name both differ, or the study and the frame of reference."""
    uid = generate_uid()
    other = {"PatientID": "777", "PatientName": "ROE"}
    parts = [part(range(4), SeriesInstanceUID=uid), part(range(4, 8), SeriesInstanceUID=uid, **other)]
    assert found(tmp_path / "patients", *parts) == [[(4, (), "")], [(4, (), "")]]
    other_day = part(range(4, 8), StudyInstanceUID="1.2.5", FrameOfReferenceUID="1.2.6")
    assert found(tmp_path / "days", part(range(4)), other_day) == [[(4, (), "")]] * 2


def test_images_that_fit_two_patients_are_no_third_one_if_they_complete_one(tmp_path):
    """They lack the patient's tags; the gap in the second patient's series tells whose they are."""
    uid = generate_uid()
    nameless = {"PatientID": "", "PatientName": ""}
    parts = [
        part(range(8), SeriesInstanceUID=uid),
        part((0, 1, 2, 5, 6, 7), SeriesInstanceUID=uid, PatientID="777", PatientName="ROE"),
        part((3, 4), SeriesInstanceUID=uid, **nameless),
    ]
    assert [[one[0] for one in study] for study in found(tmp_path / "a", *parts)] == [[8], [8]]


APART = {
    "another phase": part(range(8), number=2),
    "another phase, with contrast": part(range(4, 8), number=2, ContrastBolusAgent="Omnipaque"),
    "a neck": part(range(4, 8), number=2, BodyPartExamined="CSPINE", SeriesDescription="HWS"),
    "reformatted": part(range(4, 8), number=2, ImageType=["DERIVED", "SECONDARY", "MPR"]),
    "overlapping slices": part(range(8), tuple(at + 2.5 for at in ALL), number=2),
    "thin slices": part(range(8), tuple(at / 5 + 1.5 for at in ALL), number=2, SliceThickness=1),
}


@pytest.mark.parametrize("kind", APART)
def test_another_reconstruction_stays_apart(tmp_path, kind):
    first = part(range(8) if len(APART[kind]) == 8 else range(4))
    (study,) = found(tmp_path / "a", first, APART[kind])
    assert [(notes, problem) for _, notes, problem in study] == [((), "")] * 2


PLUS_10 = tuple(at + 10 for at in ALL)
MINUS_2 = tuple(at - 2 for at in ALL)
UNCLEAR = {
    "gap": part(range(4, 8), PLUS_10, 2),
    "overlap": part(range(4, 8), MINUS_2, 2),
    "one slice twice": part(range(3, 8), number=2),
    "another frame of reference": part(range(4, 8), number=2, FrameOfReferenceUID="1.2.99"),
    "no frame of reference": part(range(4, 8), number=2, FrameOfReferenceUID=""),
    "another tilt": part(range(4, 8), number=2, ImageOrientationPatient=tilted(5)),
    "moved in the plane": part(range(4, 8), number=2),
    "another kernel": part(range(4, 8), number=2, ConvolutionKernel="H60s"),
    "another pixel spacing": part(range(4, 8), number=2, PixelSpacing=[0.75, 0.6]),
}
for moved in UNCLEAR["moved in the plane"]:
    moved.ImagePositionPatient[0] += 20


@pytest.mark.parametrize("kind", UNCLEAR)
def test_what_may_be_a_part_of_the_head_is_noted(tmp_path, kind):
    (study,) = found(tmp_path / "a", part(range(4)), UNCLEAR[kind])
    assert len(study) == 2
    for _, (note,), problem in study:
        assert "a part of the head may lie there" in note
        assert problem == ""
    assert "a part of the head may lie there" in read(tmp_path / "a").notes[0]


def test_a_repeated_vertex_is_not_guessed(tmp_path):
    (study,) = found(tmp_path / "a", part(range(4)), part(range(4, 8), number=2), part(range(4, 8), number=3))
    assert [slices for slices, *_ in study] == [4, 4, 4]
    assert all("a part of the head may lie there" in " ".join(notes) for _, notes, _ in study)


def test_thin_and_thick_reconstructions_of_base_and_vertex(tmp_path):
    """Base and vertex both exist in slices of 5 mm and of 2.5 mm: each is merged with its own kind."""
    thin = tuple(2.5 * k - 1.25 for k in range(16))
    parts = [part(range(4)), part(range(4, 8), number=2)]
    parts += [part(range(8), thin, 3, SliceThickness=2.5), part(range(8, 16), thin, 4, SliceThickness=2.5)]
    (study,) = found(tmp_path / "a", *parts)
    assert sorted(slices for slices, *_ in study) == [8, 16]
    assert all(notes == (PART_NOTE.format(2),) for _, notes, _ in study)


def test_one_patient_on_two_days_has_two_studies(tmp_path):
    days = [part(range(8)), part(range(8), StudyInstanceUID="1.2.5", FrameOfReferenceUID="1.2.6")]
    days += [part(range(8), PLUS_10, StudyInstanceUID="1.2.7")]  # even in the same frame of reference
    assert found(tmp_path / "a", *days) == [[(8, (), "")]] * 3


@pytest.mark.parametrize("places", ["two folders", "one folder"])
def test_a_scan_stored_twice_is_one(tmp_path, places):
    slices = part(range(8))
    save(tmp_path / "in" / "1", slices)
    save(tmp_path / "in" / ("2" if places == "two folders" else "1"), slices, [f"copy {k}.dcm" for k in range(8)])
    (study,), _ = dicom_series.find_studies(tmp_path / "in")
    assert [series.traits.slices for series in study.series] == [8]
    assert "8 files were left out, copies of other slices" in read(tmp_path / "in").notes[0]


def test_base_and_vertex_in_folders_with_the_same_numbers(tmp_path):
    """One series UID, but numbers start again in each folder."""
    uid = generate_uid()
    for name, indices in (("1", range(4)), ("2", range(4, 8))):
        slices = part(indices, SeriesInstanceUID=uid)
        for number, ds in enumerate(slices):
            ds.InstanceNumber = number + 1
        save(tmp_path / "in" / name, slices)
    assert read(tmp_path / "in").shape[0] == 8


def test_a_series_with_unreadable_geometry_is_reported_as_before(tmp_path):
    bad = series_of(UNEVEN, PixelSpacing=None, **STUDY)
    (study,) = found(tmp_path / "a", part(range(4)), part(range(4, 8), number=2), bad)
    assert sorted(slices for slices, *_ in study) == [6, 8]


def test_files_are_numbered_in_the_order_of_the_walk(tmp_path):
    save(tmp_path / "in" / "b", part(range(8), StudyInstanceUID="1.2.5"))
    save(tmp_path / "in" / "a", part(range(8), number=7))
    (tmp_path / "in" / "note.txt").write_text("first, since files come before folders")
    studies, _ = dicom_series.find_studies(tmp_path / "in")
    assert [(study.folder.name, study.series[0].file_number, study.series[0].traits.number) for study in studies] == [
        *(("a", 2, 7), ("b", 10, 1)),
    ]
    assert pydicom.dcmread(studies[0].series[0].first_file).SeriesNumber == 7
