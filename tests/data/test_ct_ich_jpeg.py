"""Reading the jpeg releases: hand-made images, and round trips of a phantom."""

import cv2
import numpy as np
import pytest

from ichjax.data import ct_ich_jpeg, label_tables
from ichjax.data import dataset as datasets
from ichjax.data.label_tables import SUBTYPES
from ichjax.errors import InputError
from ichjax.phantom import dataset as phantoms

HEADER = (
    "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage,"
    "Fracture_Yes_No"
)
PEOPLE = (
    'Patient Number,"Age\n(years)",Gender,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,'
    "Fracture (yes 1/no 0),Condition on file\n49,28,Male,,,,1,,,\n50,0.0027,Female,,,,,,,\n"
)
NUMBERS = (2, 9, 10, 11)  # of subject 49's images: as text, 10 and 11 would come before 2


def save(path, gray):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), gray, [cv2.IMWRITE_JPEG_QUALITY, 95])


def plane(level):
    """A disk of one gray level in a white ring on black, 650 x 650."""
    y, x = np.mgrid[:650, :650]
    radius = np.hypot(y - 324.5, x - 324.5)
    return np.select([radius < 200, radius < 230], [level, 255], 0).astype(np.uint8)


def bone_plane():
    """The bone window image of `plane`: 1500 HU in the ring, 40 HU inside it and -900 HU around."""
    return np.select([plane(128) == 128, plane(128) == 255], [75, 191], 0).astype(np.uint8)


def block():
    mask = np.zeros((650, 650), np.uint8)
    mask[300:340, 320:350] = 255
    return mask


@pytest.fixture
def root(tmp_path):
    """Subject 49 bleeds on slices 9 and 10 and lacks the images 3 to 8; subject 50 does not bleed."""
    folder = tmp_path / "copy"
    for number in NUMBERS:
        save(folder / f"Patients_CT/049/brain/{number}.jpg", plane(100 + number))
        save(folder / f"Patients_CT/049/bone/{number}.jpg", bone_plane())
    for number in (9, 10):
        save(folder / f"Patients_CT/049/brain/{number}_HGE_Seg.jpg", block())
    for number in (1, 2):
        save(folder / f"Patients_CT/050/brain/{number}.jpg", plane(120))
    rows = [f"49,{k},0,0,0,{int(k in (9, 10))},0,{int(k not in (9, 10))},0" for k in range(1, 13)]
    rows += [f"50,{k},0,0,0,0,0,1,0" for k in (1, 2)]
    (folder / "hemorrhage_diagnosis.csv").write_text("\ufeff" + "\r\n".join([HEADER, *rows]) + "\r\n\r\n", "utf-8")
    (folder / "patient_demographics.csv").write_text(PEOPLE)
    return folder


def load(root, number):
    return datasets.load_scan(next(s for s in datasets.read_dataset(root).subjects if s.number == number))


def test_subjects_and_tables(root):
    data = datasets.read_dataset(root)
    assert data.notes == ()
    first, second = data.subjects
    assert (first.number, first.name, first.layout, first.subtypes) == (49, "049", "jpeg", ("EDH",))
    assert (first.age_years, first.sex, second.age_years, second.sex) == (28, "M", 0.0027, "F")
    assert (first.mask_path, second.mask_path) == (root / "Patients_CT/049/brain", None)


def test_slices_are_sorted_by_number_and_get_their_labels(root):
    scan = load(root, 49)
    # In the middle of the disk the gray level is 100 + K, far from any edge: exact even in a JPEG.
    gray = 100 + np.array(NUMBERS)
    np.testing.assert_array_equal(scan.volume.hu[:, 320, 320], np.rint(-20 + gray * 120 / 255))
    assert scan.slice_labels[:, SUBTYPES.index("EDH")].tolist() == [False, True, True, False]
    assert scan.mask.any(axis=(1, 2)).tolist() == [False, True, True, False]
    np.testing.assert_array_equal(scan.mask[1], block()[5:-5, 5:-5] // 255)
    assert scan.mask.dtype == np.uint8
    assert scan.notes == (
        "subject 49: no image of slices 3 to 8, which leaves a gap",
        "subject 49: the slice table has 12 rows, the scan 4 slices; the rows without a slice are ignored, "
        "0 with a sub-type",
    )


def test_the_geometry_is_nominal_and_keeps_the_gap(root):
    volume = load(root, 49).volume
    assert volume.nominal_spacing
    assert volume.shape == (4, 640, 640)
    assert volume.pixel_mm == pytest.approx((0.33, 0.33))
    np.testing.assert_allclose(volume.positions_mm - volume.positions_mm[0], [0, 35, 40, 45])
    # Half the gap to each neighbor, the full gap at the ends.
    np.testing.assert_allclose(volume.extent_mm, [35, 20, 5, 5])
    np.testing.assert_allclose(volume.pixel_ml[3], 5 * 0.33 * 0.33 / 1000)
    np.testing.assert_allclose(volume.affine[:3, 1:3].sum(axis=1), [-0.33, -0.33, 0])  # to the back, to the left
    assert load(root, 50).volume.spacing_mm == pytest.approx((5, 0.33, 0.33))


def test_saturated_pixels_are_filled_from_the_bone_window(root):
    filled, plain = load(root, 49).volume, load(root, 50).volume
    assert (filled.hu_range, plain.hu_range) == ((-900, 2300), (-20, 100))
    air, ring = (5, 5), (320, 320 + 215)
    assert filled.hu[0][air] == -900
    assert filled.hu[0][ring] == pytest.approx(-900 + 191 * 3200 / 255, abs=13)
    assert (plain.hu[0][air], plain.hu[0][ring]) == (-20, 100)
    assert (plain.hu.min(), plain.hu.max()) == (-20, 100)


def test_gray_levels_by_hand():
    brain = np.array([0, 4, 5, 85, 250, 251, 255], np.uint8)
    assert ct_ich_jpeg.gray_to_hu(brain).tolist() == [-20, -18, -18, 20, 98, 98, 100]
    # The bone image replaces black and white pixels of the brain window, never with HU inside that window.
    bone = np.array([0, 255, 0, 0, 0, 0, 255], np.uint8)
    assert ct_ich_jpeg.gray_to_hu(brain, bone).tolist() == [-900, -20, -18, 20, 98, 100, 2300]


def test_without_every_bone_image_no_slice_is_filled(root):
    (root / "Patients_CT/049/bone/9.jpg").unlink()
    save(root / "Patients_CT/049/bone/12.jpg", bone_plane())
    scan = load(root, 49)
    assert scan.volume.hu_range == (-20, 100)
    assert scan.volume.hu.min() == -20
    assert scan.notes[:2] == (
        "subject 49: bone images without a brain image ignored: slices 12",
        "subject 49: not every slice (not 9) has a bone image, so HU stay within -20 to 100",
    )
    assert load(root, 50).notes[0] == "subject 50: no slice has a bone image, so HU stay within -20 to 100"


def test_a_missing_mask_file_is_an_empty_mask(root):
    (root / "Patients_CT/049/brain/9_HGE_Seg.jpg").unlink()
    save(root / "Patients_CT/049/brain/7_HGE_Seg.jpg", block())  # has no image
    scan = load(root, 49)
    assert scan.mask.any(axis=(1, 2)).tolist() == [False, False, True, False]
    assert "subject 49: masks without an image ignored: slices 7" in scan.notes
    assert "subject 49: 0 slices with a mask have no sub-type, 1 with a sub-type have no mask" in scan.notes
    assert "its labels say no hemorrhage" in load(root, 50).notes[1]


def test_no_mask_at_all_needs_labels_that_rule_out_a_hemorrhage(root):
    for number in (9, 10):
        (root / f"Patients_CT/049/brain/{number}_HGE_Seg.jpg").unlink()
    with pytest.raises(InputError, match=r"subject 49: no mask in brain/, but its labels say EDH"):
        load(root, 49)


def test_the_mask_s_threshold_is_above_128(root):
    levels = np.full((650, 650), 128, np.uint8)
    levels[:325] = 129
    save(root / "Patients_CT/049/brain/9_HGE_Seg.jpg", levels)
    mask = load(root, 49).mask[1]
    assert mask[:310].all()
    assert not mask[330:].any()


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        ("brain/9.jpg", lambda p: p.write_bytes(p.read_bytes()[:3000]), r"not a readable image \(.*truncated"),
        ("brain/9.jpg", lambda p: p.write_bytes(b"no image"), "not a readable image"),
        ("brain/9.jpg", lambda p: save(p, plane(9)[:600]), "is 650 x 600 pixels; expected 650 x 650"),
        ("bone/9.jpg", lambda p: save(p, plane(9)[:, :512]), "is 512 x 650 pixels"),
        ("brain/9_HGE_Seg.jpg", lambda p: save(p, block()[:512, :512]), "is 512 x 512 pixels"),
    ],
)
def test_a_broken_image_affects_only_its_subject(root, file, spoil, message):
    spoil(root / "Patients_CT/049" / file)
    with pytest.raises(InputError, match=message) as caught:
        load(root, 49)
    assert str(caught.value).startswith(f"049/{file} (subject 49): ")
    assert str(root) not in str(caught.value)
    assert load(root, 50).volume.shape == (2, 640, 640)


def test_a_subject_without_images_and_a_slice_with_two_images_are_rejected(root):
    for path in list((root / "Patients_CT/050/brain").iterdir()):
        path.unlink()
    with pytest.raises(InputError, match=r"050/brain \(subject 50\): holds no image"):
        load(root, 50)
    save(root / "Patients_CT/049/brain/09.jpg", plane(9))
    with pytest.raises(InputError, match=r"049/brain: slice 9 has two files, 09.jpg and 9.jpg"):
        load(root, 49)


def test_two_masks_of_a_slice_affect_only_their_subject(root):
    save(root / "Patients_CT/049/brain/010_HGE_Seg.jpg", block())
    with pytest.raises(InputError, match=r"slice 10 has two files, 010_HGE_Seg.jpg and 10_HGE_Seg.jpg"):
        load(root, 49)
    assert load(root, 50).volume.shape == (2, 640, 640)


def test_color_images_are_read_and_other_files_skipped(root):
    save(root / "Patients_CT/050/brain/1.jpg", np.repeat(plane(120)[..., None], 3, axis=2))
    (root / "Patients_CT/readme.txt").write_text("x")
    (root / "Patients_CT/.DS_Store").write_text("x")
    (root / "Patients_CT/050/brain/Thumbs.db").write_text("x")
    assert datasets.read_dataset(root).notes == ("Patients_CT/: entries skipped that are not folders NNN: 1",)
    assert load(root, 50).volume.hu[0, 320, 320] == round(-20 + 120 * 120 / 255)


@pytest.mark.parametrize(
    ("gone", "message"),
    [("hemorrhage_diagnosis.csv", "lacks hemorrhage_diagnosis.csv"), ("Patients_CT", "no subject in Patients_CT/")],
)
def test_a_data_set_without_table_or_subjects_is_rejected(root, gone, message):
    (root / gone).rename(root.parent / "away")
    (root / "Patients_CT").mkdir(exist_ok=True)
    with pytest.raises(InputError, match=message):
        datasets.read_dataset(root)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A written phantom with a hemorrhage: (its folder, the phantom)."""
    root = tmp_path_factory.mktemp("jpeg")
    phantoms.write_dataset(root, subjects=1, seed=3, layout="jpeg", workers=1)
    return root, phantoms.make_subject(49, seed=3)


def test_a_phantom_survives_the_round_trip(written):
    """HU are equal up to JPEG artifacts, masks nearly, labels exactly; resampled here by OpenCV."""
    root, made = written
    (subject,) = datasets.read_dataset(root).subjects
    scan = datasets.load_scan(subject)
    drawn = [cv2.resize(hu.astype(np.float32), (650, 650), interpolation=cv2.INTER_LINEAR) for hu in made.hu]
    hu = np.stack(drawn)[:, 5:-5, 5:-5]
    error = np.abs(scan.volume.hu - hu)
    inside = (hu > -10) & (hu < 90)
    assert error[inside].mean() < 0.6  # rounding to whole HU alone gives 0.25
    assert np.percentile(error[inside], 99) < 2
    assert np.percentile(error[hu > 200], 99) < 30  # through the bone window: 12.5 HU per gray level
    assert (scan.volume.hu[hu < -100] < -50).mean() > 0.999
    mask = np.stack([cv2.resize(m.astype(np.float32), (650, 650)) for m in made.mask])[:, 5:-5, 5:-5] >= 0.5
    assert made.mask.any()
    assert (scan.mask != mask).sum() < 0.02 * mask.sum()
    np.testing.assert_array_equal(scan.slice_labels, made.slice_labels)
    assert (subject.age_years, subject.sex) == (pytest.approx(made.age_years), made.sex)


def test_the_writer_follows_the_layout_of_the_release(written):
    root, made = written
    folder = root / "Patients_CT/049"
    images = {f"{k}.jpg" for k in range(1, len(made.hu) + 1)}
    masks = {f"{k}_HGE_Seg.jpg" for k, plane_ in enumerate(made.mask, 1) if plane_.any()}
    assert {path.name for path in (folder / "brain").iterdir()} == images | masks
    assert {path.name for path in (folder / "bone").iterdir()} == images
    assert cv2.imread(str(folder / "brain/1.jpg"), cv2.IMREAD_UNCHANGED).shape == (650, 650)
    assert (root / label_tables.JPEG_SLICE_TABLE).read_text().startswith(HEADER + "\n49,1,")
    assert (root / label_tables.JPEG_SUBJECT_TABLE).read_text().startswith('Patient Number,"Age\n(years)",Gender,Intra')
