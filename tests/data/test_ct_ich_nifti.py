"""Reading the nifti release, with all irregularities of real copies."""

import dataclasses
import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichjax.data import ct_ich_nifti
from ichjax.data.label_tables import SUBTYPES
from ichjax.errors import InputError

SHAPE = (10, 8, 5)  # x, y, slice, as on disk
AFFINE = np.array([[-0.5, 0, 0, 20], [0, -0.4, 0, 30], [0, 0, 5, -10], [0, 0, 0, 1.0]])
SLICE_HEADER = (
    "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage,"
    "Fracture_Yes_No"
)
TWO_ROWS = (
    '"Patient Number","Age\n(years)",Gender,Hemorrhage type based on the radiologists diagnosis ,,,,,'
    "Fracture (yes 1/no 0),Note1\n"
    ",,,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,,"
)
ONE_ROW = (
    'Patient Number,"Age\n(years)",Gender,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,'
    "Fracture (yes 1/no 0),Condition on file"
)
# Subject, age, sex, sub-types by slice, fractured slices; 60 lacks a scan unless a test adds one.
PEOPLE = (
    (49, "28", "Male", {2: ("EDH",), 3: ("EDH", "SAH")}, (1, 2)),
    (50, "0.0027", "Female", {}, ()),
    (66, "71.5", "male", {5: ("IVH",)}, ()),
)


def hu_of(number, shape=SHAPE):
    hu = np.random.default_rng(number).integers(-100, 200, shape).astype(np.int16)
    hu[0, 0, 0], hu[-1, -1, -1] = -1000, 1500
    return hu


def mask_of(slices, shape=SHAPE):
    """A 2 x 3 block on each given slice (SliceNumber from 1)."""
    mask = np.zeros(shape, bool)
    for number in slices:
        mask[3:5, 2:5, number - 1] = True
    return mask


def slice_rows(people=PEOPLE, count=SHAPE[2]):
    for number, _, _, labels, fractures in people:
        for i in range(1, count + 1):
            flags = ["1" if name in labels.get(i, ()) else "" for name in SUBTYPES]
            yield [str(number), str(i), *flags, "" if i in labels else "1", "1" if i in fractures else ""]


def subject_rows(people=PEOPLE, note="Fracture, old"):
    for number, age, sex, labels, fractures in people:
        flags = ["1" if name in set(itertools.chain(*labels.values())) else "" for name in SUBTYPES]
        yield [str(number), age, sex, *flags, "1" if fractures else "", f'"{note}"']


def lines(header, rows):
    return "\n".join([header, *(",".join(row) for row in rows)]) + "\n"


@pytest.fixture
def copy(tmp_path):
    """A small regular copy of the data set."""
    write_copy(tmp_path / "ct-ich")
    return tmp_path / "ct-ich"


def write_copy(root, people=PEOPLE):
    for folder in ("ct_scans", "masks"):
        (root / folder).mkdir(parents=True)
    for number, _, _, labels, _ in people:
        save(root / f"ct_scans/{number:03d}.nii", hu_of(number))
        save_extremes(root / f"masks/{number:03d}.nii", mask_of(labels))
    (root / "hemorrhage_diagnosis_raw_ct.csv").write_text(lines(SLICE_HEADER, slice_rows(people)))
    (root / "Patient_demographics.csv").write_text(lines(TWO_ROWS, subject_rows(people)))


def save(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)


def save_extremes(path, mask, affine=AFFINE, high=255.0):
    """int16 extremes on disk, scaled to about 0 and `high`: -32768 a + b = 0, 32767 a + b = high."""
    stored = np.where(mask, 32767, -32768).astype(np.int16) if mask.any() else np.zeros(mask.shape, np.int16)
    save(path, stored, affine)
    if mask.any():
        raw = bytearray(path.read_bytes())
        raw[112:120] = np.array([high / 65535, high * 32768 / 65535], "<f4").tobytes()  # scl_slope, scl_inter
        path.write_bytes(raw)


def by_number(root):
    return {subject.number: subject for subject in ct_ich_nifti.read_dataset(root).subjects}


def test_extensions_may_be_in_upper_case(copy):
    for folder in ("ct_scans", "masks"):
        (copy / folder / "049.nii").rename(copy / folder / "049.NII")
    data = ct_ich_nifti.read_dataset(copy)
    assert ([subject.number for subject in data.subjects], data.notes) == ([49, 50, 66], ())
    first = ct_ich_nifti.load_scan(data.subjects[0])
    assert (first.subject.scan_path.name, first.mask.any(axis=(1, 2)).sum()) == ("049.NII", 2)


def test_subjects_of_a_regular_copy(copy):
    data = ct_ich_nifti.read_dataset(copy)
    assert [subject.number for subject in data.subjects] == [49, 50, 66]
    assert data.root == copy
    assert data.notes == ()
    first, infant, last = data.subjects
    assert (first.age_years, infant.age_years, last.age_years) == (28, 0.0027, 71.5)
    assert (first.sex, infant.sex, last.sex) == ("M", "F", "M")
    assert (first.subtypes, infant.subtypes, last.subtypes) == (("SAH", "EDH"), (), ("IVH",))
    assert [s.labelled_hemorrhage for s in data.subjects] == [True, False, True]
    assert [s.fracture for s in data.subjects] == [True, False, False]
    assert first.slice_fracture.tolist() == [True, True, False, False, False]
    assert np.argwhere(first.slice_labels).tolist() == [[1, 3], [2, 2], [2, 3]]
    assert first.slice_labels.dtype == bool


def test_voxels_of_a_regular_copy(copy):
    for subject in ct_ich_nifti.read_dataset(copy).subjects:
        scan = ct_ich_nifti.load_scan(subject)
        # The file's axes point left, back and to the head, the reverse order of the volume's.
        np.testing.assert_array_equal(scan.volume.hu, hu_of(subject.number).transpose(2, 1, 0))
        labels = {number: people for number, _, _, people, _ in PEOPLE}[subject.number]
        np.testing.assert_array_equal(scan.mask, mask_of(labels).transpose(2, 1, 0))
        assert (scan.mask.dtype, scan.slice_labels.shape) == (np.uint8, (5, 5))
        np.testing.assert_array_equal(scan.slice_labels, subject.slice_labels)
        assert scan.volume.spacing_mm == pytest.approx((5, 0.4, 0.5))
        assert scan.notes == ()


@settings(max_examples=40)
@given(data=st.data())
def test_all_variants_of_the_tables_are_equivalent(tmp_path_factory, data):
    """Names, headers, byte-order marks, line ends, blank rows, footers, quotes, zeros and whole floats."""
    root = tmp_path_factory.mktemp("forms") / "ct-ich"
    write_copy(root)
    expected = by_number(root)
    (root / "hemorrhage_diagnosis_raw_ct.csv").unlink()
    (root / "Patient_demographics.csv").unlink()
    flip = lambda what: data.draw(st.booleans(), label=what)  # noqa: E731
    tables = {}
    for kind, names in (("slices", ct_ich_nifti.SLICE_TABLES), ("subjects", ct_ich_nifti.SUBJECT_TABLES)):
        header, rows = (SLICE_HEADER, slice_rows()) if kind == "slices" else (TWO_ROWS, subject_rows())
        if kind == "subjects" and flip("one-row header"):
            header = ONE_ROW
        rows = [[*row] for row in rows]
        if flip("whole floats"):
            rows = [[f"{row[0]}.0", *row[1:]] for row in rows]
        if flip("zeros"):
            rows = [row[:3] + [cell or "0" for cell in row[3:9]] + row[9:] for row in rows]
        if flip("blank rows"):
            rows = [*rows[:1], [""], [",,,,,,,"], *rows[1:], [""], [" , ,"]]
        if kind == "subjects" and flip("footer"):
            rows += [["", "", "", "1", "", "1", "1", "", "1", ""], ["Total", "3", "", "", "", "", "", "", "", ""]]
        if flip("quotes"):
            rows = [[cell if '"' in cell or len(row) < 3 else f'"{cell}"' for cell in row] for row in rows]
        text = lines(header, rows)
        if flip("CRLF"):
            text = text.replace("\n", "\r\n")
        raw = text.encode("utf-8-sig" if flip("BOM") else "utf-8")
        tables[names[int(flip("second name"))]] = raw
    for name, raw in tables.items():
        (root / name).write_bytes(raw)
    subjects = by_number(root)
    assert list(subjects) == list(expected)
    for number, subject in subjects.items():
        for field in dataclasses.fields(subject):
            values = getattr(subject, field.name), getattr(expected[number], field.name)
            np.testing.assert_array_equal(*values, err_msg=field.name)


def test_footers_are_reported_and_remarks_may_be_latin_1(copy):
    path = copy / "Patient_demographics.csv"
    text = lines(TWO_ROWS, subject_rows(note="Ponçon, 1½ weeks")) + ",,,1,,1,1,,1,\nNote: see the paper\n"
    path.write_bytes(text.encode("latin-1"))
    data = ct_ich_nifti.read_dataset(copy)
    assert data.notes == ("Patient_demographics.csv: footer rows below the last subject ignored: 2",)
    assert [subject.age_years for subject in data.subjects] == [28, 0.0027, 71.5]


def test_condition_on_file_is_ignored(copy):
    rows = [[*row[:-1], "no hemorrhage"] for row in subject_rows()]
    (copy / "Patient_demographics.csv").write_text(lines(ONE_ROW, rows))
    assert by_number(copy)[49].subtypes == ("SAH", "EDH")
    assert ct_ich_nifti.read_dataset(copy).notes == ()


def test_an_age_or_sex_that_cannot_be_read_is_unknown_and_not_quoted(copy):
    people = [
        (49, "28 (Smith)", "Male", *PEOPLE[0][3:]),
        (50, "", "", {}, ()),
        (66, "-4", "other", *PEOPLE[2][3:]),
    ]
    (copy / "Patient_demographics.csv").write_text(lines(TWO_ROWS, subject_rows(people)))
    data = ct_ich_nifti.read_dataset(copy)
    assert [(s.age_years, s.sex) for s in data.subjects] == [(None, "M"), (None, None), (None, None)]
    assert len(data.notes) == 3  # an empty cell gives no note
    assert not any("Smith" in note or "other" in note for note in data.notes)


def test_contradictions_between_the_tables_are_reported(copy):
    people = [(49, "28", "Male", {2: ("SDH",)}, ()), *PEOPLE[1:]]
    (copy / "Patient_demographics.csv").write_text(lines(TWO_ROWS, subject_rows(people)))
    data = ct_ich_nifti.read_dataset(copy)
    assert data.notes == (
        "subject 49: the subject table says SDH, the slice table SAH, EDH; the slice table is used",
        "subject 49: the tables disagree about a fracture; the subject table is used",
    )
    assert not data.subjects[0].fracture


def test_no_hemorrhage_that_contradicts_the_flags_is_reported(copy):
    rows = list(slice_rows())
    rows[1][7] = "1"  # subject 49, slice 2: EDH and No_Hemorrhage
    rows[5][7] = ""  # subject 50, slice 1: neither
    (copy / "hemorrhage_diagnosis_raw_ct.csv").write_text(lines(SLICE_HEADER, rows))
    data = ct_ich_nifti.read_dataset(copy)
    assert len(data.notes) == 1
    assert "on 2 slices (subjects 49, 50); the sub-types are used" in data.notes[0]
    assert data.subjects[0].slice_labels[1].any()


def test_without_a_subject_table_age_and_sex_are_unknown(copy):
    (copy / "Patient_demographics.csv").unlink()
    data = ct_ich_nifti.read_dataset(copy)
    assert data.notes == ("no subject table: age and sex are unknown",)
    assert [(s.age_years, s.sex, s.fracture) for s in data.subjects] == [(None, None, f) for f in (True, False, False)]


def test_unmatched_rows_scans_and_masks_are_reported(copy):
    ghosts = [(number, "30", "Male", {}, ()) for number in range(59, 66)]
    (copy / "hemorrhage_diagnosis_raw_ct.csv").write_text(lines(SLICE_HEADER, slice_rows([*PEOPLE, *ghosts])))
    (copy / "Patient_demographics.csv").write_text(lines(TWO_ROWS, subject_rows([*PEOPLE, *ghosts])))
    save(copy / "ct_scans/070.nii", hu_of(70))
    save(copy / "masks/099.nii", mask_of([]).astype(np.uint8))
    (copy / "masks/050.nii").unlink()
    (copy / "ct_scans/notes.txt").write_text("x")
    (copy / "ct_scans/._049.nii").write_text("x")
    data = ct_ich_nifti.read_dataset(copy)
    assert [s.number for s in data.subjects] == [49, 50, 66, 70]
    assert data.notes == (
        "ct_scans/: entries skipped that are not NNN.nii or NNN.nii.gz: 1",
        "subjects 59 to 65 are listed in a table but have no scan",
        "subjects 99 have a mask but no scan",
        "subjects 70 have no row in the slice table, so no sub-types",
        "subjects 70 have no row in the subject table, so no age and sex",
    )
    assert data.subjects[3].slice_labels.shape == (0, 5)
    assert data.subjects[1].mask_path is None


def test_compressed_files_and_two_files_of_one_subject(copy):
    save(copy / "ct_scans/067.nii.gz", hu_of(67))
    save(copy / "ct_scans/049.nii.gz", hu_of(1))
    data = ct_ich_nifti.read_dataset(copy)
    assert {s.number: s.scan_path.name for s in data.subjects} == {
        49: "049.nii", 50: "050.nii", 66: "066.nii", 67: "067.nii.gz",
    }  # fmt: skip
    assert "ct_scans/: subject 49 has 2 files (049.nii, 049.nii.gz); the first is used" in data.notes


def test_a_missing_mask_is_empty_if_the_labels_say_no_hemorrhage(copy):
    for path in (copy / "masks").iterdir():
        path.unlink()
    save(copy / "ct_scans/070.nii", hu_of(70))
    subjects = by_number(copy)
    scan = ct_ich_nifti.load_scan(subjects[50])
    assert scan.mask.shape == scan.volume.shape
    assert not scan.mask.any()
    assert scan.notes == ("subject 50: no mask in masks/; its labels say no hemorrhage, so an empty mask is assumed",)
    with pytest.raises(InputError, match="subject 49: no mask in masks/, but its labels say SAH, EDH"):
        ct_ich_nifti.load_scan(subjects[49])
    with pytest.raises(InputError, match="subject 70: no mask in masks/ and no row in the slice table"):
        ct_ich_nifti.load_scan(subjects[70])


@pytest.mark.parametrize("high", [255.0, 1.0])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_masks_of_int16_extremes(copy, high, extension):
    (copy / "masks/049.nii").unlink()
    path = copy / "masks/049.nii"
    save_extremes(path, mask_of([2, 3]), high=high)
    if extension == ".nii.gz":
        image = nib.load(path)
        stored = np.asarray(image.dataobj)
        path.unlink()
        save(copy / "masks/049.nii.gz", stored)
    assert_mask_is(copy, [2, 3])


@pytest.mark.parametrize(
    "stored",
    [
        mask_of([2, 3]).astype(np.uint8),
        mask_of([2, 3]).astype(np.uint8) * 255,
        mask_of([2, 3]).astype(np.float32) * 254.99,
        mask_of([2, 3]).astype(np.float64),
        mask_of([2, 3]) * 1.00002,
        np.where(mask_of([2, 3]), 32767, -32768).astype(np.int16),  # the scaling is lost
        np.where(mask_of([2, 3]), 131, 120).astype(np.int16),  # ringing of a JPEG
        np.where(mask_of([2, 3]), 128, 127.4).astype(np.float32),
    ],
    ids=["0/1", "0/255", "0/254.99", "0.0/1.0", "0.0/1.00002", "unscaled", "ringing", "threshold"],
)
def test_masks_of_other_values(copy, stored):
    save(copy / "masks/049.nii", stored)
    assert_mask_is(copy, [2, 3])


def assert_mask_is(root, slices):
    scan = ct_ich_nifti.load_scan(by_number(root)[49])
    np.testing.assert_array_equal(scan.mask, mask_of(slices).transpose(2, 1, 0))


def test_an_empty_mask_stays_empty(copy):
    save(copy / "masks/049.nii", np.zeros(SHAPE, np.int16))
    scan = ct_ich_nifti.load_scan(by_number(copy)[49])
    assert not scan.mask.any()
    assert scan.notes == ("subject 49: 0 slices with a mask have no sub-type, 2 with a sub-type have no mask",)


def test_hu_without_their_offset_are_reported(copy):
    hu = hu_of(49) + np.int16(1024)
    hu[0] = -1000  # padding, so that the range alone is plausible
    save(copy / "ct_scans/049.nii", hu)
    (note, *_) = ct_ich_nifti.load_scan(by_number(copy)[49]).notes
    assert note.startswith("subject 49: HU are off by about +1024")


def test_a_mask_with_other_values_is_rejected(copy):
    save(copy / "masks/049.nii", mask_of([2]).astype(np.uint8) * 5)
    with pytest.raises(InputError, match=r"masks/049\.nii \(subject 49\): the mask's highest value is 5"):
        ct_ich_nifti.load_scan(by_number(copy)[49])


def test_disagreements_of_masks_and_labels_are_counted(copy):
    save(copy / "masks/049.nii", mask_of([1, 3, 5]).astype(np.uint8))
    scan = ct_ich_nifti.load_scan(by_number(copy)[49])
    note = "subject 49: 2 slices with a mask have no sub-type, 1 with a sub-type have no mask"
    assert scan.notes == (note,)
    assert scan.mask.any(axis=(1, 2)).tolist() == [True, False, True, False, True]
    assert scan.slice_labels.any(axis=1).tolist() == [False, True, True, False, False]


def test_fewer_rows_than_slices(copy):
    rows = [row for row in slice_rows() if not (row[0] == "49" and int(row[1]) > 2)]
    (copy / "hemorrhage_diagnosis_raw_ct.csv").write_text(lines(SLICE_HEADER, rows))
    scan = ct_ich_nifti.load_scan(by_number(copy)[49])
    assert scan.slice_labels.any(axis=1).tolist() == [False, True, False, False, False]
    assert scan.notes[0] == (
        "subject 49: the slice table has 2 rows, the scan 5 slices; slices 3 to 5 have no row and get no sub-type"
    )


def test_more_rows_than_slices(copy):
    extra = [["49", "6", "", "", "", "1", "", "", ""], ["49", "7", *[""] * 5, "1", ""]]
    (copy / "hemorrhage_diagnosis_raw_ct.csv").write_text(lines(SLICE_HEADER, [*slice_rows(), *extra]))
    scan = ct_ich_nifti.load_scan(by_number(copy)[49])
    assert scan.slice_labels.shape == (5, 5)
    assert scan.notes == (
        "subject 49: the slice table has 7 rows, the scan 5 slices; the rows without a slice are ignored, "
        "1 with a sub-type",
    )


def test_missing_rows_are_reported(copy):
    rows = [row for row in slice_rows() if row[:2] != ["49", "2"]]
    (copy / "hemorrhage_diagnosis_raw_ct.csv").write_text(lines(SLICE_HEADER, rows))
    data = ct_ich_nifti.read_dataset(copy)
    assert "hemorrhage_diagnosis_raw_ct.csv: subject 49 has no rows for slices 2, so no sub-type" in data.notes
    assert data.subjects[0].slice_labels.any(axis=1).tolist() == [False, False, True, False, False]


orders = st.permutations(range(3)).map(tuple)
directions = st.tuples(*[st.booleans()] * 3)


def reordered(array, affine, order, flips):
    """The same voxels stored in another axis order, by transpose and indexing only."""
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    stored = array[steps].transpose(order)
    turn = np.eye(4)
    for axis, flip in enumerate(flips):
        if flip:
            turn[axis, axis], turn[axis, 3] = -1, array.shape[axis] - 1
    return np.ascontiguousarray(stored), (affine @ turn)[:, [*order, 3]]


@given(order=orders, flips=directions, mask_order=orders, mask_flips=directions)
def test_any_axis_order_of_scan_and_mask(tmp_path_factory, order, flips, mask_order, mask_flips):
    """HU and mask do not depend on the axis order; SliceNumber counts along the file's own slice axis."""
    root = tmp_path_factory.mktemp("turned") / "ct-ich"
    write_copy(root)
    plain = ct_ich_nifti.load_scan(by_number(root)[49])
    mask = mask_of([2, 3])
    mask[0, 1, 4] = True  # nothing symmetric
    save(root / "ct_scans/049.nii", *reordered(hu_of(49), AFFINE, order, flips))
    save(root / "masks/049.nii", *reordered(mask.astype(np.uint8), AFFINE, mask_order, mask_flips))
    scan = ct_ich_nifti.load_scan(by_number(root)[49])
    np.testing.assert_array_equal(scan.volume.hu, plain.volume.hu)
    np.testing.assert_allclose(scan.volume.affine, plain.volume.affine, atol=1e-4)
    np.testing.assert_array_equal(scan.mask, mask.transpose(2, 1, 0))
    labels = scan.subject.slice_labels
    np.testing.assert_array_equal(scan.slice_labels, labels[::-1] if flips[2] else labels)


def test_labels_are_reversed_with_slices_stored_from_head_to_feet(copy):
    """SliceNumber 1 is index 0 on disk: if that is the top of the head, it is the volume's last slice."""
    to_feet = AFFINE.copy()
    to_feet[2, 2] = -5
    save(copy / "ct_scans/049.nii", hu_of(49), to_feet)
    save(copy / "masks/049.nii", mask_of([2, 3]).astype(np.uint8), to_feet)
    scan = ct_ich_nifti.load_scan(by_number(copy)[49])
    assert scan.notes == ()
    assert scan.slice_labels.any(axis=1).tolist() == [False, False, True, True, False]
    np.testing.assert_array_equal(scan.volume.hu[-1], hu_of(49)[:, :, 0].T)


def test_slope_and_intercept_of_a_scan(copy):
    path = copy / "ct_scans/049.nii"
    save(path, ((hu_of(49) + 1024) // 2).astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([2, -1024], "<f4").tobytes()
    path.write_bytes(raw)
    scan = ct_ich_nifti.load_scan(by_number(copy)[49])
    np.testing.assert_array_equal(scan.volume.hu, (hu_of(49) // 2 * 2).transpose(2, 1, 0))


@pytest.mark.parametrize("shape", [(10, 8, 4), (9, 8, 5)])
def test_a_mask_of_another_shape_is_rejected(copy, shape):
    save(copy / "masks/049.nii", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=r"masks/049\.nii \(subject 49\): the mask's shape is .* expected the same"):
        ct_ich_nifti.load_scan(by_number(copy)[49])


@pytest.mark.parametrize(("shift_mm", "accepted"), [(0.05, True), (0.15, False), (5, False)])
def test_a_shifted_mask_is_rejected(copy, shift_mm, accepted):
    """A quarter of the smallest voxel side, 0.4 mm, is allowed, since headers round."""
    affine = AFFINE.copy()
    affine[0, 3] += shift_mm
    save(copy / "masks/049.nii", mask_of([2, 3]).astype(np.uint8), affine)
    if accepted:
        assert_mask_is(copy, [2, 3])
        return
    with pytest.raises(InputError, match=rf"masks/049\.nii \(subject 49\): lies up to {shift_mm:.2f} mm away"):
        ct_ich_nifti.load_scan(by_number(copy)[49])


def test_a_mask_of_another_pixel_size_is_rejected(copy):
    affine = AFFINE.copy()
    affine[0, 0] *= 1.1
    save(copy / "masks/049.nii", mask_of([2, 3]).astype(np.uint8), affine)
    with pytest.raises(InputError, match="same grid"):
        ct_ich_nifti.load_scan(by_number(copy)[49])


def _truncate(path):
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        ("ct_scans/049.nii", _truncate, "truncated"),
        ("masks/049.nii", _truncate, "truncated"),
        ("ct_scans/049.nii", lambda path: path.write_bytes(b""), "not a readable NIfTI"),
        ("ct_scans/049.nii", lambda path: save(path, np.zeros((4, 4, 4, 2), np.int16)), "4 dimensions"),
        ("masks/049.nii", lambda path: save(path, np.zeros((4, 4, 4, 2), np.int16)), "4 dimensions"),
        ("ct_scans/049.nii", lambda path: save(path, np.clip(hu_of(49), 0, 255)), "8-bit"),
        ("ct_scans/049.nii", lambda path: save(path, np.full(SHAPE, np.inf, np.float32)), "not finite"),
    ],
)
def test_a_broken_file_affects_only_its_subject(copy, file, spoil, message):
    spoil(copy / file)
    data = ct_ich_nifti.read_dataset(copy)
    with pytest.raises(InputError, match=message) as caught:
        ct_ich_nifti.load_scan(data.subjects[0])
    assert str(caught.value).startswith(f"{file} (subject 49): ")
    assert str(copy) not in str(caught.value)
    assert [ct_ich_nifti.load_scan(subject).subject.number for subject in data.subjects[1:]] == [50, 66]


def test_a_deleted_file_is_named(copy):
    data = ct_ich_nifti.read_dataset(copy)
    (copy / "ct_scans/049.nii").unlink()
    with pytest.raises(InputError, match=r"^ct_scans/049\.nii \(subject 49\): no such file"):
        ct_ich_nifti.load_scan(data.subjects[0])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: _remove(root / "masks"), ["lacks masks/", "found Patient_demographics.csv, ct_scans, hemo"]),
        (lambda root: (root / "ct_scans").rename(root / "scans"), ["lacks ct_scans/", "scans"]),
        (
            lambda root: (root / "hemorrhage_diagnosis_raw_ct.csv").unlink(),
            ["lacks hemorrhage_diagnosis_raw_ct.csv"],
        ),
        (lambda root: (_remove(root / "ct_scans"), (root / "ct_scans").mkdir()), ["no scan in ct_scans/"]),
    ],
)
def test_a_folder_in_another_layout_is_rejected_with_the_expected_layout(copy, spoil, words):
    spoil(copy)
    with pytest.raises(InputError) as caught:
        ct_ich_nifti.read_dataset(copy)
    assert str(caught.value).startswith(f"{copy}: ")
    for word in words:
        assert word in str(caught.value)
    if "no scan in" not in words[0]:
        assert "ct_scans/ and masks/ with files such as 049.nii" in str(caught.value)
        assert "Patient_demographics.csv (or patient_demographics.csv)" in str(caught.value)


def _remove(path):
    """Deletes a folder with its files and subfolders."""
    for entry in path.iterdir():
        if entry.is_dir():
            _remove(entry)
        else:
            entry.unlink()
    path.rmdir()


SLICES, SUBJECTS = "hemorrhage_diagnosis_raw_ct.csv", "Patient_demographics.csv"


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        (SLICES, "49,3,", "4x9,3,", r"line 4: the subject is '4x9'; expected a number"),
        (SLICES, "49,3,", "49.5,3,", r"line 4: the subject is '49\.5'"),
        (SLICES, "49,3,", ",3,", r"line 4: the subject is ''"),
        (SLICES, "66,5,", "6-6,5,", r"line 16: the subject is '6-6'"),  # the last row is not a footer
        (SLICES, "49,3,", "49,x,", r"line 4: subject 49 has the SliceNumber 'x'"),
        (SLICES, "49,3,", "49,0,", r"line 4: subject 49 has the SliceNumber '0'"),
        (SLICES, "49,3,", "49,99999999,", r"line 4: subject 49 has the SliceNumber"),
        (SLICES, "49,3,", "49,2,", r"line 4: subject 49 has slice 2 twice"),
        (SLICES, "49,2,,,,1,", "49,2,,,,yes,", r"line 3: subject 49 has 'yes' in the column of Epidural"),
        (SLICES, "49,2,,,,1,", "49,2,,,,2,", r"expected 1 or nothing"),
        (
            SLICES,
            "Epidural,Subdural",
            "Epi,Sub",
            r"lacks the columns Epidural, Subdural; found PatientNumber, Slice",
        ),
        (SLICES, "PatientNumber", "Patient", r"has no column 'Patient Number' or 'PatientNumber'"),
        (SLICES, "Fracture_Yes_No", "", r"lacks the columns Fracture"),
        (SUBJECTS, "49,28", "4q,28", r"line 4: the subject is '4q'"),
        (SUBJECTS, "50,0.0027", "49,0.0027", r"line 5: subject 49 is listed twice"),
        (SUBJECTS, "Gender", "Region", r"lacks the columns Gender; found Patient Number, Age \(years\), Region"),
        (SUBJECTS, "Age", "Years", r"lacks the columns Age"),
    ],
)
def test_errors_in_tables_name_file_and_line(copy, table, old, new, message):
    text = (copy / table).read_text()
    assert old in text
    (copy / table).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        ct_ich_nifti.read_dataset(copy)
    assert str(caught.value).startswith(table)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x00\x01\x02" * 50, b'"' + b"x" * 200_000])
def test_a_file_that_is_not_a_table_is_rejected(copy, content):
    (copy / SLICES).write_bytes(content)
    with pytest.raises(InputError, match=SLICES):
        ct_ich_nifti.read_dataset(copy)


def test_a_table_without_rows_is_rejected(copy):
    (copy / SLICES).write_text(SLICE_HEADER + "\n")
    with pytest.raises(InputError, match="holds no rows below its header"):
        ct_ich_nifti.read_dataset(copy)


def test_notes_never_contain_the_path_of_the_data(copy):
    (copy / "masks/050.nii").unlink()
    save(copy / "masks/049.nii", mask_of([1]).astype(np.uint8))
    data = ct_ich_nifti.read_dataset(copy)
    scans = [ct_ich_nifti.load_scan(subject) for subject in data.subjects]
    notes = [*data.notes, *itertools.chain(*(scan.notes for scan in scans))]
    assert notes
    assert not any(str(copy) in text for text in [*notes, *(scan.volume.name for scan in scans)])
