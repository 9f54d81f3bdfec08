"""Ranking the series of a study, and grouping files by patient, study and series."""

import itertools

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from ichjax.dicom import ranking
from ichjax.dicom import series as dicom_series

EVERY_5 = tuple(5.0 * k for k in range(8))


def hu(slices):
    """int16 [slices, 8, 8]: half air, half bone."""
    return np.repeat(np.array([-1000, 700], np.int16), 32).reshape(8, 8)[None].repeat(slices, axis=0)


@pytest.fixture
def study(ct_series, tmp_path):
    """study(name=(table_mm, tags), ...) writes the series of one study, each in its own folder; returns the folder."""

    def make(**series):
        for name, (table_mm, tags) in series.items():
            tags = {"StudyInstanceUID": "1.2.3", **tags}
            ct_series(tmp_path / "study" / name, hu(len(table_mm)), table_mm, **tags)
        return tmp_path / "study"

    return make


BRAIN = {"ConvolutionKernel": "H31s", "WindowWidth": 80}
OTHERS = {
    "thin": (tuple(1.0 * k for k in range(36)), BRAIN),
    "thick": (tuple(7.5 * k for k in range(5)), BRAIN),
    "bone": (EVERY_5, {"ConvolutionKernel": "H60s", "WindowWidth": 3000}),
    "contrast": (EVERY_5, {**BRAIN, "ContrastBolusAgent": "Omnipaque 300"}),
    "part": (EVERY_5[:3], BRAIN),
}


@pytest.mark.parametrize("names", [c for n in (1, 2, 5) for c in itertools.combinations(OTHERS, n)], ids="+".join)
def test_the_complete_soft_series_without_contrast_ranks_first(study, names):
    folder = study(**{name: OTHERS[name] for name in names}, z_preferred=(EVERY_5, BRAIN))
    (only,), skipped = dicom_series.find_studies(folder)
    assert skipped == []
    assert len(only.series) == len(names) + 1
    assert {path.path.parent.name for path in only.series[0]._frames} == {"z_preferred"}
    assert only.series[0].label == "series 1 (8 slices, 6.000 mm)"


def test_labels_name_the_drawbacks(study):
    (only,), _ = dicom_series.find_studies(study(preferred=(EVERY_5, BRAIN), **OTHERS))
    assert [series.label for series in only.series] == [
        "series 1 (8 slices, 6.000 mm)",
        "series 2 (36 slices, 6.000 mm, slices every 1.0 mm)",
        "series 3 (5 slices, 6.000 mm, slices every 7.5 mm)",
        "series 4 (8 slices, 6.000 mm, sharp kernel H60s)",
        "series 5 (8 slices, 6.000 mm, contrast)",
        "series 6 (3 slices, 6.000 mm)",
    ]


def test_a_series_with_drawbacks_ranks_first_if_there_is_no_better_one(study):
    (only,), _ = dicom_series.find_studies(study(**{name: OTHERS[name] for name in ("bone", "contrast")}))
    assert "sharp kernel" in only.series[0].label


@pytest.mark.parametrize(
    ("kernel", "sharp"),
    [
        *(
            (name, True)
            for name in ("BONE", "bone", "BONEPLUS", "EDGE", "LUNG", "H60s", "Hr59", "J70h", "Br64d", "FC30")
        ),
        *((name, True) for name in ("FC35", "FC51", "FC81", "YA", "D", "L", "H50f")),
        *((name, False) for name in ("STANDARD", "SOFT", "H31s", "H40f", "Hc40", "J30s", "Qr36", "FC26", "FC68", "UB")),
        *((name, False) for name in ("A", "B", "", "something new", "FC", "1234")),
    ],
)
def test_kernels_are_classified_by_name(kernel, sharp):
    assert ranking.is_sharp(kernel) == sharp


@pytest.mark.parametrize("tags", [{}, {"WindowWidth": ""}])
def test_a_series_without_a_window_ranks_behind_a_narrow_one(study, tags):
    kernel = {"ConvolutionKernel": "H31s"}
    (only,), _ = dicom_series.find_studies(study(a=(EVERY_5, {**kernel, **tags}), b=(EVERY_5, BRAIN)))
    assert [series.traits.window_width for series in only.series] == [80, np.inf]


@pytest.mark.parametrize("agent", ["", "NONE", "No"])
def test_agents_that_mean_no_contrast(study, agent):
    (only,), _ = dicom_series.find_studies(study(a=(EVERY_5, {"ContrastBolusAgent": agent})))
    assert not only.series[0].traits.contrast


def test_studies_of_several_patients_in_one_folder_never_mix(ct_series, tmp_path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name, slices in (("a", 8), ("b", 6)):
        folder = ct_series(tmp_path / name, hu(slices), EVERY_5[:slices], StudyInstanceUID=f"1.2.{slices}")
        for file in folder.iterdir():
            file.rename(mixed / f"{name}_{file.name}")
    studies, _ = dicom_series.find_studies(mixed)
    assert [(study.folder, len(study.series), len(study.series[0]._frames)) for study in studies] == [
        (mixed, 1, 8),
        (mixed, 1, 6),
    ]


def tagged(folder, **tags):
    """Sets or removes (None) tags in all files of a folder."""
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        for keyword, value in tags.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        ds.save_as(path)


@pytest.mark.filterwarnings("ignore:.*value length|Invalid value for VR")
@pytest.mark.parametrize("value", [None, "", ["", ""], "1.2.3"])
@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "StudyInstanceUID"])
def test_patients_whose_uids_are_missing_or_the_same_never_mix(ct_series, tmp_path, keyword, value):
    for name, start_mm in (("a", 0.0), ("b", 100.0)):  # as one series they would look complete
        table_mm = tuple(start_mm + 5 * k for k in range(4))
        tagged(
            ct_series(tmp_path / "in" / name, hu(4), table_mm, StudyInstanceUID=f"1.2.{ord(name)}"), **{keyword: value}
        )
    studies, skipped = dicom_series.find_studies(tmp_path / "in")
    summary = [(study.folder.name, len(study.series[0]._frames), study.series[0].problem) for study in studies]
    if (keyword, value) == ("StudyInstanceUID", "1.2.3"):  # one study of two series
        assert summary == [("in", 4, "")]
        assert len(studies[0].series) == 2
    else:
        assert summary == [("a", 4, ""), ("b", 4, "")]
    assert not skipped


@pytest.mark.parametrize("named", [True, False], ids=["named", "anonymous"])
def test_patients_with_the_same_dummy_uids_never_mix(ct_series, tmp_path, named):
    """Both UIDs are the same and the slices would interleave: patients are distinguished by the patient tags, or, if
    these are empty, by repeated instance numbers."""
    for name, start_mm in (("a", 0.0), ("b", 2.5)):
        table_mm = tuple(start_mm + 5 * k for k in range(4))
        folder = ct_series(tmp_path / "in" / name, hu(4), table_mm, StudyInstanceUID="1.2", SeriesInstanceUID="1.3")
        for number, path in enumerate(sorted(folder.iterdir())):
            ds = pydicom.dcmread(path)
            ds.PatientName, ds.PatientID = (f"DOE^{name}", name) if named else ("", "")
            ds.InstanceNumber = number + 1 + (10 * ord(name) if named else 0)
            ds.save_as(path)
    studies, _ = dicom_series.find_studies(tmp_path / "in")
    assert [(study.folder.name, len(study.series[0]._frames), study.series[0].problem) for study in studies] == [
        ("a", 4, ""),
        ("b", 4, ""),
    ]
    assert len({study.series[0]._frames[0].patient for study in studies}) == 1 + named


def test_a_series_split_over_folders_is_one(ct_series, tmp_path):
    folder = ct_series(tmp_path / "in" / "1", hu(6), EVERY_5[:6], StudyInstanceUID="1.2")
    (tmp_path / "in" / "2").mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        ds = pydicom.dcmread(path)
        ds.InstanceNumber = number + 1
        ds.save_as(path)
        if number >= 3:
            path.rename(tmp_path / "in" / "2" / path.name)
    (study,), _ = dicom_series.find_studies(tmp_path / "in")
    assert study.series[0].label.startswith("series 1 (6 slices, ")


def test_a_slice_without_a_series_uid_is_reported(ct_series, tmp_path):
    for name in ("a", "b"):
        ct_series(tmp_path / "in" / name, hu(4), EVERY_5[:4], StudyInstanceUID=f"1.2.{ord(name)}")
    ds = pydicom.dcmread(tmp_path / "in" / "a" / "02.dcm")
    del ds.SeriesInstanceUID
    ds.save_as(tmp_path / "in" / "a" / "02.dcm")
    studies, _ = dicom_series.find_studies(tmp_path / "in")
    assert [(study.folder.name, study.series[0].problem.partition(":")[0]) for study in studies] == [
        ("a", "02.dcm"),
        ("b", ""),
    ]
    assert (
        studies[0].series[0].problem.startswith("02.dcm: lacks a SeriesInstanceUID, unlike other files of its folder")
    )


def test_a_malformed_kernel_is_unknown_and_a_malformed_agent_counts_as_contrast(study):
    def traits_with_malformed(name, keyword):
        folder = study(**{name: (EVERY_5, {})}) / name
        for path in folder.iterdir():
            ds = pydicom.dcmread(path)
            ds.add(RawDataElement(Tag(keyword), "IS", 4, b"inf ", 0, False, True))
            ds.save_as(path)
        ((only,),) = (study.series for study in dicom_series.find_studies(folder)[0])
        return only.traits

    assert traits_with_malformed("a", "ConvolutionKernel").kernel == ""
    assert traits_with_malformed("b", "ContrastBolusAgent").contrast


def test_a_damaged_file_affects_only_the_studies_of_its_folder(ct_series, tmp_path):
    for name in ("a", "b"):
        ct_series(tmp_path / "in" / name, hu(4), EVERY_5[:4], StudyInstanceUID=f"1.2.{ord(name)}")
    damaged = tmp_path / "in" / "a" / "zz.dcm"
    damaged.write_bytes((tmp_path / "in" / "a" / "00.dcm").read_bytes()[:300])
    (tmp_path / "in" / "alone").mkdir()
    (tmp_path / "in" / "alone" / "x.dcm").write_bytes(b"nonsense")
    studies, skipped = dicom_series.find_studies(tmp_path / "in")
    assert [(study.folder.name, study.series[0].problem.partition(":")[0]) for study in studies] == [
        ("a", "zz.dcm"),
        ("b", ""),
    ]
    assert [line.partition(":")[0] for line in skipped] == ["x.dcm"]


def test_a_damaged_file_affects_only_the_series_of_its_folder(ct_series, tmp_path):
    tags = {"StudyInstanceUID": "1.2", "FrameOfReferenceUID": "1.3"}
    ct_series(tmp_path / "head", hu(4), EVERY_5[:4], SeriesInstanceUID="1.2.1", **tags)
    ct_series(tmp_path / "vessels", hu(4), EVERY_5[:4], SeriesInstanceUID="1.2.2", ContrastBolusAgent="YES", **tags)
    damaged = tmp_path / "vessels" / "00.dcm"
    damaged.write_bytes(damaged.read_bytes()[:300])
    (study,), skipped = dicom_series.find_studies(tmp_path)
    assert [one.problem.partition(":")[0] for one in study.series] == ["", "00.dcm"]
    assert not skipped
    assert dicom_series.read_series(tmp_path, study.series[0]).shape[0] == 4
