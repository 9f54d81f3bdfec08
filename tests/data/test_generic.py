"""Reading the plain layout: IDs of any kind, multi-label masks, and labels.csv with any of its columns."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import dataset as datasets
from ichjax.data import generic_labels
from ichjax.data.label_tables import SUBTYPES
from ichjax.errors import InputError

SHAPE = (10, 8, 5)  # x, y, slice, as on disk
AFFINE = np.array([[-0.5, 0, 0, 20], [0, -0.4, 0, 30], [0, 0, 5, -10], [0, 0, 0, 1.0]])
TO_FEET = AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 4], [0, 0, 0, 1.0]])


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def hu():
    array = np.random.default_rng(0).integers(-100, 200, SHAPE).astype(np.int16)
    array[0, 0, 0], array[-1, -1, -1] = -1000, 1500
    return array


def labelled(slices, values=(1, 1)):
    """A block of two halves, with labels `values`, on each given slice (from 1)."""
    mask = np.zeros(SHAPE, np.uint8)
    for number in slices:
        mask[3, 2:5, number - 1], mask[4, 2:5, number - 1] = values
    return mask


@pytest.fixture
def root(tmp_path):
    """Three subjects: 'b' has a hemorrhage on slices 2 and 3, labels 2 and 5, 'ç c' on slice 4, 'a.1' none."""
    for name in ("b", "a.1", "ç c"):
        save(tmp_path / f"images/{name}.nii.gz", hu())
    save(tmp_path / "masks/b.nii.gz", labelled([2, 3], (2, 5)))
    save(tmp_path / "masks/a.1.nii.gz", labelled([]))
    save(tmp_path / "masks/ç c.nii", labelled([4]).astype(np.float32))
    return tmp_path


def subjects(root):
    return {subject.name: subject for subject in datasets.read_dataset(root).subjects}


def test_ids_are_numbered_in_order_and_kept_as_names(root):
    data = datasets.read_dataset(root)
    assert [(s.number, s.name, s.layout) for s in data.subjects] == [
        (1, "a.1", "own"),
        (2, "b", "own"),
        (3, "ç c", "own"),
    ]
    assert data.notes == (
        "no labels.csv: age, sex and sub-types are unknown",
        "the IDs are not distinct whole numbers: subjects are numbered from 1 in the order of their IDs",
    )
    assert [s.labelled_hemorrhage for s in data.subjects] == [False, True, True]  # read from the masks
    assert all(s.subtypes == () and s.age_years is None for s in data.subjects)


def test_extensions_may_be_in_upper_case(tmp_path):
    save(tmp_path / "images/1.nii", hu())
    save(tmp_path / "images/2.nii.gz", hu())
    save(tmp_path / "masks/1.nii", labelled([1]))
    save(tmp_path / "masks/1.nii.gz", labelled([]))
    save(tmp_path / "masks/2.nii.gz", labelled([2]))
    (tmp_path / "images/2.nii.gz").rename(tmp_path / "images/2.NII.GZ")
    (tmp_path / "masks/1.nii.gz").rename(tmp_path / "masks/1.NII.GZ")
    (tmp_path / "masks/2.nii.gz").rename(tmp_path / "masks/2.Nii.Gz")
    notes = datasets.read_dataset(tmp_path).notes
    assert "masks/: IDs with both a .nii and a .nii.gz, the .nii is used: 1" in notes
    by_id = subjects(tmp_path)
    assert by_id["1"].mask_path == tmp_path / "masks/1.nii"
    for name, number in (("1", 1), ("2", 2)):
        np.testing.assert_array_equal(datasets.load_scan(by_id[name]).mask, labelled([number]).transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["012", "3", "70"], {"012": 12, "3": 3, "70": 70}),
        (["3", "03"], {"03": 1, "3": 2}),  # not distinct
        (["0", "1"], {"0": 1, "1": 2}),  # subjects count from 1
        (["1", "x"], {"1": 1, "x": 2}),
    ],
)
def test_subject_numbers_from_ids(tmp_path, names, numbers):
    for name in names:
        save(tmp_path / f"images/{name}.nii", hu())
        save(tmp_path / f"masks/{name}.nii", labelled([1]))
    assert {name: s.number for name, s in subjects(tmp_path).items()} == numbers
    assert [s.number for s in datasets.read_dataset(tmp_path).subjects] == sorted(numbers.values())


def test_labels_are_merged_and_kept(root):
    scan = datasets.load_scan(subjects(root)["b"])
    stored = labelled([2, 3], (2, 5)).transpose(2, 1, 0)
    np.testing.assert_array_equal(scan.labels, stored, strict=True)
    np.testing.assert_array_equal(scan.mask, (stored > 0).astype(np.uint8), strict=True)
    np.testing.assert_array_equal(scan.volume.hu, hu().transpose(2, 1, 0))
    assert not scan.volume.nominal_spacing
    assert scan.slice_labels.shape == (5, 5)
    assert scan.notes == ()  # without a table there is no disagreement
    binary = datasets.load_scan(subjects(root)["ç c"])
    assert binary.labels is None
    np.testing.assert_array_equal(binary.mask, labelled([4]).transpose(2, 1, 0), strict=True)


def test_slice_labels_from_the_table(root):
    (root / "labels.csv").write_bytes(
        b"\xef\xbb\xbfSlice,ID,SDH,EDH,age_years,sex,remark\r\n2,b,1,,70.5,male,x\r\n\r\n3,b,1,1,,,\r\n1,a.1,0,0,3,F,\r\n"
    )
    by_id = subjects(root)
    assert (by_id["b"].age_years, by_id["b"].sex, by_id["b"].subtypes) == (70.5, "M", ("EDH", "SDH"))
    assert (by_id["a.1"].age_years, by_id["a.1"].sex, by_id["a.1"].subtypes) == (3, "F", ())
    labels = datasets.load_scan(by_id["b"]).slice_labels
    assert np.argwhere(labels).tolist() == [[1, 4], [2, 3], [2, 4]]
    notes = datasets.load_scan(by_id["b"]).notes
    assert notes == (
        "subject 2: the slice table has 3 rows, the scan 5 slices; slices 4, 5 have no row and get no sub-type",
    )


@pytest.mark.parametrize("scan_affine", [AFFINE, TO_FEET])
@pytest.mark.parametrize("mask_affine", [AFFINE, TO_FEET])
def test_sub_types_of_a_subject_are_assigned_to_the_slices_of_its_mask(root, scan_affine, mask_affine):
    """The lowest two of five slices get the sub-types, whatever the slice order of scan and mask."""
    lowest = {True: [1, 2], False: [4, 5]}
    save(root / "images/b.nii.gz", hu(), scan_affine)
    save(root / "masks/b.nii.gz", labelled(lowest[mask_affine is AFFINE], (2, 5)), mask_affine)
    (root / "labels.csv").write_text("id,IPH,IVH\nb,1,1\na.1,,\n")
    subject = subjects(root)["b"]
    assert subject.subtypes == ("IVH", "IPH")
    scan = datasets.load_scan(subject)
    assert scan.notes == ()
    assert scan.mask.any(axis=(1, 2)).tolist() == [True, True, False, False, False]
    for subtype in ("IVH", "IPH"):
        assert scan.slice_labels[:, SUBTYPES.index(subtype)].tolist() == [True, True, False, False, False]
    assert scan.slice_labels.sum() == 4


@given(order=st.permutations(range(3)), flips=st.tuples(*[st.booleans()] * 3))
def test_a_mask_in_another_axis_order_lies_on_its_scan(tmp_path_factory, order, flips):
    root = tmp_path_factory.mktemp("reordered")
    save(root / "images/1.nii", hu())
    stored = labelled([2, 3], (2, 5))
    turn = np.eye(4)
    for axis, flip in enumerate(flips):
        if flip:
            turn[axis, axis], turn[axis, 3] = -1, SHAPE[axis] - 1
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    save(root / "masks/1.nii", np.ascontiguousarray(stored[steps].transpose(order)), (AFFINE @ turn)[:, [*order, 3]])
    scan = datasets.load_scan(subjects(root)["1"])
    np.testing.assert_array_equal(scan.labels, stored.transpose(2, 1, 0))


def test_a_scan_without_a_mask_is_rejected(root):
    (root / "masks/b.nii.gz").unlink()
    by_id = subjects(root)
    with pytest.raises(InputError, match=r"^images/b\.nii\.gz \(subject 2\): has no mask; expected a mask"):
        datasets.load_scan(by_id["b"])
    assert datasets.load_scan(by_id["ç c"]).mask.any()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (labelled([2]).astype(np.float32) * 0.7, "values from 0 to 0.7; expected whole labels from 0 to 255"),
        (labelled([2]).astype(np.int16) * -1, "values from -1 to 0"),
        (labelled([2]).astype(np.int16) * 256, "values from 0 to 256"),
        (labelled([2])[:, :, :4], "the mask's shape is"),
    ],
)
def test_an_invalid_mask_is_rejected(root, array, message):
    save(root / "masks/b.nii.gz", array)
    subject = subjects(root)["b"]
    with pytest.raises(InputError, match=message) as caught:
        datasets.load_scan(subject)
    assert str(caught.value).startswith("masks/b.nii.gz (subject 2): ")


def test_a_broken_mask_is_reported_when_the_scan_is_loaded(root):
    (root / "masks/b.nii.gz").write_bytes(b"no image")
    subject = subjects(root)["b"]
    assert not subject.labelled_hemorrhage
    with pytest.raises(InputError, match=r"masks/b\.nii\.gz \(subject 2\): not a readable NIfTI"):
        datasets.load_scan(subject)


def test_unmatched_masks_are_named_and_unmatched_rows_counted(root):
    save(root / "masks/Smith.nii", labelled([]))
    save(root / "images/b.nii", hu())
    (root / "images/notes.txt").write_text("x")
    (root / "labels.csv").write_text("id,sex,age_years\nb,F,\nb,M,\nJones,,\na.1,?,\n")
    assert datasets.read_dataset(root).notes == (
        "images/: entries skipped that are not ID.nii.gz or ID.nii: 1",
        "images/: IDs with both a .nii and a .nii.gz, the .nii is used: 1",
        "masks without a scan, not used: masks/Smith.nii",
        "labels.csv, line 2: the sex cannot be read or differs between rows; unknown",
        "labels.csv, line 5: the sex cannot be read or differs between rows; unknown",
        "the IDs are not distinct whole numbers: subjects are numbered from 1 in the order of their IDs",
        "IDs that have rows in labels.csv but no scan: 1",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.csv: has no column id; found nothing"),
        ("name,IVH\nb,1\n", "labels.csv: has no column id; found name, ivh; expected id, age_years"),
        ("id,IVH\n,1\n", "labels.csv, line 2: the id is empty"),
        ("id,IVH\nb,yes\n", "labels.csv, line 2: 'yes' in the column IVH; expected 1, 0 or nothing"),
        ("id,slice\nb,0\n", "labels.csv, line 2: the slice is '0'; expected a whole number from 1"),
        ("id,slice\nb,2\nb,2\n", "labels.csv, line 3: slice 2 of one id is listed twice"),
    ],
)
def test_errors_in_the_table_name_the_line(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        generic_labels.read(tmp_path / "labels.csv")
    assert str(caught.value).startswith(message)


def test_a_data_set_without_scans_or_masks_is_rejected(root):
    for path in (root / "images").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"no scan in images/; expected files such as ID\.nii\.gz"):
        datasets.read_dataset(root)
    (root / "masks").rename(root / "contours")
    with pytest.raises(InputError, match="lacks masks/; expected a data set: images/ and masks/"):
        datasets.read_dataset(root)


@pytest.mark.parametrize("with_table", [False, True])
def test_a_header_that_contradicts_itself_is_noted(root, with_table):
    """The qform of one scan is mirrored; its mask is compared with the sform, which is used."""
    image = nib.load(root / "images/b.nii.gz")
    image.set_qform(np.diag([-1, 1, 1, 1]) @ AFFINE, code=1)
    image.to_filename(root / "images/b.nii.gz")
    if with_table:
        (root / "labels.csv").write_text("id,slice,IVH\nb,2,1\nb,3,1\n")
    scans = {name: datasets.load_scan(subject) for name, subject in subjects(root).items()}
    number = scans["b"].subject.number
    assert scans["b"].notes[0].startswith(f"subject {number}: the header's sform (LPS, voxels of 0.5 x 0.4 x 5 mm)")
    assert not any("sform" in note for name in ("a.1", "ç c") for note in scans[name].notes)
