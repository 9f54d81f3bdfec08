"""Which series of a study is read: the plain head, beside series of other parts, with contrast, over time, computed."""

import dataclasses

import numpy as np
import pydicom
import pytest

from ichjax.dicom import header_traits, ranking, selection
from ichjax.dicom import series as dicom_series
from ichjax.dicom.ranking import Traits
from ichjax.inference import discover
from tests.simple_heads import PIXEL_MM, head, neck

BRAIN = {"ConvolutionKernel": "H31s", "WindowWidth": 80, "PixelSpacing": [PIXEL_MM, PIXEL_MM]}
HEAD_MM = np.arange(-40.0, 92.0, 5.0)
THIN_MM = np.arange(-60.0, 92.0, 3.0)
NECK_MM = np.arange(-240.0, -40.0, 4.0)
PLAIN = (head(HEAD_MM), HEAD_MM, {})


@pytest.fixture
def choose(ct_series, tmp_path):
    """choose(plain=(hu, table_mm, tags), ...): the choice among series of one study, numbered from 1 as given."""

    def make(series=None, **parts):
        for number, (name, (hu, table_mm, tags)) in enumerate(parts.items(), start=1):
            folder = tmp_path / "study" / name
            everything = {**BRAIN, "StudyInstanceUID": "1.2.3", "SeriesNumber": number, **tags}
            ct_series(folder, hu, table_mm, **everything)
        (source,), problems = discover.find_sources([tmp_path / "study"], series=series)
        assert not problems
        return source

    return make


def repeated(hu, table_mm, times):
    """The slices of a scan over time."""
    rising = [np.where(hu == 35, hu + 5 * time, hu) for time in range(times)]
    return np.concatenate(rising), np.tile(table_mm, times)


OTHERS = {
    "neck": (neck(NECK_MM), NECK_MM, {}, "no skull of a head's size"),
    "neck by its name": (neck(NECK_MM), NECK_MM, {"BodyPartExamined": "NECK"}, "neck: no skull of a head's size"),
    "neck called a head": (neck(NECK_MM), NECK_MM, {"BodyPartExamined": "HEAD"}, "no skull of a head's size"),
    "base of the skull": (head(np.zeros(40)), NECK_MM[-40:], {"SeriesDescription": "HWS"}, "spine (by its header)"),
    "base without a name": (head(np.zeros(40)), NECK_MM[-40:], {}, "less of the head"),
    "spine with the head": (head(THIN_MM), THIN_MM, {"BodyPartExamined": "CSPINE"}, "spine (by its header)"),
    "agent": (head(THIN_MM), THIN_MM, {"ContrastBolusAgent": "IODINE"}, "contrast"),
    "Japanese and Latin letters": (
        head(THIN_MM),
        THIN_MM,
        {"SpecificCharacterSet": "ISO_IR 192", "SeriesDescription": "頭部CTA"},
        "contrast",
    ),
    "described contrast": (head(THIN_MM), THIN_MM, {"SeriesDescription": "Kopf mit KM"}, "contrast"),
    "vessels": (head(THIN_MM, vessel_hu=300), THIN_MM, {}, "contrast (enhanced vessels in the image)"),
    "MIP": (head(THIN_MM), THIN_MM, {"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "computed images (MIP)"),
    "iodine": (head(HEAD_MM), HEAD_MM, {"SeriesDescription": "VNC"}, "computed images (dual energy)"),
    "perfusion": (
        *repeated(head(HEAD_MM), HEAD_MM, 3),
        {},
        "several images at each position (perfusion or phases)",
    ),
    "two phases": (
        *repeated(head(HEAD_MM), HEAD_MM, 2),
        {},
        "several images at each position (perfusion or phases)",
    ),
    "bolus tracking": (
        *repeated(neck([0.0]), [-200.0], 9),
        {},
        "several images at each position (perfusion or phases)",
    ),
    "bone": (head(THIN_MM), THIN_MM, {"ConvolutionKernel": "H70h"}, "sharp kernel H70h"),
    "bone by its name": (
        head(THIN_MM),
        THIN_MM,
        {"ConvolutionKernel": "", "SeriesDescription": "Bone"},
        "sharp kernel",
    ),
    "thin": (head(HEAD_MM), HEAD_MM / 5, {}, "slices every 1.0 mm"),
    "upper half": (head(HEAD_MM[18:]), HEAD_MM[18:], {}, "less of the head"),
    "reformat": (head(HEAD_MM), HEAD_MM, {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "reformatted"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_plain_head_is_read_and_the_record_says_why(choose, name):
    hu, table_mm, tags, why = OTHERS[name]
    if name == "thin":  # the same head: squeezed slices would be a flat one
        hu, table_mm = head(np.arange(-40.0, 92.0)), np.arange(-40.0, 92.0)
    choice = choose(a_other=(hu, table_mm, tags), plain=PLAIN).choice
    assert (choice["rank"], choice["number"], choice["slices"]) == (1, 2, len(HEAD_MM))
    (left_out,) = choice["left_out"]
    assert (left_out["rank"], left_out["number"]) == (2, 1)
    assert left_out["slices"] == len(np.unique(table_mm))
    assert left_out["reason"].startswith(why)


@pytest.mark.parametrize(
    ("tags", "contrast"),
    [
        ({}, False),
        ({"ContrastBolusVolume": 80}, True),
        ({"ContrastBolusIngredient": "IODINE"}, True),
        ({"ContrastBolusRoute": "IV"}, True),
    ],
)
def test_amount_ingredient_and_route_tell_contrast(choose, tags, contrast):
    assert choose(alone=(head([0.0, 5.0]), [0.0, 5.0], tags)).series.traits.contrast == contrast


def test_a_body_scan_that_includes_the_head_ranks_behind_a_head_alone(choose):
    body_mm = np.concatenate([np.arange(-600.0, -40.0, 5.0), HEAD_MM])
    body = np.concatenate([neck(body_mm[: -len(HEAD_MM)]), head(HEAD_MM)])
    choice = choose(a_body=(body, body_mm, {}), plain=PLAIN).choice
    assert choice["number"] == 2
    assert choice["left_out"][0]["reason"] == f"more than a head, {np.ptp(body_mm):.0f} mm"


@pytest.mark.parametrize("bottom_mm", [-240.0, -340.0])
def test_a_chest_right_below_the_head_is_no_part_of_it(choose, bottom_mm):
    """One kernel, one pixel spacing, one table, and no gap between the two series."""
    chest_mm = np.arange(bottom_mm, -40.0, 5.0)
    source = choose(a_chest=(neck(chest_mm), chest_mm, {"FrameOfReferenceUID": "1.2.4"}), plain=_in_space(PLAIN))
    assert (source.choice["number"], source.choice["slices"]) == (2, len(HEAD_MM))
    assert source.series._notes == ()


@pytest.mark.parametrize("step_mm", [5.0, 4.0])
def test_a_perfusion_with_a_series_for_each_time_ranks_behind_the_head(choose, step_mm):
    """The usual distance between slices would otherwise be preferred to the head's 10 mm."""
    slab_mm = np.arange(-40.0, 92.0, step_mm)
    times = {f"a_{time}": (head(slab_mm), slab_mm, {}) for time in range(3)}
    choice = choose(**times, plain=(head(HEAD_MM[::2]), HEAD_MM[::2], {})).choice
    assert choice["number"] == 4
    assert all(one["reason"].startswith("one of several series at the same pos") for one in choice["left_out"])


@pytest.mark.parametrize("change", ["window", "two"])
def test_a_scan_in_several_windows_or_stored_twice_is_no_perfusion(choose, change):
    copies = {f"a_{k}": (head(HEAD_MM), HEAD_MM, {"WindowWidth": 100 + k * (change == "window")}) for k in range(2)}
    if change == "window":
        copies["b"] = (head(HEAD_MM), HEAD_MM, {"WindowWidth": 300})
    bone = (head(HEAD_MM), HEAD_MM, {"ConvolutionKernel": "H70h"})
    source = choose(**copies, c_bone=bone)
    assert source.choice["number"] == 1
    assert source.series.traits.drawbacks() == []


@pytest.mark.parametrize("tags", [{"ConvolutionKernel": "H30s"}, {"SliceThickness": 2.5, "ConvolutionKernel": "H21s"}])
def test_a_base_of_another_kernel_is_noted(choose, tags):
    base_mm, vertex_mm = HEAD_MM[:8], HEAD_MM[8:]
    base = (head(base_mm), base_mm, {"FrameOfReferenceUID": "1.2.4", **tags})
    source = choose(base=base, vertex=_in_space((head(vertex_mm), vertex_mm, {})))
    (note,) = source.read().notes
    assert "series 1 of the study (8 slices) shows positions that this one lacks" in note


def _in_space(part):
    hu, table_mm, tags = part
    return hu, table_mm, {"FrameOfReferenceUID": "1.2.4", **tags}


def test_a_head_called_a_spine_is_read_rather_than_a_neck_called_a_head(choose):
    spine, brain = ({"BodyPartExamined": part} for part in ("CSPINE", "HEAD"))
    source = choose(a_neck=(neck(NECK_MM), NECK_MM, brain), plain=(head(HEAD_MM), HEAD_MM, spine))
    assert source.choice["number"] == 2
    assert source.series.traits.drawbacks() == []


def test_a_head_with_contrast_is_read_rather_than_a_plain_neck(choose):
    vessels = (head(HEAD_MM, vessel_hu=300), HEAD_MM, {"SeriesDescription": "CTA"})
    source = choose(a_neck=(neck(NECK_MM), NECK_MM, {}), contrast=vessels)
    assert source.choice["number"] == 2
    assert source.series.traits.drawbacks() == ["contrast"]


def test_without_any_head_the_drawbacks_of_the_best_series_say_so(choose):
    chest = (neck(NECK_MM), NECK_MM - 300, {"BodyPartExamined": "CHEST", "ContrastBolusAgent": "x"})
    source = choose(a_chest=chest, neck=(neck(NECK_MM), NECK_MM, {"BodyPartExamined": "NECK"}))
    assert source.choice["number"] == 2
    assert source.series.traits.drawbacks() == ["neck: no skull of a head's size"]


def test_blood_is_preferred_to_contrast(choose):
    choice = choose(
        vessels=(head(HEAD_MM, vessel_hu=250), HEAD_MM, {}), plain=(head(HEAD_MM, blood_hu=80), HEAD_MM, {})
    ).choice
    assert choice["number"] == 2


def test_an_unreadable_series_costs_the_study_nothing(choose, tmp_path):
    choose(plain=PLAIN, a_damaged=(head(THIN_MM), THIN_MM, {}))
    for path in (tmp_path / "study" / "a_damaged").iterdir():
        ds = pydicom.dcmread(path)
        ds.PixelData = ds.PixelData[:100]
        ds.save_as(path)
    (source,), _ = discover.find_sources([tmp_path / "study"])
    assert source.choice["number"] == 1
    assert source.choice["left_out"][0]["reason"].startswith("slices that cannot be read")
    assert source.read().shape[0] == len(HEAD_MM)


def test_the_images_of_a_single_series_are_not_decoded(choose, monkeypatch):
    monkeypatch.setattr(selection, "decode", None)
    assert choose(plain=PLAIN).choice == {"rank": 1, "number": 1, "slices": len(HEAD_MM), "left_out": []}


def test_few_slices_are_decoded(choose, monkeypatch):
    decoded, decode = [], selection.decode
    monkeypatch.setattr(selection, "decode", lambda path: decoded.append(path.parent.name) or decode(path))
    long_mm = np.arange(-130.0, 92.0, 2.0)
    choose(long=(head(long_mm), long_mm, {}), agent=(head(HEAD_MM), HEAD_MM, {"ContrastBolusAgent": "x"}))
    assert decoded == ["long"] * selection.MAX_CHECKED_SLICES


def test_another_series_that_is_asked_for_is_read_and_the_record_says_so(choose):
    source = choose(series=2, plain=PLAIN, contrast=(head(HEAD_MM), HEAD_MM, {"ContrastBolusAgent": "x"}))
    assert (source.choice["rank"], source.choice["number"]) == (2, 2)
    assert source.choice["left_out"] == [{"rank": 1, "number": 1, "slices": 27, "reason": "another was asked for"}]


@pytest.mark.parametrize("number", [None, ""])
def test_a_missing_series_number_is_null(choose, number):
    assert choose(plain=(head(HEAD_MM), HEAD_MM, {"SeriesNumber": number})).choice["number"] is None


@pytest.mark.parametrize("times", [1, 2])
def test_a_series_stored_twice_is_not_over_time(ct_series, tmp_path, times):
    ct_series(tmp_path / "s", np.concatenate([head(HEAD_MM)] * times), np.tile(HEAD_MM, times), **BRAIN)
    (study,), _ = dicom_series.find_studies(tmp_path / "s")
    assert not study.series[0].traits.repeated
    assert study.series[0].traits.drawbacks() == []


@pytest.mark.parametrize("agent", ["none", "NO CONTRAST", "ohne KM", "W/O"])
def test_agents_that_deny_contrast(ct_series, tmp_path, agent):
    folder = ct_series(tmp_path / "s", head([0.0]), [0.0], ContrastBolusAgent=agent)
    (study,), _ = dicom_series.find_studies(folder)
    assert not study.series[0].traits.contrast


def test_every_criterion_prefers_the_lower_value_and_gives_a_reason():
    best = Traits(20, False, False, "H31s", 5.0, 100.0, 80.0)
    worse = {
        "contrast": True,
        "sharp": True,
        "slice_spacing_mm": 1.0,
        "extent_mm": 40.0,
        "slices": 10,
        "window_width": 3000.0,
        "part": "neck",
        "computed": "MIP",
        "repeated": True,
        "phase": True,
        "reformatted": True,
        "readable": False,
    }
    reference = ranking.find_reference([best])
    reasons = {}
    for name, value in worse.items():
        other = dataclasses.replace(best, **{name: value})
        assert ranking.sort_key(best, reference) < ranking.sort_key(other, reference), name
        reasons[name] = ranking.reason(other, best, reference)
    assert len(set(reasons.values())) == len(worse)
    assert ranking.reason(best, best, reference) == "no difference that matters"


def test_positions_grow_towards_the_head(ct_series, tmp_path):
    flipped = [-1, 0, 0, 0, 1, 0]  # the cross product of rows and columns points to the feet
    ct_series(tmp_path / "s", head(HEAD_MM), HEAD_MM, ImageOrientationPatient=flipped)
    (study,), _ = dicom_series.find_studies(tmp_path / "s")
    frames = study.series[0]._frames
    along = header_traits.positions_mm(frames)
    heights = [frame.numbers("ImagePositionPatient", 3)[2] for frame in frames]
    np.testing.assert_array_equal(np.argsort(along), np.argsort(heights))
