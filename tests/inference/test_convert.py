"""`convert`: what is written, what is kept, what is refused; where the pixels lie is in test_planted.py."""

import json

import nibabel as nib
import numpy as np
import pytest

import launch
from ichjax.inference import convert as converting

PLACES_MM = (0.0, 5.0, 10.0, 15.0)
pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all


@pytest.fixture
def command(tmp_path, capsys):
    def call(*inputs, options=()):
        words = ["--input", *map(str, inputs), f"--output={tmp_path / 'out'}", *options]
        status = launch.main(["convert", *words])
        said = capsys.readouterr()
        assert "defect" not in said.err
        return status, said.out + said.err, tmp_path / "out"

    return call


def head():
    hu = np.full((4, 32, 32), -1000, np.int16)
    hu[:, 4:28, 4:28] = np.random.default_rng(0).integers(0, 1000, (4, 24, 24))
    return hu


def test_an_exact_series_has_one_form(command, ct_series, tmp_path):
    folder = ct_series(tmp_path / "1.2.840.113619.2.55", head(), PLACES_MM, ConvolutionKernel="H31s")
    status, said, output = command(folder)
    assert status == 0
    assert {path.name for path in output.iterdir()} == {".claim", "scan.nii.gz", "scan.json"}  # a UID is no name
    assert "scan: 4 slices, geometry exact; no closed skull was found -> " in said
    assert "the face is still in the pixels" in said
    image = nib.load(output / "scan.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, head())
    np.testing.assert_allclose(image.affine, [[-6, 0, 0, 93], [0, -6, 0, 93], [0, 0, 5, 0], [0, 0, 0, 1]])
    about = json.loads((output / "scan.json").read_text())
    assert (about["geometry"], about["slices"], about["kernel"], about["contrast"]) == ("exact", 4, "H31s", False)
    assert about["pixel_mm"] == [6.0, 6.0]
    assert "840" not in (output / "scan.json").read_text()


def test_any_direction_of_the_pixels(command, ct_series, tmp_path):
    """The first pixel of each slice, and the directions from there, whatever they are."""
    tags = {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}
    _, _, output = command(ct_series(tmp_path / "a", head(), PLACES_MM, **tags))
    about = json.loads((output / "a.json").read_text())
    assert about["slice_origins_mm"] == [[93.0, 93.0, at] for at in PLACES_MM]
    assert (about["first_axis"], about["second_axis"]) == ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])  # RAS
    image = nib.load(output / "a.nii.gz")
    np.testing.assert_allclose(image.affine @ [0, 0, 2, 1], [93, 93, 10, 1])
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, head())


def test_what_is_there_is_kept_unless_told_otherwise(command, ct_series, tmp_path):
    folder = ct_series(tmp_path / "a", head(), PLACES_MM)
    _, _, output = command(folder)
    before = (output / "a.nii.gz").stat().st_ino
    assert "a: is there already" in command(folder)[1]
    assert (output / "a.nii.gz").stat().st_ino == before
    (output / "a.json").unlink()  # written last: without it the rest may be half of something
    command(folder)
    assert (output / "a.nii.gz").stat().st_ino != before
    before = (output / "a.nii.gz").stat().st_ino
    command(folder, options=["--overwrite"])
    assert (output / "a.nii.gz").stat().st_ino != before


def test_what_is_there_of_another_scan_is_never_taken_for_this_one(command, ct_series, tmp_path):
    one, other = (ct_series(tmp_path / name / "a", head() + add, PLACES_MM) for name, add in (("1", 0), ("2", 1)))
    _, _, output = command(one)
    for without in ("", "a.json"):
        if without:
            (output / without).unlink()
        before = {path: path.stat().st_ino for path in output.iterdir()}
        status, said, _ = command(other)
        assert status == 2
        assert "another scan; expected another --output, or --overwrite" in said
        assert {path: path.stat().st_ino for path in output.iterdir()} == before
    assert command(other, options=["--overwrite"])[0] == 0
    assert np.asarray(nib.load(output / "a.nii.gz").dataobj).max() == head().max() + 1


def test_its_own_outputs_are_no_input_and_missing_slices_are_said(command, ct_series, tmp_path):
    ct_series(tmp_path / "out" / "study" / "a", np.repeat(head(), 2, axis=0), (0.0, 5, 10, 15, 30, 35, 40, 45))
    _, said, output = command(tmp_path / "out")
    assert "15.0 mm between slices 4 and 5: slices may be missing" in said
    assert json.loads((output / "a.json").read_text())["warnings"]
    status, said, _ = command(tmp_path / "out")
    assert status == 0
    assert "a: is there already" in said
    assert {path.name for path in output.iterdir()} == {".claim", "study", "a.nii.gz", "a_world.nii.gz", "a.json"}


def test_a_scan_named_as_anothers_second_form(command, ct_series, tmp_path):
    folders = [ct_series(tmp_path / name, head(), PLACES_MM, tilt_degrees=10) for name in ("x_world", "x", "x_world_2")]
    _, _, output = command(*folders)
    names = {path.name.split(".")[0] for path in output.iterdir()} - {""}
    assert len(names) == 6
    assert len(list(output.glob("*.json"))) == 3


def test_interrupted_while_overwriting_the_old_description_is_gone(command, ct_series, tmp_path, monkeypatch):
    folder = ct_series(tmp_path / "a", head(), PLACES_MM)
    _, _, output = command(folder)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(converting, "describe", interrupted)
        assert command(folder, options=["--overwrite"])[0] == 130
    assert not (output / "a.json").exists()
    assert command(folder)[0] == 0
    assert (output / "a.json").exists()


def test_bad_ones_cost_nothing_but_themselves(command, ct_series, tiny_root, tmp_path):
    good = ct_series(tmp_path / "good", head(), PLACES_MM)
    bad = ct_series(tmp_path / "bad", head(), (0.0, 5.0, 5.0, 10.0))
    status, said, output = command(bad, tiny_root / "ct_scans" / "049.nii", good, tmp_path / "nowhere")
    assert status == 2
    assert (output / "good.nii.gz").is_file()
    assert not (output / "bad.nii.gz").exists()
    assert "049.nii: is no DICOM; expected a folder with a DICOM series" in said
    assert "lie at the same position" in said
    assert "nowhere: no such file or folder" in said


def test_both_forms_are_one_scan_to_predict(command, ct_series, tiny_threshold_run, tmp_path, capsys):
    _, _, output = command(ct_series(tmp_path / "a", head(), PLACES_MM, tilt_degrees=15))
    assert (output / "a_world.nii.gz").is_file()
    words = ["predict", f"--workdir={tiny_threshold_run}", f"--input={output}", f"--output={tmp_path / 'predicted'}"]
    assert launch.main(words) == 0
    assert {path.name for path in (tmp_path / "predicted").iterdir()} == {".claim", "a", "worklist.csv"}
