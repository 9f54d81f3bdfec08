"""Masks of several raters: whose mask a file is, the majority vote, and data sets with masks/ID_RATER.nii.gz."""

import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import dataset as datasets
from ichjax.data import generic, scan_cache
from ichjax.data.raters import majority_vote, split_raters
from ichjax.errors import InputError
from tests.data.test_generic import AFFINE, SHAPE, hu, labelled, save


def split(names, ids):
    """(names that are no rater's, {ID: {rater: name}})."""
    others, raters = split_raters({name: pathlib.Path(name) for name in names}, ids)
    return sorted(others), {key: {r: str(path) for r, path in of_id.items()} for key, of_id in raters.items()}


@pytest.mark.parametrize(
    ("name", "ids", "owner"),
    [
        ("a_1", {"a"}, ("a", "1")),
        ("a_b_c", {"a", "a_b"}, ("a_b", "c")),  # the longest
        ("a_b_c", {"a"}, ("a", "b_c")),
        ("a_b", {"a", "a_b"}, None),  # an ID itself
        ("a__x", {"a"}, ("a", "_x")),
        ("a_", {"a"}, None),  # no rater
        ("_x", {"a"}, None),
        ("ab_x", {"a"}, None),
        ("a-x", {"a"}, None),
        ("A_x", {"a"}, None),
        ("049_r1", {"049", "49"}, ("049", "r1")),
        ("a.1_x", {"a", "a.1"}, ("a.1", "x")),
    ],
)
def test_a_mask_belongs_to_the_longest_id_before_an_underscore(name, ids, owner):
    expected = ([name], {}) if owner is None else ([], {owner[0]: {owner[1]: name}})
    assert split([name], ids) == expected


@given(st.sets(st.text("ab_", min_size=1, max_size=4)), st.text("ab_", min_size=1, max_size=7))
def test_of_all_ids_that_fit_the_longest_wins(ids, name):
    fitting = [i for i in ids if name.startswith(f"{i}_") and len(name) > len(i) + 1]
    others, raters = split([name], ids)
    if name in ids or not fitting:
        assert (others, raters) == ([name], {})
    else:
        longest = max(fitting, key=len)
        assert raters == {longest: {name[len(longest) + 1 :]: name}}


@given(st.integers(1, 5), st.integers(0, 10**6))
def test_the_majority_agrees_with_counting_voxel_by_voxel(raters, seed):
    masks = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, 7], (raters, 2, 4, 5)).astype(np.uint8)
    voted = majority_vote(list(masks))
    assert voted.dtype == np.uint8
    for voxel in np.ndindex(masks.shape[1:]):
        labels = [int(mask[voxel]) for mask in masks if mask[voxel]]
        expected = 0
        if 2 * len(labels) >= raters and labels:
            expected = min(labels, key=lambda label: (-labels.count(label), label))
        assert voted[voxel] == expected


def test_a_tie_of_two_raters_counts_as_hemorrhage():
    masks = [np.array([[[0, 1, 0, 1]]], np.uint8), np.array([[[0, 0, 1, 1]]], np.uint8)]
    assert majority_vote(masks).tolist() == [[[0, 1, 1, 1]]]
    assert majority_vote([*masks, masks[0]]).tolist() == [[[0, 1, 0, 1]]]


def test_masks_of_different_shapes_cannot_vote():
    with pytest.raises(InputError, match="expected one shape"):
        majority_vote([np.zeros((1, 2, 3), np.uint8), np.zeros((1, 3, 2), np.uint8)])


@pytest.fixture
def root(tmp_path):
    """'a' has raters x, y and z, who agree on slice 2; 'a_b' has a mask and two raters; 'c' has one rater."""
    for name in ("a", "a_b", "c"):
        save(tmp_path / f"images/{name}.nii.gz", hu())
    for rater, slices in (("x", [2, 3]), ("y", [2, 4]), ("z", [2])):
        save(tmp_path / f"masks/a_{rater}.nii.gz", labelled(slices))
    for name, slices in (("a_b", [5]), ("a_b_x", [1]), ("a_b_y", [5])):
        save(tmp_path / f"masks/{name}.nii.gz", labelled(slices))
    save(tmp_path / "masks/c_z.nii", labelled([]))
    return tmp_path


def subjects(root):
    return {subject.name: subject for subject in datasets.read_dataset(root).subjects}


def test_raters_are_read_and_numbered_by_their_names(root):
    by_id = subjects(root)
    assert {name: sorted(s.rater_paths) for name, s in by_id.items()} == {"a": [1, 2, 3], "a_b": [1, 2], "c": [3]}
    assert by_id["a_b"].mask_path == root / "masks/a_b.nii.gz"
    assert (by_id["a"].mask_path, by_id["c"].mask_path) == (None, None)
    assert [s.labelled_hemorrhage for s in by_id.values()] == [True, True, False]
    notes = datasets.read_dataset(root).notes
    assert "subjects whose mask is the majority vote of raters, a tie counting as hemorrhage: 2" in notes
    assert not [note for note in notes if "no scan" in note or "x" in note.split()]
    masks = generic.load_raters(by_id["a_b"], None)
    np.testing.assert_array_equal(masks[2], labelled([5]).transpose(2, 1, 0), strict=True)


def test_the_truth_is_the_mask_or_without_one_the_majority(root):
    by_id = subjects(root)
    for name, slices in (("a", [2]), ("a_b", [5]), ("c", [])):
        np.testing.assert_array_equal(datasets.load_scan(by_id[name]).mask, labelled(slices).transpose(2, 1, 0))


def test_raters_named_by_numbers_keep_them(tmp_path):
    save(tmp_path / "images/a.nii", hu())
    for rater in ("5", "1"):
        save(tmp_path / f"masks/a_{rater}.nii", labelled([1]))
    assert sorted(subjects(tmp_path)["a"].rater_paths) == [1, 5]


def test_labels_of_raters_are_kept(tmp_path):
    save(tmp_path / "images/a.nii", hu())
    for rater, values in (("x", (2, 5)), ("y", (2, 2)), ("z", (1, 5))):
        save(tmp_path / f"masks/a_{rater}.nii", labelled([1], values))
    (tmp_path / "label_names.csv").write_text("label,name\n2,IPH\n5,SDH\n")
    subject = subjects(tmp_path)["a"]
    assert subject.subtypes == ("IPH", "SDH")
    np.testing.assert_array_equal(datasets.load_scan(subject).labels, labelled([1], (2, 5)).transpose(2, 1, 0))


@pytest.mark.parametrize("beside", [False, True])
def test_a_damaged_rater_costs_its_subject_only_and_is_named(root, beside):
    name = "a_b_y" if beside else "a_y"
    (root / f"masks/{name}.nii.gz").write_bytes(b"no image")
    by_id = subjects(root)
    bad = "a_b" if beside else "a"
    with pytest.raises(InputError, match=rf"^masks/{name}\.nii\.gz \(subject {by_id[bad].number}\): not a readable"):
        datasets.load_scan(by_id.pop(bad))
    for subject in by_id.values():
        datasets.load_scan(subject)


def test_a_rater_on_another_grid_is_refused(root):
    save(root / "masks/a_y.nii.gz", np.zeros((SHAPE[0], SHAPE[1], 4), np.uint8), AFFINE)
    with pytest.raises(InputError, match=r"masks/a_y\.nii\.gz"):
        datasets.load_scan(subjects(root)["a"])


def test_a_changed_rater_makes_the_cache_read_again(root):
    before = scan_cache.open_scan(subjects(root)["a"])
    assert before.truth_px.tolist() == [0, 6, 0, 0, 0]
    save(root / "masks/a_z.nii.gz", labelled([2, 3]))
    assert scan_cache.open_scan(subjects(root)["a"]).truth_px.tolist() == [0, 6, 6, 0, 0]


def test_without_any_mask_the_subject_is_refused(root):
    (root / "masks/c_z.nii").unlink()
    with pytest.raises(InputError, match=r"^images/c\.nii\.gz \(subject 3\): has no mask; expected a mask"):
        datasets.load_scan(subjects(root)["c"])


@pytest.mark.parametrize(
    ("scan", "folder"), [("imagesTr/a_0000", "labelsTr"), ("data/a_ct", "label"), ("images/a", "ground truths")]
)
def test_other_pairs_of_folders_can_hold_raters_too(tmp_path, scan, folder):
    save(tmp_path / f"{scan}.nii.gz", hu())
    save(tmp_path / scan.split("/")[0] / f"{scan.split('/')[1].replace('a', 'b')}.nii.gz", hu())
    save(tmp_path / folder / "b.nii.gz", labelled([2]))
    for rater in ("x", "y"):
        save(tmp_path / folder / f"a_{rater}.nii.gz", labelled([1]))
    first, second = datasets.read_dataset(tmp_path).subjects
    assert {number: path.name for number, path in first.rater_paths.items()} == {1: "a_x.nii.gz", 2: "a_y.nii.gz"}
    assert second.mask_path is not None
    assert not second.rater_paths
    np.testing.assert_array_equal(datasets.load_scan(first).mask > 0, labelled([1]).transpose(2, 1, 0) > 0)
