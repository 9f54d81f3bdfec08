"""Input paths to scans: folders of any depth, patterns, links, data sets, and the names of the outputs."""

import pathlib
import shutil

import numpy as np
import pytest

from ichjax.inference import discover

POSITIONS_MM = (0.0, 5.0, 10.0, 15.0)


@pytest.fixture
def scan(tiny_root):
    return tiny_root / "ct_scans" / "049.nii"


def names(paths, **options):
    sources, problems = discover.find_sources(paths, **options)
    return [source.name for source in sources], problems


def test_output_names_are_plain_and_unique(tmp_path, scan):
    paths = [tmp_path / name for name in ("a/x.nii", "b/x.nii", "a/x.nii.gz", "a/é ü.nii", "1.2.840.113619.2.55.3.nii")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        shutil.copy(scan, path)
    assert names(paths) == (["a_x", "b_x", "a_x_2", "é_ü", "scan"], [])


def test_names_stay_when_scans_are_added(tmp_path, scan):
    def add(*numbers):
        for number in numbers:
            folder = tmp_path / "in" / f"sub-{number:02d}" / "anat"
            folder.mkdir(parents=True)
            shutil.copy(scan, folder / "ct.nii")

    add(2, 3)
    before, _ = names([tmp_path / "in"])
    assert before == ["sub-02_anat_ct", "sub-03_anat_ct"]
    add(1)
    assert names([tmp_path / "in"]) == (["sub-01_anat_ct", *before], [])


def test_extensions_in_upper_case(tmp_path, scan):
    for name in ("049.NII.GZ", "050.Nii", "051.nii.gz.txt", "052.niig", "053_world.Nii", "053.Nii", "054_world.nii"):
        shutil.copy(scan, tmp_path / name)
    assert names([tmp_path]) == (["049", "050", "053", "054_world"], [])  # 053_world is a resampled copy of 053


def test_a_file_given_twice_is_one_scan(tmp_path, scan):
    shutil.copy(scan, tmp_path / "a.nii")
    assert names([tmp_path / "a.nii", tmp_path / "*.nii", tmp_path]) == (["a"], [])


@pytest.mark.parametrize("name", ["..", ".", "../../etc", "a/../..", "..nii", "-rf", "a\nb", "=1+1.nii"])
def test_no_output_name_leaves_the_output_folder(name):
    plain = discover._plain_name([pathlib.Path(name).name or name])
    assert (pathlib.Path("/out") / plain).resolve().parent == pathlib.Path("/out")
    assert plain.strip(". \n")


def test_folders_are_searched_at_any_depth(tmp_path, scan, ct_series, tiny_root):
    hu = np.asarray(np.random.default_rng(0).integers(-1000, 1000, (4, 8, 8)), np.int16)
    (tmp_path / "in" / "1" / "2").mkdir(parents=True)
    shutil.copy(scan, tmp_path / "in" / "1" / "2" / "deep.nii")
    shutil.copy(scan, tmp_path / "in" / ".hidden.nii")
    ct_series(tmp_path / "in" / "patient" / "series", hu, POSITIONS_MM)
    (tmp_path / "in" / "out" / "old").mkdir(parents=True)
    shutil.copy(scan, tmp_path / "in" / "out" / "old" / "mask.nii")
    (tmp_path / "in" / "out" / "old" / "prediction.json").write_text("{}")  # an output of predict is not an input
    assert names([tmp_path / "in"]) == (["deep", "series"], [])


def test_patterns(tmp_path, scan):
    for name in ("a1.nii", "a2.nii", "b.nii"):
        shutil.copy(scan, tmp_path / name)
    assert names([tmp_path / "a*.nii"]) == (["a1", "a2"], [])
    assert names([tmp_path / "**" / "?.nii"]) == (["b"], [])
    matches, problems = names([tmp_path / "c*.nii"])
    assert matches == []
    assert "no such file or folder" in problems[0]
    shutil.copy(scan, tmp_path / "d[1].nii")  # a file whose name looks like a pattern
    assert names([tmp_path / "d[1].nii"]) == (["d_1_"], [])


def test_a_data_set_gives_its_scans_but_not_its_masks(tiny_root):
    assert names([tiny_root]) == ([f"{number:03d}" for number in range(49, 58)], [])
    sources, _ = discover.find_sources([tiny_root])
    assert sources[0].read().shape == (4, 32, 32)


def test_a_folder_named_images_is_not_a_data_set(tmp_path, scan, ct_series):
    hu = np.asarray(np.random.default_rng(0).integers(-1000, 1000, (4, 8, 8)), np.int16)
    ct_series(tmp_path / "cd" / "images" / "s1", hu, POSITIONS_MM)
    (tmp_path / "plain" / "images").mkdir(parents=True)
    shutil.copy(scan, tmp_path / "plain" / "images" / "one.nii")
    assert names([tmp_path / "cd", tmp_path / "plain"]) == (["s1", "one"], [])


def test_links_keep_their_names(tmp_path, scan):
    (tmp_path / "4711-key").mkdir()
    shutil.copy(scan, tmp_path / "4711-key" / "blob.nii")
    (tmp_path / "patient7").symlink_to(tmp_path / "4711-key")
    (tmp_path / "p8.nii").symlink_to(tmp_path / "4711-key" / "blob.nii")
    assert names([tmp_path / "p8.nii"]) == (["p8"], [])


def test_linked_folders_are_searched_once(tmp_path, scan, ct_series):
    hu = np.asarray(np.random.default_rng(0).integers(-1000, 1000, (4, 8, 8)), np.int16)
    ct_series(tmp_path / "elsewhere" / "dicom", hu, POSITIONS_MM)
    (tmp_path / "elsewhere" / "nifti").mkdir()
    shutil.copy(scan, tmp_path / "elsewhere" / "nifti" / "one.nii")
    (tmp_path / "in" / "real").mkdir(parents=True)
    shutil.copy(scan, tmp_path / "in" / "real" / "two.nii")
    (tmp_path / "in" / "patA").symlink_to(tmp_path / "elsewhere" / "nifti")
    (tmp_path / "in" / "patB").symlink_to(tmp_path / "elsewhere" / "dicom")
    (tmp_path / "in" / "real" / "loop").symlink_to(tmp_path / "in")
    assert names([tmp_path / "in"]) == (["one", "two", "patB"], [])


def test_another_series_can_be_selected(tmp_path, ct_series, capsys):
    hu = np.asarray(np.random.default_rng(0).integers(-1000, 1000, (4, 8, 8)), np.int16)
    ct_series(tmp_path / "s" / "a", hu, POSITIONS_MM, StudyInstanceUID="1.2")
    ct_series(tmp_path / "s" / "b", hu[:2], POSITIONS_MM[:2], StudyInstanceUID="1.2")
    (first,), _ = discover.find_sources([tmp_path / "s"])
    line = "s: using series 1 (4 slices, 6.000 mm); skipped: series 2 (2 slices, 6.000 mm)"
    assert line in capsys.readouterr().out
    (second,), _ = discover.find_sources([tmp_path / "s"], series=2)
    assert (first.read().shape, second.read().shape) == ((4, 8, 8), (2, 8, 8))
    (third,), _ = discover.find_sources([tmp_path / "s"], series=3)
    with pytest.raises(discover.InputError, match="has 2 CT series; expected --series from 1 to 2, not 3"):
        third.read()
    (none,), _ = discover.find_sources([tmp_path / "s"], series=0)
    with pytest.raises(discover.InputError, match="not 0"):
        none.read()


def test_other_files_are_reported(tmp_path, ct_series, capsys):
    hu = np.asarray(np.random.default_rng(0).integers(-1000, 1000, (4, 8, 8)), np.int16)
    folder = ct_series(tmp_path / "s", hu, POSITIONS_MM)
    (folder / "README.txt").write_text("not DICOM")
    (folder / "notes.pdf").write_bytes(b"%PDF")
    discover.find_sources([folder])
    assert capsys.readouterr().out == "s: skipped 2 files not DICOM\n"
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "README.txt").write_text("not DICOM")
    _, problems = discover.find_sources([tmp_path / "t"])
    assert problems == ["t: holds 1 file not DICOM; expected a NIfTI file or an axial CT series (DICOM)"]
