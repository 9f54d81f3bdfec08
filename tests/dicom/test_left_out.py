"""Images of a series that are left out, with a note, or refused: captures, copies, and two images at one position."""

import shutil

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage, XRayRadiationDoseSRStorage

from ichjax.dicom import left_out
from ichjax.dicom import series as dicom_series
from ichjax.errors import InputError
from tests.dicom.test_series import (
    COLUMNS,
    ROWS,
    UNEVEN,
    ct_slice,
    generate_uid,
    image,
    read,
    save,
    series_in,
    series_of,
)

GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
CAPTURE = ["DERIVED", "SECONDARY", "OTHER"]
SHEET_NOTE = "1 file was left out, not a slice of the scan: file {} of the input"


def sheet(uid, *, lacks=GEOMETRY, **tags):
    """A CT image of the series `uid` without the tags in `lacks`."""
    ds = ct_slice(0, 0, series=uid, **{"ImageType": CAPTURE, "InstanceNumber": 999, **tags})
    for keyword in lacks:
        delattr(ds, keyword)
    return ds


def colored(ds):
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = bytes(ROWS * COLUMNS * 3)
    return ds


def without_pixels(ds):
    del ds.PixelData
    return ds


def of_class(sop_class, uid):
    ds = image(np.zeros((5, 5), np.int16), sop_class)
    ds.SeriesInstanceUID = uid
    return ds


CAPTURES = {
    "dose sheet": lambda uid: sheet(uid),
    "type of a slice": lambda uid: sheet(uid, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]),
    "only orientation missing": lambda uid: sheet(uid, lacks=["ImageOrientationPatient"]),
    "only position missing": lambda uid: sheet(uid, lacks=["ImagePositionPatient"]),
    "empty position": lambda uid: sheet(uid, lacks=["PixelSpacing"], ImagePositionPatient=None),
    "color": lambda uid: colored(sheet(uid)),
    "color at the position of a slice": lambda uid: colored(sheet(uid, lacks=[])),
    "no pixels": lambda uid: without_pixels(sheet(uid)),
    "secondary capture": lambda uid: of_class(SecondaryCaptureImageStorage, uid),
    "dose report": lambda uid: without_pixels(of_class(XRayRadiationDoseSRStorage, uid)),
}


@pytest.mark.parametrize("name", ["AA.dcm", "sheet.dcm"], ids=["first", "last"])
@pytest.mark.parametrize("kind", CAPTURES)
def test_a_capture_is_left_out_and_named(tmp_path, kind, name):
    """Whether it sorts before or after the slices: nothing of it reaches the volume, the label or the traits."""
    uid = generate_uid()
    expected = read(save(tmp_path / "plain", series_of(uid=uid)))
    folder = save(tmp_path / "a", series_of(uid=uid))
    CAPTURES[kind](uid).save_as(folder / name)
    volume = read(folder)
    np.testing.assert_array_equal(volume.hu, expected.hu)
    np.testing.assert_array_equal(volume.affine, expected.affine)
    assert volume.notes == (SHEET_NOTE.format(len(UNEVEN) + 1),)
    assert expected.notes == ()
    (series,), (plain,) = series_in(folder), series_in(tmp_path / "plain")
    assert (series.label, series.traits) == (plain.label, plain.traits)
    assert len(dicom_series.sorted_frames(series)) == len(UNEVEN)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ds: delattr(ds, "ImageOrientationPatient"), "lacks ImageOrientationPatient"),
        (lambda ds: setattr(ds, "ImagePositionPatient", None), "lacks ImagePositionPatient"),
        (lambda ds: setattr(ds, "ImagePositionPatient", [1, 2]), "ImagePositionPatient is"),
        (colored, "lacks PixelSpacing|has the shape|size"),
    ],
)
def test_what_may_be_a_slice_is_never_left_out(tmp_path, spoil, message):
    """A slice with a damaged header, or in color at a position of its own: leaving it out would leave a gap."""
    slices = series_of()
    spoil(slices[3])
    with pytest.raises(InputError, match=rf"^03\.dcm: .*{message}"):
        read(save(tmp_path / "a", slices))


def test_a_sheet_in_a_folder_of_its_own_with_the_number_of_a_slice(tmp_path):
    """The number occurs in two folders, but the sheet is no second series, and does not name the study."""
    uid = generate_uid()
    slices = series_of(uid=uid)
    for number, ds in enumerate(slices):
        ds.InstanceNumber = number + 1
    save(tmp_path / "a" / "ct", slices)
    save(tmp_path / "a" / "dose", [sheet(uid, InstanceNumber=1)], ["sheet.dcm"])
    volume = read(tmp_path / "a")
    assert volume.notes == (SHEET_NOTE.format(len(UNEVEN) + 1),)
    ((study,), skipped) = dicom_series.find_studies(tmp_path / "a")
    assert (study.folder, skipped) == (tmp_path / "a" / "ct", [])


EVEN = tuple(5.0 * k for k in range(8))


def stray(**tags):
    """An image at the position of the fourth slice, or where the tags say, with other pixels."""
    return lambda uid: ct_slice(0, EVEN[3], series=uid, InstanceNumber=999, **tags)


def smaller(uid):
    ds = ct_slice(0, EVEN[3], series=uid, Rows=ROWS // 2)
    ds.PixelData = ds.PixelData[: ROWS // 2 * COLUMNS * 2]
    return ds


def localizer(uid):
    return stray(ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])(uid)


STRAYS = {
    "another type": stray(ImageType=CAPTURE),
    "another type between slices": stray(ImageType=CAPTURE, ImagePositionPatient=[-10, -30, -82.5]),
    "another size": smaller,
    "another pixel spacing": stray(PixelSpacing=[0.9, 0.9]),
    "another tilt": stray(ImageOrientationPatient=[1, 0, 0, 0, 0.9848, -0.1736]),
    "localizer": localizer,
    "far away": stray(ImagePositionPatient=[-10, -30, 700]),
    "color, far away": lambda uid: colored(stray(ImagePositionPatient=[-10, -30, 700])(uid)),
}


@pytest.mark.parametrize("name", ["-.dcm", "sheet.dcm"], ids=["first", "last"])
@pytest.mark.parametrize("kind", STRAYS)
def test_a_stray_image_is_left_out_and_named(tmp_path, kind, name):
    uid = generate_uid()
    expected = read(save(tmp_path / "plain", series_of(EVEN, uid)))
    folder = save(tmp_path / "a", series_of(EVEN, uid))
    STRAYS[kind](uid).save_as(folder / name)
    volume = read(folder)
    np.testing.assert_array_equal(volume.hu, expected.hu)
    np.testing.assert_array_equal(volume.slice_origins_mm, expected.slice_origins_mm)
    assert volume.notes == (SHEET_NOTE.format(1 if name == "-.dcm" else len(EVEN) + 1),)


@pytest.mark.parametrize("at", [0, 3, 7])
@pytest.mark.parametrize(
    "tags", [{"PixelSpacing": [0.9, 0.9]}, {"ImageOrientationPatient": [1, 0, 0, 0, 0.9848, -0.17]}]
)
def test_a_slice_with_other_geometry_at_a_position_of_its_own_is_refused(tmp_path, tags, at):
    slices = series_of(EVEN)
    for keyword, value in tags.items():
        setattr(slices[at], keyword, value)
    with pytest.raises(InputError, match=r"expected (one for the whole series|two unit vectors)"):
        read(save(tmp_path / "a", slices))


def test_a_slice_of_another_type_at_a_position_of_its_own_is_read(tmp_path):
    slices = series_of(EVEN)
    slices[3].ImageType = CAPTURE
    volume = read(save(tmp_path / "a", slices))
    assert (volume.shape[0], volume.notes) == (len(EVEN), ())


def test_stray_images_are_few(tmp_path):
    uid = generate_uid()
    many = [ct_slice(0, at, series=uid, PixelSpacing=[0.9, 0.9]) for at in EVEN[1:5]]
    with pytest.raises(InputError, match="PixelSpacing is"):
        read(save(tmp_path / "a", [*series_of(EVEN, uid), *many]))


def test_captures_must_be_the_minority(tmp_path):
    uid = generate_uid()
    folder = save(tmp_path / "a", [*series_of(UNEVEN[:3], uid), *(sheet(uid) for _ in range(3))])
    with pytest.raises(InputError, match=r"^03\.dcm: lacks"):
        read(folder)


def again(ds, **tags):
    """The same slice stored once more under another UID."""
    for keyword, value in {"SOPInstanceUID": generate_uid(), **tags}.items():
        setattr(ds, keyword, value)
    return ds


def rescaled(ds):
    ds.PixelData = (ds.pixel_array // 2 + 512).astype("<i2").tobytes()
    ds.RescaleSlope, ds.RescaleIntercept = 2, -1024
    return ds


COPIES = {
    "byte for byte": lambda ds: ds,
    "new UID and number": lambda ds: again(ds, InstanceNumber=103),
    "run-length encoded": lambda ds: ds.compress(RLELossless) or ds,
    "other stored values": rescaled,
    "rounded position": lambda ds: again(ds, ImagePositionPatient=[v + 0.04 for v in ds.ImagePositionPatient]),
    "other window": lambda ds: again(ds, WindowCenter=700, WindowWidth=3200),
}


@pytest.mark.parametrize("place", [".", "more"], ids=["same folder", "subfolder"])
@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_left_out_and_named(tmp_path, kind, place):
    slices = series_of()
    for number, ds in enumerate(slices):
        ds.InstanceNumber = number + 1
    expected = read(save(tmp_path / "plain", slices))
    folder = save(tmp_path / "a", slices)
    (folder / place).mkdir(exist_ok=True)
    COPIES[kind](pydicom.dcmread(folder / "02.dcm")).save_as(folder / place / "02 (1).dcm")
    volume = read(folder)
    np.testing.assert_array_equal(volume.hu, expected.hu)
    np.testing.assert_array_equal(volume.slice_origins_mm, expected.slice_origins_mm)
    number = 3 if place == "." else len(UNEVEN) + 1  # '02 (1).dcm' sorts before '02.dcm'
    assert volume.notes == (f"1 file was left out, a copy of another slice: file {number} of the input",)
    assert volume.name == "a"
    (series,) = series_in(folder)
    assert series.label == "series 1 (6 slices, 0.500 mm)"
    assert [frame.path.name for frame in dicom_series.sorted_frames(series)] == [f"{k:02d}.dcm" for k in range(6)]


def test_every_image_twice(tmp_path):
    folder = save(tmp_path / "a", series_of())
    for path in sorted(folder.iterdir()):
        shutil.copy(path, path.with_name(f"{path.stem} (1).dcm"))
    note = "6 files were left out, copies of other slices: "
    assert read(folder).notes == (note + "files 1, 3, 5, 7, 9 and 1 more of the input",)
    named = dicom_series.read_series(folder, series_in(folder)[0], with_names=True)
    assert named.notes == (note + ", ".join(f"{k:02d} (1).dcm" for k in range(5)) + " and 1 more",)


def test_copies_do_not_make_a_series_preferred(tmp_path):
    """Both have six slices: the soft one, with the narrower window, is preferred, whatever copies the other has."""
    soft, bone = series_of(WindowWidth=80), series_of(WindowWidth=3200)
    copies = [again(pydicom.dcmread(path)) for path in sorted(save(tmp_path / "bone", bone).iterdir())[:3]]
    first, second = series_in(save(tmp_path / "a", [*soft, *bone, *copies]))
    assert (first.traits.window_width, second.traits.window_width) == (80, 3200)


@pytest.mark.parametrize("place", [".", "more"])
@pytest.mark.parametrize("change", ["pixels", "offset", "pixels are missing"])
def test_two_images_at_one_position_stay_refused(tmp_path, change, place):
    """Another phase, or another part of the same plane; the numbers differ, so that they are one series."""
    slices = series_of()
    for number, ds in enumerate(slices):
        ds.InstanceNumber = number + 1
    folder = save(tmp_path / "a", slices)
    other = again(pydicom.dcmread(folder / "02.dcm"), InstanceNumber=100)
    if change == "pixels":
        other.PixelData = other.PixelData[:-2] + b"\0\0"
    elif change == "offset":
        other.ImagePositionPatient = [-11, -30.5, other.ImagePositionPatient[2]]
    else:
        del other.PixelData
    (folder / place).mkdir(exist_ok=True)
    other.save_as(folder / place / "other.dcm")
    message = "02.dcm and other.dcm lie at the same position .* but differ|other.dcm: has no pixel data"
    with pytest.raises(InputError, match=message):
        read(folder)


def test_another_series_under_the_same_numbers_is_no_copy(tmp_path):
    """In another folder, at the same positions, but with other pixels: two series, as before."""
    uid = generate_uid()
    for name, positions, intercept in (("long", UNEVEN, 0.0), ("short", UNEVEN[:3], -2.0)):
        slices = series_of(positions, uid)
        for number, ds in enumerate(slices):
            ds.InstanceNumber, ds.RescaleIntercept = number + 1, intercept
        save(tmp_path / "a" / name, slices)
    studies, _ = dicom_series.find_studies(tmp_path / "a")
    assert [len(study.series[0]._frames) for study in studies] == [6, 3]


def test_a_name_that_is_a_uid_is_not_repeated(tmp_path):
    uid = generate_uid()
    folder = save(tmp_path / "a", series_of(uid=uid))
    sheet(uid).save_as(folder / "1.2.840.113619.2.55.3.dcm")
    named = dicom_series.read_series(folder, series_in(folder)[0], with_names=True)
    assert named.notes == ("1 file was left out, not a slice of the scan: UID.dcm",)
    assert read(folder).notes == (SHEET_NOTE.format(len(UNEVEN) + 1),)
    assert left_out.sentence([], left_out.COPY, with_names=True) == []
