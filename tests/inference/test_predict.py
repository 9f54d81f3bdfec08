"""The `predict` command on many scans: worklist, predictions that are kept, interruptions and errors."""

import csv
import errno
import functools
import json
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest

import launch
from ichjax.files import claim
from ichjax.inference import output as outputs
from ichjax.inference import worklist as worklists
from ichjax.inference.records import PredictionRecord
from tests.expected import PREDICTION_FILES

pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all


@pytest.fixture
def command(predict_command, tmp_path):
    """command(*inputs, options): (exit status, what was printed, output folder)."""
    return lambda *inputs, options=(): (*predict_command(*inputs, options=options), tmp_path / "out")


def worklist(output):
    with (output / "worklist.csv").open() as file:
        return list(csv.DictReader(file))


def inodes(folder):
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def head():
    """int16 [slices, rows, columns]: skull, brain, a bleed, and air."""
    hu = np.zeros((4, 32, 32), np.int16)
    hu[:, 3:29, 3:29], hu[:, 5:27, 5:27], hu[:, 12:18, 12:18], hu[:, :3] = 1000, 30, 65, -1000
    return hu


def test_a_scan_named_like_the_worklist_gets_another_name(command, tiny_root, tmp_path):
    shutil.copy(tiny_root / "ct_scans" / "049.nii", tmp_path / "worklist.csv.nii")
    status, _, output = command(tmp_path / "worklist.csv.nii")
    assert status == 0
    assert [row["scan"] for row in worklist(output)] == ["worklist.csv_2"]


def test_the_jpeg_release_is_predicted_with_nominal_volumes(command, tmp_path):
    assert launch.main(["phantom", f"--output={tmp_path / 'jpeg'}", "--layout=jpeg", "--subjects=1"]) == 0
    status, text, output = command(tmp_path / "jpeg")
    assert status == 0
    (row,) = worklist(output)
    (warning,) = [text for text in row["warnings"].split("; ") if "nominal" in text]
    assert warning in json.loads((output / row["scan"] / "prediction.json").read_text())["warnings"]
    assert warning in text
    assert "all mm and mL are nominal" in warning


def test_the_worklist_is_sorted_by_suspicion(command, tiny_root):
    status, text, output = command(tiny_root)
    rows = worklist(output)
    assert status == 0
    assert {row["scan"] for row in rows} == {f"{number:03d}" for number in range(49, 58)}
    suspicions = [float(row["suspicion"]) for row in rows]
    assert suspicions == sorted(suspicions, reverse=True)
    for row in rows:
        record = json.loads((output / row["scan"] / "prediction.json").read_text())
        assert float(row["volume_ml"]) == pytest.approx(record["volume_ml"], abs=1e-4)
        assert int(row["lesions"]) == len(record["lesions"])
        assert row["positive_slices"] == " ".join(map(str, record["positive_slices"]))
    lines = text.splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("scan ")) + 1 :][: len(rows)]
    assert [line.split()[0] for line in table] == [row["scan"] for row in rows]
    assert "9 predicted, " in text
    assert f"; {output / 'worklist.csv'}\n" in text


def test_names_in_any_script(command, tiny_root, tmp_path):
    shutil.copy(tiny_root / "ct_scans" / "049.nii", tmp_path / "患者 é 1.nii")
    status, text, output = command(tmp_path / "患者 é 1.nii")  # fails on a warning, as of a glyph missing in the font
    assert status == 0
    assert "患者_é_1: " in text
    assert set(inodes(output / "患者_é_1")) == PREDICTION_FILES
    assert [row["scan"] for row in worklist(output)] == ["患者_é_1"]


def test_the_worklist_keeps_earlier_predictions(command, tiny_root, tiny_threshold_run, monkeypatch):
    scans = [tiny_root / "ct_scans" / f"{number:03d}.nii" for number in (49, 50, 52)]
    command(scans[0])
    _, text, output = command(scans[1])
    assert [row["scan"] for row in worklist(output)] == ["049", "050"]
    assert "1 predicted, " in text
    (output / "other").mkdir()
    (output / "other" / "prediction.json").write_text("[]")  # written by another program
    write = outputs.write

    def interrupt(folder, *rest):
        if folder.name == "052":
            raise KeyboardInterrupt
        write(folder, *rest)

    (output / "worklist.csv").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write", interrupt)
        assert command(*scans)[0] == 130
    assert [row["scan"] for row in worklist(output)] == ["049", "050"]


def test_existing_predictions_are_kept_and_listed(command, tiny_root):
    scans = [tiny_root / "ct_scans" / f"{number:03d}.nii" for number in (49, 50)]
    _, _, output = command(scans[0])
    before = inodes(output / "049")
    status, text, _ = command(*scans)
    assert status == 0
    assert inodes(output / "049") == before
    assert "049: already done, kept" in text
    assert {row["scan"] for row in worklist(output)} == {"049", "050"}
    status, _, _ = command(*scans, options=["--overwrite"])
    after = inodes(output / "049")
    assert status == 0
    assert set(after) == PREDICTION_FILES
    assert all(after[name] != before[name] for name in PREDICTION_FILES)  # written to a new folder, never in place


def test_a_prediction_without_a_schema_is_kept_and_listed(command, tiny_root):
    """So are those of versions before the field."""
    scans = [tiny_root / "ct_scans" / f"{number:03d}.nii" for number in (49, 50)]
    _, _, output = command(scans[0])
    path = output / "049" / "prediction.json"
    record = json.loads(path.read_text())
    assert set(record) == PredictionRecord.__required_keys__ | {
        *("volume_interval_missing", "seconds", "source", "peak_memory_mb")
    }
    assert record.pop("schema") == 2
    del record["volume_interval_ml"], record["volume_interval_missing"]
    path.write_text(json.dumps(record))
    before = worklist(output)
    assert before[0]["volume_interval_ml"] == ""
    assert "049: already done, kept" in command(scans[0])[1]
    assert worklist(output) == before
    command(scans[1])
    assert {row["scan"] for row in worklist(output)} == {"049", "050"}
    assert json.loads(path.read_text()) == record


def test_a_prediction_with_a_newer_schema_is_refused(command, tiny_root):
    scan = tiny_root / "ct_scans" / "049.nii"
    _, _, output = command(scan)
    path = output / "049" / "prediction.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 3}))
    before = inodes(output / "049")
    status, text, _ = command(scan)
    assert status == 2
    assert "049/prediction.json: has schema 3; expected at most 2" in text
    assert inodes(output / "049") == before


def test_the_prediction_of_an_earlier_scan_at_the_same_path_is_refused(command, tiny_root, tmp_path):
    scan = shutil.copy(tiny_root / "ct_scans" / "049.nii", tmp_path)
    _, _, output = command(scan)
    before = (output / "049" / "mask.nii.gz").read_bytes()
    shutil.copy(tiny_root / "ct_scans" / "050.nii", scan)
    status, text, _ = command(scan)
    assert status == 2
    assert "049: holds another scan's prediction; expected another --output, or --overwrite" in text
    assert (output / "049" / "mask.nii.gz").read_bytes() == before
    assert command(scan, options=["--overwrite"])[0] == 0
    assert (output / "049" / "mask.nii.gz").read_bytes() != before


def test_another_runs_prediction_is_refused(command, tiny_root, tiny_threshold_run, tmp_path, capsys):
    """The other run has the same configuration but other parameters, or another choice of folds."""
    scan = tiny_root / "ct_scans" / "049.nii"
    _, _, output = command(scan)
    other = shutil.copytree(tiny_threshold_run, tmp_path / "other")
    path = other / "fold_1" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lower": 7}))
    before = inodes(output / "049")
    for run, options in ((other, []), (tiny_threshold_run, ["--fold=0"])):
        words = ["predict", f"--workdir={run}", f"--input={scan}", f"--output={output}", *options]
        assert launch.main(words) == 2
        message = "holds a prediction by another run or with other settings; expected another --output, or --overwrite"
        assert f"049: {message}" in capsys.readouterr().out
        assert inodes(output / "049") == before
    assert launch.main([*words, "--overwrite"]) == 0


def test_an_incomplete_prediction_is_predicted_again(command, tiny_root):
    scan = tiny_root / "ct_scans" / "049.nii"
    _, _, output = command(scan)
    (output / "049" / "mask.nii.gz").unlink()
    assert command(scan)[0] == 0
    assert set(inodes(output / "049")) == PREDICTION_FILES


def test_a_folder_with_other_files_is_not_touched(command, tiny_root, tmp_path):
    (tmp_path / "out" / "049").mkdir(parents=True)
    (tmp_path / "out" / "049" / "thesis.txt").write_text("years of work")
    status, text, output = command(tiny_root / "ct_scans" / "049.nii")
    assert status == 2
    assert "049: holds something else; expected another --output" in text
    assert "overwrite" not in text
    assert [path.name for path in (output / "049").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("extra", [(), ("thesis.txt",)])
def test_overwrite_removes_nothing_but_predictions(command, tiny_root, ct_series, tmp_path, extra):
    """The output is the folder that holds the input, or there are other files next to a prediction."""
    series = ct_series(tmp_path / "out" / "study", head(), (0.0, 5.0, 10.0, 15.0), StudyInstanceUID="1.2.3")
    for name in extra:
        for path in series.iterdir():
            path.unlink()
        (series / name).write_text("years of work")
        (series / "prediction.json").write_text("{}")
    before = inodes(series)
    source = shutil.copytree(tiny_root / "ct_scans", tmp_path / "study.nii") / "049.nii" if extra else series
    source = source.rename(tmp_path / "study.nii" / "study.nii") if extra else source
    status, text, _ = command(source, options=["--overwrite"])
    assert status == 2
    assert "study: holds something else; expected another --output" in text
    assert inodes(series) == before


def test_odd_images_of_a_series_are_left_out_with_a_warning(command, ct_series, tmp_path):
    """A dose sheet, a color capture and two copies: the mask stays; warnings number or name the files."""
    tags = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "PatientName": "DOE^JOHN"}
    plain = ct_series(tmp_path / "plain", head(), (0.0, 5.0, 10.0, 15.0), SeriesInstanceUID="1.2.3.4", **tags)
    odd = shutil.copytree(plain, tmp_path / "odd")
    (odd / "again").mkdir()
    shutil.copy(odd / "01.dcm", odd / "01 (1).dcm")
    shutil.copy(odd / "02.dcm", odd / "again" / "02b.dcm")
    sheet = pydicom.dcmread(odd / "00.dcm")
    sheet.ImageType = ["DERIVED", "SECONDARY", "DOE JOHN"]
    del sheet.ImagePositionPatient, sheet.ImageOrientationPatient
    sheet.save_as(odd / "0 sheet.dcm")
    sheet.SamplesPerPixel, sheet.SOPClassUID = 3, pydicom.uid.SecondaryCaptureImageStorage
    sheet.save_as(odd / "zz.dcm")
    status, text, output = command(plain, odd, options=["--dicom_seg"])
    assert status == 0, text
    masks = [np.asarray(nib.load(output / name / "mask.nii.gz").dataobj) for name in ("plain", "odd")]
    np.testing.assert_array_equal(*masks)
    records = [json.loads((output / name / "prediction.json").read_text()) for name in ("plain", "odd")]
    notes = [
        "2 files were left out, not slices of the scan: files 1, 7 of the input",
        "2 files were left out, copies of other slices: files 3, 8 of the input",
    ]
    assert [warning for warning in records[1]["warnings"] if warning not in records[0]["warnings"]] == notes
    (row,) = (row for row in worklist(output) if row["scan"] == "odd")
    assert "; ".join(notes) in row["warnings"]
    for name in ("plain", "odd"):
        assert pydicom.dcmread(output / "dicom_seg" / f"{name}.dcm").Rows == 32
    for path in (output / "odd" / "prediction.json", output / "worklist.csv"):
        assert "DOE" not in path.read_text()
    command(odd, options=["--with_paths", "--overwrite"])
    warnings = json.loads((output / "odd" / "prediction.json").read_text())["warnings"]
    assert "2 files were left out, not slices of the scan: 0 sheet.dcm, zz.dcm" in warnings
    assert "2 files were left out, copies of other slices: 01 (1).dcm, 02b.dcm" in warnings


def test_a_segmentation_of_an_earlier_scan_is_removed_or_replaced(command, ct_series, tmp_path):
    """Another study of the patient lies at the same path."""
    tags = {"FrameOfReferenceUID": "1.2.4", "PatientName": "DOE"}
    scan = ct_series(tmp_path / "ct", head(), (0.0, 5.0, 10.0, 15.0), StudyInstanceUID="1.2.3", **tags)
    _, _, output = command(scan, options=["--dicom_seg"])
    file = output / "dicom_seg" / "ct.dcm"
    assert pydicom.dcmread(file).StudyInstanceUID == "1.2.3"
    stale = file.read_bytes()
    shutil.rmtree(scan)
    ct_series(scan, head() + 1, (0.0, 5.0, 10.0, 15.0), StudyInstanceUID="1.2.5", **tags)
    command(scan, options=["--overwrite"])
    assert not file.exists()
    file.write_bytes(stale)  # restored by a user
    assert command(scan, options=["--dicom_seg"])[0] == 0
    assert pydicom.dcmread(file).StudyInstanceUID == "1.2.5"


def test_an_unexpected_error_stops_one_scan_and_a_full_disk_all(command, tiny_root, monkeypatch):
    scans = [tiny_root / "ct_scans" / f"{number:03d}.nii" for number in (49, 50, 52)]
    draw, draws = outputs.run_figures.overlay_sheet, []

    def fail(error, *args, **kwargs):
        draws.append(args)
        if len(draws) == 2:
            raise error
        draw(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(outputs.run_figures, "overlay_sheet", functools.partial(fail, MemoryError()))
        status, text, output = command(*scans)
    assert status == 2
    assert "050.nii: cannot be written (unexpected MemoryError)" in text
    assert [bool(row["problem"]) for row in worklist(output)] == [False, False, True]
    assert not (output / "050").exists()
    draws.clear()
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device", "the disk")
        patch.setattr(outputs.run_figures, "overlay_sheet", functools.partial(fail, full))
        status, text, _ = command(*scans, options=["--overwrite"])
    assert status == 2
    assert "the disk: No space left on device" in text
    assert not [path for path in output.iterdir() if path.name.endswith((".part", ".old"))]


def test_skipped_scans_have_rows_in_the_worklist(command, tiny_root, tmp_path):
    (tmp_path / "bad.nii").write_bytes(b"no scan")
    status, text, output = command(tmp_path / "bad.nii", tiny_root / "ct_scans" / "049.nii", tmp_path / "nowhere")
    rows = {row["scan"]: row["problem"] for row in worklist(output)}
    assert status == 2
    assert rows["049"] == ""
    assert "bad.nii: not a readable NIfTI" in rows["bad"]
    assert "nowhere: no such file or folder" in rows[""]
    assert "1 predicted, 2 skipped" in text


def test_an_interruption_while_writing_leaves_nothing_incomplete(command, tiny_root, tmp_path, monkeypatch):
    scan = tiny_root / "ct_scans" / "049.nii"

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outputs.run_figures, "overlay_sheet", interrupt)
        status, _, output = command(scan)
    assert status == 130
    assert [path.name for path in output.iterdir() if path.is_dir()] == []
    (output / ".049.part").mkdir()  # left by a process that was killed
    (output / ".049.part" / "mask.nii.gz").write_bytes(b"half")
    (output / ".049.old").mkdir()
    (output / ".049.old" / "mask.nii.gz").write_bytes(b"old")
    status, _, _ = command(scan)
    assert status == 0
    assert {path.name for path in output.iterdir()} == {"049", "worklist.csv", "manifest.json", ".source_key"}
    assert set(inodes(output / "049")) == PREDICTION_FILES


def test_two_processes_do_not_write_to_one_folder(command, tiny_root, tmp_path):
    with claim(tmp_path / "out"):
        status, text, _ = command(tiny_root / "ct_scans" / "049.nii")
    assert status == 2
    assert "another process is working in it" in text


def test_the_probability_is_written_on_request(command, tiny_root):
    scan = tiny_root / "ct_scans" / "049.nii"
    _, _, output = command(scan, options=["--probability"])
    image, mask = (nib.load(output / "049" / name) for name in ("probability.nii.gz", "mask.nii.gz"))
    np.testing.assert_array_equal(image.affine, nib.load(scan).affine)
    assert image.get_data_dtype() == np.uint8
    assert image.shape == mask.shape
    assert np.asarray(image.dataobj)[np.asarray(mask.dataobj) > 0].min() > 0


def test_a_scan_is_predicted_again_for_additional_outputs(command, ct_series, tmp_path):
    tags = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
    series = ct_series(tmp_path / "study", head(), (0.0, 5.0, 10.0, 15.0), **tags)
    _, _, output = command(series)
    expected = PREDICTION_FILES | {"scan.nii.gz"}
    assert set(inodes(output / "study")) == expected
    assert not (output / "dicom_seg").exists()
    for options, more in ((["--probability"], {"probability.nii.gz"}), (["--probability", "--dicom_seg"], set())):
        expected |= more
        before = inodes(output / "study")
        status, text, _ = command(series, options=options)
        assert status == 0
        assert "already done" not in text
        after = inodes(output / "study")
        assert set(after) == expected
        assert not set(after.values()) & set(before.values())
    assert [path.name for path in (output / "dicom_seg").iterdir()] == ["study.dcm"]
    for options in ([], ["--probability"], ["--dicom_seg"]):  # all of these exist already
        status, text, _ = command(series, options=options)
        assert "study: already done, kept" in text
        assert inodes(output / "study") == after


def test_a_segmentation_that_cannot_be_written_costs_neither_the_mask_nor_other_scans(command, ct_series, tmp_path):
    tags = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "PatientName": "DOE^JANE"}
    series = ct_series(tmp_path / "series", head(), (0.0, 5.0, 10.0, 15.0), **tags)
    other = ct_series(tmp_path / "other", head() + 1, (0.0, 5.0, 10.0, 15.0), **tags)
    _, _, output = command(series, other)
    mask = (output / "series" / "mask.nii.gz").read_bytes()
    for k, path in enumerate(series.glob("*.dcm")):
        ds = pydicom.dcmread(path)
        ds.FrameOfReferenceUID = f"1.2.99.{k}"
        ds.save_as(path)
    for again in (False, True):
        status, text, _ = command(series, other, options=["--dicom_seg"])
        assert status == 2
        assert text.count("already done, kept") == (2 if again else 0)
        assert (output / "series" / "mask.nii.gz").read_bytes() == mask
        assert [path.name for path in (output / "dicom_seg").iterdir()] == ["other.dcm"]
        problem = json.loads((output / "series" / "prediction.json").read_text())["dicom_seg_problem"]
        assert problem.startswith("no DICOM Segmentation of series: 00.dcm and 3 more: have 4 values of Frame")
        assert "1.2.99" not in text + problem
        rows = {row["scan"]: row for row in worklist(output)}
        assert (rows["series"]["problem"], rows["other"]["problem"]) == (problem, "")
        assert float(rows["series"]["volume_ml"]) >= 0
    assert command(series, other)[0] == 2  # what was asked for earlier is still missing


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-rf", "@a", "\tb"])
def test_no_cell_of_the_worklist_is_a_formula(text):
    assert worklists.to_cell(text) == "'" + text
    assert worklists.to_cell("a=b") == "a=b"
    assert worklists.to_cell(-1.23456) == -1.2346


def test_the_series_that_was_read_is_named_in_the_record_and_the_worklist(command, tiny_root, ct_series, tmp_path):
    study = {"StudyInstanceUID": "1.2.3", "SeriesDescription": "HEAD DOEJANE"}
    ct_series(tmp_path / "s" / "plain", head(), (0.0, 5.0, 10.0, 15.0), SeriesNumber=4, **study)
    ct_series(
        tmp_path / "s" / "agent", head(), (0.0, 5.0, 10.0, 15.0), SeriesNumber=3, ContrastBolusAgent="IODINE", **study
    )
    nifti = tiny_root / "ct_scans" / "049.nii"
    status, text, output = command(tmp_path / "s", nifti)
    assert status == 0
    record = json.loads((output / "s" / "prediction.json").read_text())
    assert record["series"] == {
        "rank": 1,
        "number": 4,
        "slices": 4,
        "left_out": [{"rank": 2, "number": 3, "slices": 4, "reason": "contrast"}],
    }
    assert "series" not in json.loads((output / "049" / "prediction.json").read_text())
    assert {row["scan"]: row["series"] for row in worklist(output)} == {
        "s": "number 4 (4 slices); left out: number 3 (4 slices): contrast",
        "049": "",
    }
    assert "DOEJANE" not in text + (output / "s" / "prediction.json").read_text()


def test_a_series_with_contrast_alone_is_predicted_with_a_warning(command, ct_series, tmp_path):
    ct_series(tmp_path / "s", head(), (0.0, 5.0, 10.0, 15.0), SeriesDescription="Kopf mit KM DOEJANE")
    _, text, output = command(tmp_path / "s")
    record = json.loads((output / "s" / "prediction.json").read_text())
    assert record["warnings"][0] == "series: contrast"
    assert record["series"] == {"rank": 1, "number": None, "slices": 4, "left_out": []}
    (row,) = worklist(output)
    assert row["warnings"].startswith("series: contrast")
    assert row["series"] == "series 1 (4 slices)"
    assert "DOEJANE" not in text
