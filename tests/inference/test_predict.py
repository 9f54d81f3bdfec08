"""Many scans at once: the worklist, what is there already, what befalls a run half-way."""

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
from tests.expected import PREDICTION_FILES

pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all


@pytest.fixture
def command(tiny_threshold_run, tmp_path, capsys):
    """command(*words): (exit status, what was printed, folder of the output)."""

    def call(*inputs, options=()):
        words = [f"--workdir={tiny_threshold_run}", "--input", *map(str, inputs), f"--output={tmp_path / 'out'}"]
        status = launch.main(["predict", *words, *options])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert "defect" not in said.err
        return status, said.out + said.err, tmp_path / "out"

    return call


def worklist(output):
    with (output / "worklist.csv").open() as file:
        return list(csv.DictReader(file))


def inodes(folder):
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def head():
    """int16 [slices, rows, columns]: skull, brain, a bleed, and a table's air."""
    hu = np.zeros((4, 32, 32), np.int16)
    hu[:, 3:29, 3:29], hu[:, 5:27, 5:27], hu[:, 12:18, 12:18], hu[:, :3] = 1000, 30, 65, -1000
    return hu


def test_a_scan_named_as_the_worklist(command, tiny_root, tmp_path):
    shutil.copy(tiny_root / "ct_scans" / "049.nii", tmp_path / "worklist.csv.nii")
    status, _, output = command(tmp_path / "worklist.csv.nii")
    assert status == 0
    assert [row["scan"] for row in worklist(output)] == ["worklist.csv_2"]


def test_the_worklist_begins_with_what_is_most_suspicious(command, tiny_root):
    status, said, output = command(tiny_root)
    rows = worklist(output)
    assert status == 0
    assert {row["scan"] for row in rows} == {f"{number:03d}" for number in range(49, 58)}
    suspicions = [float(row["suspicion"]) for row in rows]
    assert suspicions == sorted(suspicions, reverse=True)
    for row in rows:
        found = json.loads((output / row["scan"] / "prediction.json").read_text())
        assert float(row["volume_ml"]) == pytest.approx(found["volume_ml"], abs=1e-4)
        assert int(row["lesions"]) == len(found["lesions"])
        assert row["positive_slices"] == " ".join(map(str, found["positive_slices"]))
    lines = said.splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("scan ")) + 1 :][: len(rows)]
    assert [line.split()[0] for line in table] == [row["scan"] for row in rows]
    assert "9 predicted, " in said
    assert f"; {output / 'worklist.csv'}\n" in said


def test_a_name_in_any_script(command, tiny_root, tmp_path):
    shutil.copy(tiny_root / "ct_scans" / "049.nii", tmp_path / "患者 é 1.nii")
    status, said, output = command(tmp_path / "患者 é 1.nii")  # warnings, as of a glyph that a font lacks, are errors
    assert status == 0
    assert "患者_é_1: " in said
    assert set(inodes(output / "患者_é_1")) == PREDICTION_FILES
    assert [row["scan"] for row in worklist(output)] == ["患者_é_1"]


def test_the_worklist_keeps_what_was_predicted_before(command, tiny_root, tiny_threshold_run, monkeypatch):
    scans = [tiny_root / "ct_scans" / f"{number:03d}.nii" for number in (49, 50, 52)]
    command(scans[0])
    _, said, output = command(scans[1])
    assert [row["scan"] for row in worklist(output)] == ["049", "050"]
    assert "1 predicted, " in said
    (output / "other").mkdir()
    (output / "other" / "prediction.json").write_text("[]")  # of somebody else's program
    write = outputs.write

    def interrupted(folder, *rest):
        if folder.name == "052":
            raise KeyboardInterrupt
        write(folder, *rest)

    (output / "worklist.csv").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write", interrupted)
        assert command(*scans)[0] == 130
    assert [row["scan"] for row in worklist(output)] == ["049", "050"]


def test_what_is_there_already_is_kept_and_counts(command, tiny_root):
    scans = [tiny_root / "ct_scans" / f"{number:03d}.nii" for number in (49, 50)]
    _, _, output = command(scans[0])
    before = inodes(output / "049")
    status, said, _ = command(*scans)
    assert status == 0
    assert inodes(output / "049") == before
    assert "049: is there already" in said
    assert {row["scan"] for row in worklist(output)} == {"049", "050"}
    status, _, _ = command(*scans, options=["--overwrite"])
    after = inodes(output / "049")
    assert status == 0
    assert set(after) == PREDICTION_FILES
    assert all(after[name] != before[name] for name in PREDICTION_FILES)  # written aside and renamed, never in place


def test_another_scans_prediction_is_never_taken_for_this_ones(command, tiny_root, tmp_path):
    other = tmp_path / "other" / "049.nii"
    other.parent.mkdir()
    shutil.copy(tiny_root / "ct_scans" / "050.nii", other)
    _, _, output = command(tiny_root / "ct_scans" / "049.nii")
    before = (output / "049" / "mask.nii.gz").read_bytes()
    status, said, _ = command(other)
    assert status == 2
    assert "049: holds another scan's prediction; expected another --output, or --overwrite" in said
    assert (output / "049" / "mask.nii.gz").read_bytes() == before


def test_another_runs_prediction_is_not_taken_for_this_ones(command, tiny_root, tiny_threshold_run, tmp_path, capsys):
    """Of the same configuration, but trained otherwise."""
    scan = tiny_root / "ct_scans" / "049.nii"
    _, _, output = command(scan)
    other = shutil.copytree(tiny_threshold_run, tmp_path / "other")
    path = other / "fold_1" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lower": 7}))
    before = inodes(output / "049")
    for run, options in ((other, []), (tiny_threshold_run, ["--fold=0"])):
        words = ["predict", f"--workdir={run}", f"--input={scan}", f"--output={output}", *options]
        assert launch.main(words) == 2
        said = capsys.readouterr().out
        assert (
            "049: holds a prediction by another run or with other settings; expected another --output, or --overwrite"
            in said
        )
        assert inodes(output / "049") == before
    assert launch.main([*words, "--overwrite"]) == 0


def test_what_is_not_whole_is_predicted_again(command, tiny_root):
    scan = tiny_root / "ct_scans" / "049.nii"
    _, _, output = command(scan)
    (output / "049" / "mask.nii.gz").unlink()
    assert command(scan)[0] == 0
    assert set(inodes(output / "049")) == PREDICTION_FILES


def test_a_folder_of_something_else_is_left_alone(command, tiny_root, tmp_path):
    (tmp_path / "out" / "049").mkdir(parents=True)
    (tmp_path / "out" / "049" / "thesis.txt").write_text("years of work")
    status, said, output = command(tiny_root / "ct_scans" / "049.nii")
    assert status == 2
    assert "049: holds something else; expected another --output" in said
    assert "overwrite" not in said
    assert [path.name for path in (output / "049").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("beside", [(), ("thesis.txt",)])
def test_overwrite_takes_nothing_but_predictions_away(command, tiny_root, ct_series, tmp_path, beside):
    """The output is the folder that holds the input; or notes were laid beside a prediction."""
    series = ct_series(tmp_path / "out" / "study", head(), (0.0, 5.0, 10.0, 15.0), StudyInstanceUID="1.2.3")
    for name in beside:
        for path in series.iterdir():
            path.unlink()
        (series / name).write_text("years of work")
        (series / "prediction.json").write_text("{}")
    before = inodes(series)
    source = shutil.copytree(tiny_root / "ct_scans", tmp_path / "study.nii") / "049.nii" if beside else series
    source = source.rename(tmp_path / "study.nii" / "study.nii") if beside else source
    status, said, _ = command(source, options=["--overwrite"])
    assert status == 2
    assert "study: holds something else; expected another --output" in said
    assert inodes(series) == before


def test_a_segmentation_of_another_patient_never_stays(command, ct_series, tmp_path):
    tags = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
    one, other = (
        ct_series(tmp_path / name / "ct", head() + add, (0.0, 5.0, 10.0, 15.0), PatientName=name, **tags)
        for name, add in (("ONE", 0), ("OTHER", 1))
    )
    _, _, output = command(one, options=["--dicom_seg"])
    file = output / "dicom_seg" / "ct.dcm"
    assert pydicom.dcmread(file).PatientName == "ONE"
    stale = file.read_bytes()
    command(other, options=["--overwrite"])
    assert not file.exists()
    file.write_bytes(stale)  # brought back by somebody
    assert command(other, options=["--dicom_seg"])[0] == 0
    assert pydicom.dcmread(file).PatientName == "OTHER"


def test_what_nobody_foresaw_costs_one_scan_and_a_full_disk_all(command, tiny_root, monkeypatch):
    scans = [tiny_root / "ct_scans" / f"{number:03d}.nii" for number in (49, 50, 52)]
    draw, draws = outputs.run_figures.overlay_sheet, []

    def fails(error, *args, **kwargs):
        draws.append(args)
        if len(draws) == 2:
            raise error
        draw(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(outputs.run_figures, "overlay_sheet", functools.partial(fails, MemoryError()))
        status, said, output = command(*scans)
    assert status == 2
    assert "050.nii: cannot be written (unexpected MemoryError)" in said
    assert [bool(row["problem"]) for row in worklist(output)] == [False, False, True]
    assert not (output / "050").exists()
    draws.clear()
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device", "the disk")
        patch.setattr(outputs.run_figures, "overlay_sheet", functools.partial(fails, full))
        status, said, _ = command(*scans, options=["--overwrite"])
    assert status == 2
    assert "the disk: No space left on device" in said
    assert not [path for path in output.iterdir() if path.name.endswith((".part", ".old"))]


def test_what_could_not_be_predicted_has_its_line_too(command, tiny_root, tmp_path):
    (tmp_path / "bad.nii").write_bytes(b"no scan")
    status, said, output = command(tmp_path / "bad.nii", tiny_root / "ct_scans" / "049.nii", tmp_path / "nowhere")
    rows = {row["scan"]: row["problem"] for row in worklist(output)}
    assert status == 2
    assert rows["049"] == ""
    assert "bad.nii: not a readable NIfTI" in rows["bad"]
    assert "nowhere: no such file or folder" in rows[""]
    assert "1 predicted, 2 left out" in said


def test_interrupted_while_writing_nothing_half_is_left(command, tiny_root, tmp_path, monkeypatch):
    scan = tiny_root / "ct_scans" / "049.nii"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outputs.run_figures, "overlay_sheet", interrupted)
        status, _, output = command(scan)
    assert status == 130
    assert [path.name for path in output.iterdir() if path.is_dir()] == []
    (output / ".049.part").mkdir()  # what a kill leaves
    (output / ".049.part" / "mask.nii.gz").write_bytes(b"half")
    (output / ".049.old").mkdir()
    (output / ".049.old" / "mask.nii.gz").write_bytes(b"old")
    status, _, _ = command(scan)
    assert status == 0
    assert {path.name for path in output.iterdir()} == {".claim", "049", "worklist.csv"}
    assert set(inodes(output / "049")) == PREDICTION_FILES


def test_two_at_once_do_not_write_to_one_place(command, tiny_root, tmp_path):
    with claim(tmp_path / "out"):
        status, said, _ = command(tiny_root / "ct_scans" / "049.nii")
    assert status == 2
    assert "another process is working in it" in said


def test_a_probability_on_request(command, tiny_root):
    scan = tiny_root / "ct_scans" / "049.nii"
    _, _, output = command(scan, options=["--probability"])
    image, mask = (nib.load(output / "049" / name) for name in ("probability.nii.gz", "mask.nii.gz"))
    np.testing.assert_array_equal(image.affine, nib.load(scan).affine)
    assert image.get_data_dtype() == np.uint8
    assert image.shape == mask.shape
    assert np.asarray(image.dataobj)[np.asarray(mask.dataobj) > 0].min() > 0


def test_what_is_asked_for_later_is_predicted_again(command, ct_series, tmp_path):
    tags = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
    series = ct_series(tmp_path / "study", head(), (0.0, 5.0, 10.0, 15.0), **tags)
    _, _, output = command(series)
    there = PREDICTION_FILES | {"scan.nii.gz"}
    assert set(inodes(output / "study")) == there
    assert not (output / "dicom_seg").exists()
    for options, more in ((["--probability"], {"probability.nii.gz"}), (["--probability", "--dicom_seg"], set())):
        there |= more
        before = inodes(output / "study")
        status, said, _ = command(series, options=options)
        assert status == 0
        assert "is there already" not in said
        after = inodes(output / "study")
        assert set(after) == there
        assert not set(after.values()) & set(before.values())
    assert [path.name for path in (output / "dicom_seg").iterdir()] == ["study.dcm"]
    for options in ([], ["--probability"], ["--dicom_seg"]):  # less than is there is there
        status, said, _ = command(series, options=options)
        assert "study: is there already" in said
        assert inodes(output / "study") == after


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-rf", "@a", "\tb"])
def test_no_cell_is_a_formula(text):
    assert worklists.safe(text) == "'" + text
    assert worklists.safe("a=b") == "a=b"
    assert worklists.safe(-1.23456) == -1.2346
