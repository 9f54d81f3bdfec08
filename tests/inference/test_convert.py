"""`convert`: files written, kept and refused; test_planted.py checks the positions of the pixels."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

import launch
from ichjax.inference import convert as convert_command
from ichjax.inference.records import ScanRecord

POSITIONS_MM = (0.0, 5.0, 10.0, 15.0)
pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all


@pytest.fixture
def command(tmp_path, capsys):
    """command(*inputs, options): (exit status, what was printed, output folder)."""

    def call(*inputs, options=()):
        words = ["--input", *map(str, inputs), f"--output={tmp_path / 'out'}", *options]
        status = launch.main(["convert", *words])
        printed = capsys.readouterr()
        assert status != 1, printed.err
        return status, printed.out + printed.err, tmp_path / "out"

    return call


def head():
    hu = np.full((4, 32, 32), -1000, np.int16)
    hu[:, 4:28, 4:28] = np.random.default_rng(0).integers(0, 1000, (4, 24, 24))
    return hu


def test_an_exact_series_is_not_resampled(command, ct_series, tmp_path):
    folder = ct_series(tmp_path / "1.2.840.113619.2.55", head(), POSITIONS_MM, ConvolutionKernel="H31s")
    status, text, output = command(folder)
    assert status == 0
    files = {"scan.nii.gz", "scan.json", ".source_key"}  # not named after the UID
    assert {path.name for path in output.iterdir()} == files
    assert "scan: 4 slices, geometry exact; soft tissue is not where it belongs" in text  # random HU
    assert "; no closed skull was found -> " in text
    assert "the face is still in the pixels" in text
    image = nib.load(output / "scan.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, head())
    np.testing.assert_allclose(image.affine, [[-6, 0, 0, 93], [0, -6, 0, 93], [0, 0, 5, 0], [0, 0, 0, 1]])
    record = json.loads((output / "scan.json").read_text())
    assert (record["geometry"], record["slices"], record["kernel"], record["contrast"]) == ("exact", 4, "H31s", False)
    assert record["pixel_mm"] == [6.0, 6.0]
    assert set(record) == set(ScanRecord.__annotations__)
    assert "840" not in (output / "scan.json").read_text()


def test_copies_are_left_out_with_a_warning(command, ct_series, tmp_path):
    folder = ct_series(tmp_path / "a", head(), POSITIONS_MM)
    (folder / "more").mkdir()
    shutil.copy(folder / "01.dcm", folder / "more" / "copy.dcm")
    status, text, output = command(folder)
    note = "1 file was left out, a copy of another slice: file 5 of the input"
    assert status == 0
    assert note in text
    np.testing.assert_array_equal(np.asarray(nib.load(output / "a.nii.gz").dataobj).T, head())
    assert note in json.loads((output / "a.json").read_text())["warnings"]


def test_pixels_in_any_direction(command, ct_series, tmp_path):
    """The JSON holds the position of the first pixel of each slice and the directions of both axes."""
    tags = {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}
    _, _, output = command(ct_series(tmp_path / "a", head(), POSITIONS_MM, **tags))
    record = json.loads((output / "a.json").read_text())
    assert record["slice_origins_mm"] == [[93.0, 93.0, z] for z in POSITIONS_MM]
    assert (record["first_axis"], record["second_axis"]) == ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])  # RAS
    image = nib.load(output / "a.nii.gz")
    np.testing.assert_allclose(image.affine @ [0, 0, 2, 1], [93, 93, 10, 1])
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, head())


def test_a_converted_series_is_kept_without_overwrite(command, ct_series, tmp_path):
    folder = ct_series(tmp_path / "a", head(), POSITIONS_MM)
    _, _, output = command(folder)
    before = (output / "a.nii.gz").stat().st_ino
    assert "a: already done, kept" in command(folder)[1]
    assert (output / "a.nii.gz").stat().st_ino == before
    (output / "a.json").unlink()  # written last: without it the conversion may be incomplete
    command(folder)
    assert (output / "a.nii.gz").stat().st_ino != before
    before = (output / "a.nii.gz").stat().st_ino
    command(folder, options=["--overwrite"])
    assert (output / "a.nii.gz").stat().st_ino != before


def test_files_of_an_earlier_scan_are_refused_without_overwrite(command, ct_series, tmp_path):
    """It lay at the same path."""
    folder = ct_series(tmp_path / "a", head(), POSITIONS_MM)
    _, _, output = command(folder)
    shutil.rmtree(folder)
    ct_series(folder, head() + 1, POSITIONS_MM)
    for removed in ("", "a.json"):
        if removed:
            (output / removed).unlink()
        before = {path: path.stat().st_ino for path in output.iterdir()}
        status, text, _ = command(folder)
        assert status == 2
        assert "another scan; expected another --output, or --overwrite" in text
        assert {path: path.stat().st_ino for path in output.iterdir()} == before
    assert command(folder, options=["--overwrite"])[0] == 0
    assert np.asarray(nib.load(output / "a.nii.gz").dataobj).max() == head().max() + 1


def test_names_stay_when_another_scan_is_added(command, ct_series, tmp_path):
    tags = {"SeriesNumber": 3, "SeriesDescription": "HEAD DOEJANE", "PatientName": "DOEJANE"}
    one, two, three = (
        ct_series(tmp_path / n / "b/c/d/a", head() + k, POSITIONS_MM, **tags) for k, n in enumerate("xyz")
    )
    _, _, output = command(two, three)
    before = {path.name: path.stat().st_ino for path in output.iterdir()}
    assert set(before) == {"a.nii.gz", "a.json", "a_2.nii.gz", "a_2.json", ".source_key"}
    status, text, _ = command(one, two, three, shutil.copytree(three, tmp_path / "copy"))
    after = {path.name: path.stat().st_ino for path in output.iterdir()}
    assert (status, text.count("already done, kept")) == (0, 2)
    assert after.items() > before.items()
    assert set(after) - set(before) == {"a_3.nii.gz", "a_3.json"}
    source = json.loads((output / "a_2.json").read_text())["source"]
    hash_ = source.pop("hash")
    assert source == {"input": 1, "input_path": 2, "series_number": 3, "slices": 4}
    assert not [path for path in output.glob("*.json") if "DOEJANE" in path.read_text()]
    command(one, two, three, options=["--with_paths"])
    source = json.loads((output / "a_2.json").read_text())["source"]
    assert (source["hash"], source["path"], source["series_description"]) == (hash_, str(three), "HEAD DOEJANE")


def test_outputs_are_not_inputs_and_missing_slices_are_reported(command, ct_series, tmp_path):
    ct_series(tmp_path / "out" / "study" / "a", np.repeat(head(), 2, axis=0), (0.0, 5, 10, 15, 30, 35, 40, 45))
    _, text, output = command(tmp_path / "out")
    assert "15.0 mm between slices 4 and 5: slices may be missing" in text
    assert json.loads((output / "a.json").read_text())["warnings"]
    status, text, _ = command(tmp_path / "out")
    assert status == 0
    assert "a: already done, kept" in text
    assert {path.name for path in output.iterdir()} == {"study", "a.nii.gz", "a_world.nii.gz", "a.json", ".source_key"}


def test_a_scan_named_like_another_scans_resampled_copy(command, ct_series, tmp_path):
    folders = [
        ct_series(tmp_path / name, head(), POSITIONS_MM, tilt_degrees=10) for name in ("x_world", "x", "x_world_2")
    ]
    _, _, output = command(*folders)
    assert len({path.name.split(".")[0] for path in output.glob("[!.]*")}) == 6
    assert len(list(output.glob("*.json"))) == 3


def test_an_interrupted_overwrite_leaves_no_old_json(command, ct_series, tmp_path, monkeypatch):
    folder = ct_series(tmp_path / "a", head(), POSITIONS_MM)
    _, _, output = command(folder)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(convert_command, "describe", interrupt)
        assert command(folder, options=["--overwrite"])[0] == 130
    assert not (output / "a.json").exists()
    assert command(folder)[0] == 0
    assert (output / "a.json").exists()


def test_a_folder_without_dicom_is_reported(command, tiny_root):
    status, text, _ = command(tiny_root / "ct_scans")
    assert status == 2
    assert "ct_scans: has no DICOM; expected a folder with a DICOM series" in text


def test_bad_series_do_not_stop_the_others(command, ct_series, tiny_root, tmp_path):
    good = ct_series(tmp_path / "good", head(), POSITIONS_MM)
    bad = ct_series(tmp_path / "bad", head(), (0.0, 5.0, 5.0, 10.0))
    status, text, output = command(bad, tiny_root / "ct_scans" / "049.nii", good, tmp_path / "nowhere")
    assert status == 2
    assert (output / "good.nii.gz").is_file()
    assert not (output / "bad.nii.gz").exists()
    assert "049.nii: has no DICOM; expected a folder with a DICOM series" in text
    assert "lie at the same position" in text
    assert "nowhere: no such file or folder" in text


def test_predict_ignores_the_resampled_copy(command, ct_series, tiny_threshold_run, tmp_path, capsys):
    _, _, output = command(ct_series(tmp_path / "a", head(), POSITIONS_MM, tilt_degrees=15))
    assert (output / "a_world.nii.gz").is_file()
    words = ["predict", f"--workdir={tiny_threshold_run}", f"--input={output}", f"--output={tmp_path / 'predicted'}"]
    assert launch.main(words) == 0
    assert {path.name for path in (tmp_path / "predicted").glob("[!.]*")} == {"a", "worklist.csv", "manifest.json"}
