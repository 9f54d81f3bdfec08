"""End-to-end geometry: a region planted in a tilted, unevenly spaced DICOM series.

`predict` marks it on the right pixels of the right slices, in NIfTI and in the DICOM Segmentation, with the right
volume; `convert` keeps it in place.
"""

import json
import pathlib
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

import ichjax
import launch

pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all
REAL = pathlib.Path(__file__).parents[2] / "shared" / "data" / "ge_head_ct"
PLANTED_HU = 65
NAMES = ("DOE^JANE", "PID-90210")


def plant(folder, block, hu):
    """Writes `hu` into a block of a series' files, its slices counted from the feet; returns (path, position in LPS) of
    the files in that order."""
    slices, rows, columns = block
    read = [(path, pydicom.dcmread(path)) for path in sorted(folder.glob("*.dcm"))]
    row, column = np.array(read[0][1].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    files = sorted(read, key=lambda one: np.dot(one[1].ImagePositionPatient, normal))
    for k in range(slices.start, slices.stop):
        path, ds = files[k]
        pixels = ds.pixel_array.copy()
        pixels[rows, columns] = round((hu - ds.RescaleIntercept) / ds.RescaleSlope)
        ds.PixelData = pixels.tobytes()
        ds.save_as(path)
    return [(path, np.array(ds.ImagePositionPatient, float)) for path, ds in files]


@pytest.fixture
def run(tiny_threshold_run, tmp_path):
    """A run of the threshold method that marks pixels near `PLANTED_HU`, and so little of a head's noise."""
    shutil.copytree(tiny_threshold_run, tmp_path / "run")
    for path in (tmp_path / "run").glob("fold_*/model.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"lower": 178, "upper": 184}))  # of 255; 64 to 66 HU
    return tmp_path / "run"


def run_on(command, folder, output, *options):
    status = launch.main([*command, "--input", str(folder), f"--output={output}", *options])
    assert status == 0
    return output


@pytest.fixture(params=["real", "synthetic"])
def planted(request, tmp_path, ct_series, tiny_root):
    """(series with a block of air, series with a block of `PLANTED_HU`, the block, its mL by hand, the second series'
    files from the feet up)."""
    before, after = tmp_path / "before" / "case", tmp_path / "after" / "case"
    if request.param == "real":
        if not REAL.is_dir():
            pytest.skip("the real series is missing")
        shutil.copytree(REAL, before, ignore=lambda folder, names: [n for n in names if not n.endswith(".dcm")])
        block = np.s_[10:18, 230:262, 200:240]  # across the gap of 1.08 mm, and from 4.00 to 7.00 mm
        gaps = [4.002] * 3 + [(4.002 + 1.081) / 2, (1.081 + 6.9987) / 2] + [6.9987] * 3
        ml = sum(gaps) * 32 * 40 * 0.4882812**2 / 1000
    else:
        on_screen = np.asarray(nib.load(tiny_root / "ct_scans" / "054.nii").dataobj).transpose(2, 1, 0)[:, ::-1]
        tags = {"StudyInstanceUID": "1.2.3.4", "FrameOfReferenceUID": "1.2.3.5", "PatientName": NAMES[0]}
        ct_series(before, on_screen, (0.0, 5.0, 10.0, 18.0), tilt_degrees=-20, PatientID=NAMES[1], **tags)
        block = np.s_[1:4, 10:16, 12:20]
        ml = (5 + 6.5 + 8) * np.cos(np.radians(20)) * 6 * 8 * 36 / 1000
    shutil.copytree(before, after)
    plant(before, block, -1000)
    files = plant(after, block, PLANTED_HU)
    return before, after, block, ml, files


def test_predict_marks_the_planted_region_in_every_output(planted, run, tmp_path, capsys):
    before, after, block, ml, files = planted
    command = ["predict", f"--workdir={run}"]
    output = run_on(command, after, tmp_path / "out", "--dicom_seg")
    record = json.loads((output / "case" / "prediction.json").read_text())
    mask = np.asarray(nib.load(output / "case" / "mask.nii.gz").dataobj).T.astype(bool)
    trained, volume = ichjax.load_run(run), ichjax.read(before)
    prediction = ichjax.predict(volume, trained)
    mask_before = volume.to_file_grid(prediction.mask).T.astype(bool)
    region = np.zeros(mask.shape, bool)
    region[block] = True
    assert mask[region].all()
    np.testing.assert_array_equal(mask[~region], mask_before[~region])
    assert not mask_before[region].any()
    ml_before = ichjax.describe(trained, volume, prediction)["volume_ml"]
    assert record["volume_ml"] - ml_before == pytest.approx(ml, rel=0.01)
    assert record["geometry"].startswith("approximate")
    assert_frames_match_images(output / "dicom_seg" / "case.dcm", mask, files)
    for name in ("mask", "scan"):
        for suffix in ("", "_world"):
            sitk.ReadImage(str(output / "case" / f"{name}{suffix}.nii.gz"))  # raises if ITK cannot represent the affine
    assert_resampled_in_place(output / "case" / "scan_world.nii.gz", output / "case" / "mask_world.nii.gz", mask, files)
    assert "DICOM Segmentations name the patient" in capsys.readouterr().out
    for name in NAMES:
        for path in (output / "case").iterdir():
            assert name.encode() not in path.read_bytes()


def assert_frames_match_images(path, mask, files):
    """Each frame of the segmentation refers to the right image and has its position, and together they are the mask."""
    ds = pydicom.dcmread(path)
    headers = {pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID: k for k, (file, _) in enumerate(files)}
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    marked = np.zeros_like(mask)
    assert len(frames) == ds.NumberOfFrames == len(ds.PerFrameFunctionalGroupsSequence)
    for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        k = headers[source]
        np.testing.assert_allclose(groups.PlanePositionSequence[0].ImagePositionPatient, files[k][1], atol=1e-3)
        marked[k] = frame.astype(bool)
    np.testing.assert_array_equal(marked, mask)
    first = pydicom.dcmread(files[0][0], stop_before_pixels=True)
    assert (ds.StudyInstanceUID, ds.FrameOfReferenceUID) == (first.StudyInstanceUID, first.FrameOfReferenceUID)
    assert ds.SeriesInstanceUID != first.SeriesInstanceUID
    assert ds.SegmentSequence[0].SegmentLabel == "Intracranial hemorrhage"


def assert_resampled_in_place(scan, mask, truth, files):
    """The resampled mask's center of mass is where the slices' own positions put it, to a millimeter."""
    image, resampled = sitk.ReadImage(str(scan)), sitk.ReadImage(str(mask))
    assert image.GetDirection() == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1))  # LPS: along the patient's axes
    first = pydicom.dcmread(files[0][0], stop_before_pixels=True)
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    spacing = np.array(first.PixelSpacing, float)
    normal = np.cross(row, column)
    positions = np.array([position for _, position in files])
    gaps = np.diff(positions @ normal)
    extent = (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2
    k, r, c = np.nonzero(truth)
    points = positions[k] + r[:, None] * spacing[0] * column + c[:, None] * spacing[1] * row
    # A slice represents half of both gaps, so where they differ its center is not at its own position.
    ahead, behind = (np.concatenate(parts) for parts in ((gaps, gaps[-1:]), (gaps[:1], gaps)))
    shift = (ahead - behind) / 4
    steps = np.diff(positions, axis=0) / gaps[:, None]
    steps = np.concatenate([steps, steps[-1:]])
    expected = np.average(points + shift[k][:, None] * steps[k], axis=0, weights=extent[k])
    index = np.argwhere(sitk.GetArrayFromImage(resampled))[:, ::-1]
    center = resampled.TransformContinuousIndexToPhysicalPoint(index.mean(axis=0))
    np.testing.assert_allclose(center, expected, atol=1.0)
    volume = len(index) * np.prod(resampled.GetSpacing())
    sampling = 0.02 if spacing[0] < 1 else 0.1  # a region of few pixels of 6 mm contains few points of the grid
    assert volume == pytest.approx((truth.sum(axis=(1, 2)) * extent).sum() * spacing.prod(), rel=sampling)


def test_convert_keeps_the_planted_region_in_place(planted, tmp_path, capsys):
    _, after, block, _, files = planted
    output = run_on(["convert"], after, tmp_path / "out")
    assert {path.name for path in output.glob("[!.]*")} == {"case.nii.gz", "case_world.nii.gz", "case.json"}
    image = nib.load(output / "case.nii.gz")
    hu = np.asarray(image.dataobj).T
    assert image.get_data_dtype() == np.int16
    assert (hu[block] == PLANTED_HU).all()
    for k, (path, position) in enumerate(files):
        ds = pydicom.dcmread(path)
        stored = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        np.testing.assert_array_equal(hu[k], np.maximum(stored, -1024))
        header = json.loads((output / "case.json").read_text())
        np.testing.assert_allclose(header["slice_origins_mm"][k], position * [-1, -1, 1], atol=1e-3)
    assert header["tilt_degrees"] == pytest.approx(18.5 if len(files) == 28 else 20, abs=0.01)
    sitk.ReadImage(str(output / "case.nii.gz"))
    world = sitk.ReadImage(str(output / "case_world.nii.gz"))
    # The middle of the block, in patient coordinates: surrounded by planted HU, so interpolation does not change them.
    middle = [(edge.start + edge.stop - 1) // 2 for edge in block]
    first = pydicom.dcmread(files[0][0], stop_before_pixels=True)
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    down_mm, across_mm = map(float, first.PixelSpacing)
    point = files[middle[0]][1] + middle[1] * down_mm * column + middle[2] * across_mm * row
    assert world[world.TransformPhysicalPointToIndex(point.tolist())] == PLANTED_HU
    text = capsys.readouterr().out
    assert "the face is still in the pixels" in text
    assert f"tilted by {header['tilt_degrees']:.1f} degrees" in text
    assert "already done, kept" in (run_on(["convert"], after, output), capsys.readouterr().out)[1]
    for path in output.iterdir():
        for name in NAMES:
            assert name.encode() not in path.read_bytes()
