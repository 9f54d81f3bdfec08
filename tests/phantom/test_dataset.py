"""Phantoms: traits, reproducibility, files of the NIfTI layout, and the synthetic reader's masks."""

import csv
import hashlib

import nibabel as nib
import numpy as np
import pytest

from ichjax.data import ct_ich_nifti, label_tables
from ichjax.errors import InputError
from ichjax.phantom import dataset as phantoms
from ichjax.phantom import plan as phantom_plan
from ichjax.phantom import reader
from ichjax.phantom.lesions import EDH, IPH, Lesion

NUMBERS = range(49, 52)  # subjects with and without a hemorrhage


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A demo set on disk, made in this process."""
    root = tmp_path_factory.mktemp("phantoms")
    phantoms.write_dataset(root, subjects=len(NUMBERS), seed=3, preset="demo", workers=1)
    return root


@pytest.fixture(scope="module")
def made():
    """The same subjects in memory."""
    return {number: phantoms.make_subject(number, seed=3, preset="demo") for number in NUMBERS}


def digests(root):
    """{path: digest} of every file of a data set."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def plans(name, count, seed=0):
    kind = phantoms.PRESETS[name]
    numbers = range(49, 49 + count)
    return [phantom_plan.make_plan(n, seed=seed, share=kind.share, mix=kind.mix) for n in numbers]


class TestPlan:
    @pytest.mark.parametrize("seed", range(5))
    def test_a_full_calibrated_set_has_the_counts_of_the_real_set(self, seed):
        subjects = plans("calibrated", 82, seed)
        ill = [s for s in subjects if s.subtypes]
        assert 35 <= len(ill) <= 37
        for name, real in zip(label_tables.SUBTYPES, (5, 16, 7, 21, 4), strict=True):
            assert abs(sum(name in s.subtypes for s in ill) - real) <= 1, name
        assert abs(sum(s.fracture for s in subjects) - 22) <= 3
        assert abs(sum(s.sex == "M" for s in subjects) - 46) <= 2
        assert abs(sum(s.age_years < 18 for s in subjects) - 27) <= 2
        assert np.mean([s.age_years for s in subjects]) == pytest.approx(27.8, abs=2)
        assert np.std([s.age_years for s in subjects]) == pytest.approx(19.5, abs=2)
        assert [s.number for s in subjects if s.chronic] == [70]

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("count", range(12, 19))
    def test_a_small_demo_set_is_balanced(self, seed, count):
        subjects = plans("demo", count, seed)
        ill = sum(bool(s.subtypes) for s in subjects)
        assert abs(ill - 0.6 * count) <= 1.5
        assert {name for s in subjects for name in s.subtypes} == set(label_tables.SUBTYPES)

    def test_a_subjects_plan_does_not_depend_on_the_size_of_the_set(self):
        assert plans("demo", 15)[4] == plans("demo", 5)[4]

    def test_seeds_differ(self):
        assert plans("demo", 15, seed=0) != plans("demo", 15, seed=1)

    def test_interleave_spreads_kinds(self):
        order = phantom_plan.interleave(((("a",), 4), (("b",), 2)))
        assert order == [("a",), ("b",), ("a",), ("a",), ("b",), ("a",)]


class TestSubject:
    def test_dtypes_shapes_and_axes(self, made):
        for number, subject in made.items():
            assert subject.number == number
            assert subject.hu.dtype == np.int16
            assert subject.mask.dtype == np.uint8
            assert subject.hu.shape == subject.mask.shape == (len(subject.hu), 256, 256)
            assert subject.slice_labels.shape == (len(subject.hu), 5)
            assert subject.fracture.shape == (len(subject.hu),)
            assert subject.hu.min() >= -1024
            # What is on every slice is the head holder, which is behind the head and so in the lower rows.
            holder = (subject.hu > 100).all(axis=0)
            assert holder[160:].sum() > 2 * holder[:96].sum()
            fat = (subject.hu > -150) & (subject.hu < -50)
            assert fat[0].sum() > 2 * fat[-1].sum()  # the face is below, the vertex above

    def test_the_same_arguments_give_the_same_bytes(self, made):
        again = phantoms.make_subject(50, seed=3, preset="demo")
        for field in ("hu", "mask", "slice_labels", "fracture", "affine"):
            np.testing.assert_array_equal(getattr(again, field), getattr(made[50], field))

    def test_numbers_and_seeds_differ(self, made):
        other = phantoms.make_subject(50, seed=4, preset="demo")
        assert other.hu.shape != made[50].hu.shape or (other.hu != made[50].hu).any()
        assert made[49].hu.shape != made[50].hu.shape or (made[49].hu != made[50].hu).any()

    def test_hemorrhages_have_the_planned_subtypes_and_hu_of_blood(self, made):
        kind = phantoms.PRESETS["demo"]
        for number, subject in made.items():
            plan = phantom_plan.make_plan(number, seed=3, share=kind.share, mix=kind.mix)
            labels = np.array(label_tables.SUBTYPES)[subject.slice_labels.any(axis=0)]
            assert set(labels) == set(plan.subtypes)
            assert bool(subject.mask.any()) == bool(plan.subtypes)
            if plan.subtypes:
                blood = subject.hu[subject.mask > 0]
                assert 15 < np.median(blood) < 90
                assert (blood < -200).mean() < 0.001

    def test_affine_has_the_axes_of_a_volume(self, made):
        affine = made[49].affine
        np.testing.assert_allclose(np.abs(affine[:3, :3]).sum(axis=0), [10.0, 214.5 / 256, 214.5 / 256])
        assert nib.aff2axcodes(affine) == ("S", "P", "L")


class TestFiles:
    def test_the_number_of_workers_does_not_matter(self, written, tmp_path):
        phantoms.write_dataset(tmp_path, subjects=len(NUMBERS), seed=3, preset="demo", workers=2)
        assert digests(tmp_path) == digests(written)

    def test_file_names(self, written, made):
        ill = [n for n, s in made.items() if s.mask.any()]
        assert 1 <= len(ill) < len(NUMBERS)
        expected = {f"ct_scans/{n:03d}.nii" for n in NUMBERS} | {f"masks/{n:03d}.nii" for n in ill}
        expected |= {label_tables.NIFTI_SLICE_TABLE, label_tables.NIFTI_SUBJECT_TABLE}
        assert set(digests(written)) == expected

    def test_scans_read_back(self, written, made):
        for number, subject in made.items():
            image = nib.load(written / "ct_scans" / f"{number:03d}.nii")
            assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
            assert image.get_data_dtype() == np.int16
            on_disk = np.asanyarray(image.dataobj)
            assert on_disk.shape == (256, 256, len(subject.hu))
            np.testing.assert_array_equal(on_disk.transpose(2, 1, 0)[:, ::-1], subject.hu)
            # Both affines map pixel (20, 30) of slice 1 to the same position.
            position = subject.affine @ [1, 20, 30, 1]
            np.testing.assert_allclose(image.affine @ [30, 255 - 20, 1, 1], position, atol=1e-4)

    def test_masks_are_int16_extremes_that_scale_to_0_and_255(self, written, made):
        for number, subject in made.items():
            if not subject.mask.any():
                continue
            image = nib.load(written / "masks" / f"{number:03d}.nii")
            raw = np.asanyarray(image.dataobj.get_unscaled())
            assert raw.dtype == np.int16
            assert set(np.unique(raw)) == {-32768, 32767}
            scaled = image.get_fdata()
            assert np.abs(scaled - np.where(raw > 0, 255.0, 0.0)).max() < 0.01
            np.testing.assert_array_equal(scaled.transpose(2, 1, 0)[:, ::-1] > 127.5, subject.mask > 0)

    def test_slice_table(self, written, made):
        with open(written / label_tables.NIFTI_SLICE_TABLE, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        header = ["PatientNumber", "SliceNumber", "Intraventricular", "Intraparenchymal", "Subarachnoid"]
        assert list(rows[0]) == [*header, "Epidural", "Subdural", "No_Hemorrhage", "Fracture_Yes_No"]
        for number, subject in made.items():
            mine = [row for row in rows if row["PatientNumber"] == str(number)]
            assert [int(row["SliceNumber"]) for row in mine] == list(range(1, len(subject.hu) + 1))
            flags = np.array([[int(row[name]) for name in label_tables.SUBTYPE_COLUMNS] for row in mine], bool)
            np.testing.assert_array_equal(flags, subject.slice_labels)
            none = np.array([int(row["No_Hemorrhage"]) for row in mine], bool)
            np.testing.assert_array_equal(none, ~flags.any(axis=1))
            np.testing.assert_array_equal([int(r["Fracture_Yes_No"]) for r in mine], subject.fracture.astype(int))

    def test_subject_table_has_two_header_rows_and_a_footer(self, written, made):
        with open(written / label_tables.NIFTI_SUBJECT_TABLE, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert rows[0][:3] == ["Patient Number", "Age\n(years)", "Gender"]
        assert tuple(rows[1][3:8]) == label_tables.SUBTYPE_COLUMNS
        assert len({len(row) for row in rows}) == 1
        assert [row[0] for row in rows[2 : 2 + len(NUMBERS)]] == [str(n) for n in NUMBERS]
        assert rows[2][2] == {"M": "Male", "F": "Female"}[made[49].sex]
        assert rows[-1][0].startswith("Synthetic data, no patients")

    def test_ct_ich_nifti_reads_the_set_back(self, written, made):
        data = ct_ich_nifti.read_dataset(written)
        assert [s.number for s in data.subjects] == list(NUMBERS)
        for subject in data.subjects:
            scan = ct_ich_nifti.load_scan(subject)
            mine = made[subject.number]
            np.testing.assert_array_equal(scan.volume.hu, mine.hu)
            np.testing.assert_array_equal(scan.mask, mine.mask)
            np.testing.assert_array_equal(scan.slice_labels, mine.slice_labels)
            assert subject.age_years == pytest.approx(mine.age_years)
            assert subject.sex == mine.sex

    def test_invalid_arguments_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="expected one of calibrated, demo"):
            phantoms.write_dataset(tmp_path, subjects=1, preset="nice")
        with pytest.raises(InputError, match="at least 1"):
            phantoms.write_dataset(tmp_path, subjects=0)


class TestReader:
    """The synthetic reader's masks and labels."""

    @staticmethod
    def ball(radius_mm, slices=9, side=128, pixel_mm=0.8):
        axis = (np.arange(side) - side / 2) * pixel_mm
        height = (np.arange(slices) - slices // 2)[:, None, None] * 5.0
        distance = np.sqrt(height**2 + axis[:, None] ** 2 + axis**2)
        return np.clip(0.5 + (radius_mm - distance) / pixel_mm, 0, 1).astype(np.float32)[None]

    @staticmethod
    def read(shares, seed=0, hidden=None):
        hidden = np.zeros(shares.shape[1:], bool) if hidden is None else hidden
        return reader.read_masks(np.random.default_rng(seed), shares, hidden, 0.8)

    def test_masks_are_close_to_the_truth_but_not_equal(self):
        truth = self.ball(18)
        masks, labels = self.read(truth)
        kept = masks[0].any(axis=(1, 2))
        a, b = masks[0][kept], truth[0][kept] >= 0.5
        dice = 2 * (a & b).sum() / (a.sum() + b.sum())
        assert 0.90 < dice < 0.995
        np.testing.assert_array_equal(labels[0] & kept, kept)

    def test_half_the_end_slices_and_few_others_are_left_out(self):
        full = (self.ball(18)[0] >= 0.5).any(axis=(1, 2)).sum()
        counts, inner_gaps, inner = [], 0, 0
        for seed in range(40):
            masks, _ = self.read(self.ball(18), seed)
            drawn = masks[0].any(axis=(1, 2))
            counts.append(drawn.sum())
            first, last = np.flatnonzero(drawn)[[0, -1]]
            inner_gaps += (~drawn[first:last]).sum()
            inner += last - first
        assert 0.5 < full - np.mean(counts) < 1.7
        assert 0.0 < inner_gaps / inner < 0.09

    def test_tiny_bleeds_are_not_outlined(self):
        masks, labels = self.read(self.ball(1.2))
        assert not masks.any()
        assert not labels.any()

    def test_no_lesions(self):
        masks, labels = self.read(np.zeros((0, 4, 32, 32), np.float32))
        assert masks.shape == (0, 4, 32, 32)
        assert labels.shape == (0, 4)

    def test_contours_end_where_bone_hides_the_blood_and_thin_bleeds_keep_their_thickness(self):
        column = (np.arange(128) - 64)[np.newaxis, np.newaxis, :] * 0.8  # mm from the bone, which fills the left half
        thickness_mm = 2.4
        shares = np.broadcast_to((column >= 0) & (column < thickness_mm), (1, 9, 128, 128)).astype(np.float32)
        hidden = np.broadcast_to(column < 0, (9, 128, 128))
        masks, _ = self.read(shares, hidden=hidden)
        assert not (masks & hidden).any()
        drawn = masks[0].any(axis=(1, 2))
        assert masks[0][drawn].sum(axis=2).mean() * 0.8 == pytest.approx(thickness_mm, abs=0.4)

    def test_a_bleed_hidden_by_bone_is_not_outlined(self):
        ball = self.ball(18)
        masks, labels = self.read(ball, hidden=np.ones(ball.shape[1:], bool))
        assert not masks.any()
        assert not labels.any()

    def test_pixels_of_two_lesions_belong_to_the_one_with_the_larger_share(self):
        shares = np.array([0.6, 0.7, 0.0, 0.9, 0.5, 0.8]).reshape(2, 1, 1, 3)
        lesions = [Lesion(subtype, np.zeros(0), hu=50.0) for subtype in (IPH, EDH)]
        classes = reader.classify(lesions, shares, shares > 0)
        assert classes.tolist() == [[[1 + EDH, 1 + IPH, 1 + EDH]]]
