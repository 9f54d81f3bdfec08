"""Pairing of scans and masks by their names: the same, with common affixes, never by rank, never a wrong pair."""

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data.pairing import pair, plain_word, shortened
from ichjax.errors import InputError

NAMES = st.text("ab01-_. ", min_size=1, max_size=6)


def paired(scans, masks):
    """({ID: (scan, mask or None)}, masks left over), all as names without folder and extension."""
    files = [{stem: pathlib.Path(folder, f"{stem}.nii") for stem in stems} for folder, stems in
             (("data", scans), ("label", masks))]  # fmt: skip
    by_id, mask_of, unpaired = pair(*files)
    return {name: (path.stem, mask_of[name].stem if name in mask_of else None) for name, path in by_id.items()}, [
        path.stem for path in unpaired
    ]


@pytest.mark.parametrize(
    ("scan", "mask", "name"),
    [
        ("001", "001", "001"),
        ("A_ct", "A_ct", "A_ct"),  # equal names are the ID as they are
        ("A_0000", "A", "A"),
        ("A", "A_seg", "A"),
        ("A", "A-label", "A"),
        ("A_CT", "A_Mask", "A"),
        ("A_ct", "A_ct_seg", "A_ct"),
        ("A_ct_0000", "A_ground_truth", "A"),
        ("A.image", "A.Ground Truth", "A"),
        ("volume-12", "segmentation-12", "12"),  # as in LiTS
        ("image_7", "label_7", "7"),
        ("A_lesion", "A_lesion_gt", "A_lesion"),
        ("ICH_0001_0000", "ICH_0001", "ICH_0001"),
        ("A_0000", "A_0000_seg", "A_0000"),
    ],
)
def test_names_that_differ_in_common_affixes_are_a_pair(scan, mask, name):
    assert paired([scan, "other"], [mask, "other"])[0][name] == (scan, mask)


@pytest.mark.parametrize(("scan", "mask"), [("1", "01"), ("A", "A_2"), ("A1", "A2"), ("scan", "mask"), ("Act", "A")])
def test_other_names_are_no_pair_even_if_they_are_the_only_ones(scan, mask):
    assert paired([scan], [mask]) == ({scan: (scan, None)}, [mask])


def test_a_scan_without_a_mask_loses_the_affix_of_the_others():
    assert paired(["1_0000", "2_0000", "3_0000"], ["1", "3", "4"]) == (
        {"1": ("1_0000", "1"), "2": ("2_0000", None), "3": ("3_0000", "3")},
        ["4"],
    )
    assert paired(["1", "2_ct"], ["1"])[0] == {"1": ("1", "1"), "2_ct": ("2_ct", None)}
    assert paired(["1_ct", "x", "x_ct", "ct_x"], ["1_seg"])[0] == {  # unless another scan has the name without it
        "1": ("1_ct", "1_seg"),
        **{name: (name, None) for name in ("x", "x_ct", "ct_x")},
    }


def test_equal_names_are_kept_beside_an_unpaired_file_with_an_affix():
    assert paired(["A", "A_ct", "B"], ["A", "B", "B_seg"]) == (
        {"A": ("A", "A"), "A_ct": ("A_ct", None), "B": ("B", "B")},
        ["B_seg"],
    )


@pytest.mark.parametrize(
    ("scans", "masks", "message"),
    [
        (["A"], ["A_mask", "A_seg"], "label/A_mask.nii, label/A_seg.nii: the names fit data/A.nii; expected one scan"),
        (["A_ct", "A_0000"], ["A"], "label/A.nii: the names fit data/A_0000.nii, data/A_ct.nii; expected one"),
        (["A", "A_ct"], ["A", "A_seg"], "label/A.nii, label/A_seg.nii: the names fit data/A.nii, data/A_ct.nii;"),
        (["A_0000", "A_0001", "A_0002"], ["A"], "data/A_0000.nii, data/A_0001.nii, data/A_0002.nii: are 3 channels"),
        (["A_1_0000", "A_1_0001", "B"], ["A_1", "B"], "data/A_1_0000.nii, data/A_1_0001.nii: are 2 channels of one sc"),
    ],
)
def test_ambiguous_names_are_refused_with_the_files(scans, masks, message):
    with pytest.raises(InputError) as caught:
        paired(scans, masks)
    assert str(caught.value).startswith(message)


@given(st.sets(NAMES, min_size=1, max_size=6), st.sampled_from(["_0000", "_ct", "-image"]),
       st.sampled_from(["", "_seg", "-label"]))  # fmt: skip
def test_names_with_one_affix_are_never_paired_wrongly(names, scan_affix, mask_affix):
    try:
        pairs, _ = paired([name + scan_affix for name in names], [name + mask_affix for name in names])
    except InputError:  # such as 'a' and 'a_0000'
        return
    assert all(scan.removesuffix(scan_affix) == mask.removesuffix(mask_affix) for scan, mask in pairs.values() if mask)


@given(st.sets(NAMES | st.sampled_from(["a_ct", "ct_a", "a_0000", "a_0001", "seg_a"]), min_size=1, max_size=6),
       st.sets(NAMES | st.sampled_from(["a", "a_seg", "a_ct", "ct"]), max_size=6))  # fmt: skip
def test_every_scan_has_one_id_and_every_mask_one_use(scans, masks):
    try:
        pairs, unpaired = paired(scans, masks)
    except InputError:
        return
    assert sorted(scan for scan, _ in pairs.values()) == sorted(scans)
    assert sorted([mask for _, mask in pairs.values() if mask is not None] + unpaired) == sorted(masks)
    assert all(pairs[stem] == (stem, stem) for stem in scans & masks)


def test_affixes_are_removed_one_by_one():
    assert shortened("A_ct_0000") == ["A_ct_0000", "A_ct", "A"]
    assert shortened("mask_A_1") == ["mask_A_1", "A_1"]
    assert shortened("ct_scan") == ["ct_scan", "ct"]
    assert shortened("0000") == ["0000"]


def test_names_of_folders_without_case_and_separators():
    assert {plain_word(name) for name in ("Ground Truths", "ground_truths", "GROUND-TRUTHS")} == {"groundtruths"}
