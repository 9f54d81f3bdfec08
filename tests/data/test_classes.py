"""Masks of sub-types: from named labels of a mask or from labels of slices, in the cache and on another grid."""

import dataclasses
import pathlib

import nibabel as nib
import numpy as np
import pytest

from ichjax.data import dataset as datasets
from ichjax.data import generic_labels, regrid, scan_cache
from ichjax.data.classes import class_mask, classes_of_labels, subtypes_by_slice
from ichjax.errors import InputError
from ichjax.phantom import write, write_own
from ichjax.phantom.subject import make_subject

AFFINE = np.array([[-0.5, 0, 0, 20], [0, -0.5, 0, 30], [0, 0, 5, -10], [0, 0, 0, 1.0]])
TO_FEET = AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 4], [0, 0, 0, 1.0]])
NAMES = "label,name\n1,EDH\n2,subdural\n3,edema\n"


def make_root(root, names=NAMES, labels="", affine=AFFINE):
    """One scan of five slices: labels 1 and 2 on the first, 3 on the second, 4 on the third, 1 on the fourth."""
    mask = np.zeros((10, 10, 5), np.uint8)
    for number, values in enumerate([(1, 2), (3, 3), (4, 4), (1, 1)]):
        mask[2:4, 3:6, number], mask[6:8, 3:6, number] = values
    hu = np.random.default_rng(0).integers(-1000, 1500, mask.shape).astype(np.int16)
    hu[0, 0, 0], hu[-1, -1, -1] = -1000, 1500
    for folder, array in (("images", hu), ("masks", mask)):
        (root / folder).mkdir()
        nib.save(nib.Nifti1Image(array, affine), root / folder / "a.nii")
    if names:
        (root / "label_names.csv").write_text(names)
    if labels:
        (root / "labels.csv").write_text(labels)
    return datasets.read_dataset(root), mask.transpose(2, 1, 0)


@pytest.mark.parametrize("affine", [AFFINE, TO_FEET])
def test_named_labels_give_the_classes_and_the_sub_types_of_slices(tmp_path, affine):
    data, mask = make_root(tmp_path, affine=affine)
    assert "label_names.csv: hemorrhage of unknown sub-type: edema" in data.notes
    scan = datasets.load_scan(data.subjects[0])
    stored = mask if affine is AFFINE else mask[::-1]
    np.testing.assert_array_equal(class_mask(scan), np.array([0, 4, 5, 255, 255], np.uint8)[stored], strict=True)
    expected = np.zeros((5, 5), bool)
    expected[[0, 0, 3], [3, 4, 3]] = True
    np.testing.assert_array_equal(scan.slice_labels, expected if affine is AFFINE else expected[::-1])
    cached = scan_cache.open_scan(data.subjects[0])
    np.testing.assert_array_equal(cached.classes, class_mask(scan), strict=True)
    assert data.subjects[0].labelled_hemorrhage


def test_slices_without_a_named_label_get_the_sub_types_of_the_subject(tmp_path):
    data, _ = make_root(tmp_path, labels="id,SAH\na,1\n")
    by_slice = np.zeros((5, 5), bool)
    by_slice[[0, 0, 1, 2, 3], [3, 4, 2, 2, 3]] = True
    np.testing.assert_array_equal(datasets.load_scan(data.subjects[0]).slice_labels, by_slice)


def test_labels_of_slices_in_the_table_are_kept(tmp_path):
    data, mask = make_root(tmp_path, labels="id,slice,IVH\na,1,1\na,5,0\n")
    scan = datasets.load_scan(data.subjects[0])
    assert np.argwhere(scan.slice_labels).tolist() == [[0, 0]]
    np.testing.assert_array_equal(class_mask(scan), np.array([0, 4, 5, 255, 255], np.uint8)[mask])


def test_without_names_a_slice_with_one_sub_type_gives_its_class(tmp_path):
    data, mask = make_root(tmp_path, names="", labels="id,slice,IVH,SDH\na,1,1,\na,2,1,1\na,5,1,\n")
    expected = 255 * (mask > 0)
    expected[0] = mask[0] > 0
    np.testing.assert_array_equal(class_mask(datasets.load_scan(data.subjects[0])), expected)


def test_another_name_of_a_label_is_another_cached_scan(tmp_path):
    subject = make_root(tmp_path)[0].subjects[0]
    renamed = dataclasses.replace(subject, label_classes={1: 1, 2: 2})
    one, other = scan_cache.open_scan(subject), scan_cache.open_scan(renamed)
    assert one.digest != other.digest
    assert set(np.unique(other.classes)) == {0, 1, 2, 255}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("label,color\n1,EDH\n", "label_names.csv: has no column name; found label, color; expected label, name"),
        ("", "label_names.csv: has no column label; found nothing; expected label, name"),
        ("label,name\nx,EDH\n", "line 2: the label is 'x'; expected a whole number from 1 to 255"),
        ("label,name\n256,EDH\n", "line 2: the label is '256'; expected"),
        ("label,name\n1\n", "line 2: label 1 has no name; expected one such as IVH"),
        ("label,name\n1,EDH\n1,SDH\n", "line 3: label 1 is listed twice; expected one name"),
        ("label,name\n0,SDH\n", "line 2: label 0 is named SDH; expected 0 to be the background"),
    ],
)
def test_a_bad_table_of_names_is_refused_in_a_sentence(tmp_path, text, problem):
    path = tmp_path / "label_names.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=problem.replace("(", r"\(")):
        generic_labels.read_label_names(path)


def test_names_in_any_case_and_order_and_the_background(tmp_path):
    path = pathlib.Path(tmp_path / "label_names.csv")
    path.write_bytes(b"\xef\xbb\xbfName,Label\r\nbackground,0\r\nsah,7\r\nINTRAVENTRICULAR,2\r\n")
    assert generic_labels.read_label_names(path) == ({7: 3, 2: 1}, [])


def test_a_phantom_of_the_plain_layout_carries_its_classes(tmp_path):
    made = make_subject(57, seed=0)
    write_own.write_scan(tmp_path, made)
    write_own.write_tables(tmp_path, write.slice_rows(made), [write.subject_row(made)], footer="")
    (subject,) = datasets.read_dataset(tmp_path).subjects
    scan = datasets.load_scan(subject)
    assert set(np.unique(made.classes)) == {0, 2, 3}
    np.testing.assert_array_equal(class_mask(scan), made.classes, strict=True)
    np.testing.assert_array_equal(scan.slice_labels, made.slice_labels)


def test_classes_on_another_grid_are_those_that_cover_most(tmp_path):
    data, _ = make_root(tmp_path)
    scan = scan_cache.open_scan(data.subjects[0])
    finer = regrid.resample_to_grid(scan, regrid.Geometry(20, 20, 0.25, 0.25))
    np.testing.assert_array_equal(finer.classes > 0, finer.mask > 0)
    np.testing.assert_array_equal(subtypes_by_slice(finer.classes), subtypes_by_slice(scan.classes))
    repeated = scan.classes.repeat(2, axis=1).repeat(2, axis=2)  # the same pixels, cut into four
    np.testing.assert_array_equal(finer.classes, repeated)


def test_labels_without_a_name_are_of_unknown_sub_type():
    np.testing.assert_array_equal(classes_of_labels(np.array([0, 1, 2], np.uint8), {2: 5}), [0, 255, 5])
