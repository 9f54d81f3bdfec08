"""Data sets as people have them through the commands: stats, evaluate, crossval and predict."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

import launch
from ichjax.experiment import crossval, score_folder
from ichjax.inference import discover
from ichjax.walk import files_below

pytestmark = pytest.mark.xdist_group("layouts")
NUMBERS = range(49, 58)


def nnunet_names(number):
    return f"imagesTr/ICH_{number}_0000.nii.gz", f"labelsTr/ICH_{number}.nii.gz"


def folder_names(number):
    return f"Data/{number:03d}.nii", f"Ground Truths/{number:03d}_seg.nii.gz"


def bids_names(number):
    stem = f"sub-{number}_ses-a"
    return f"sub-{number}/ses-a/ct/{stem}_ct.nii.gz", f"derivatives/manual/sub-{number}/ses-a/ct/{stem}_mask.nii.gz"


LAYOUTS = {"nnunet": nnunet_names, "folders": folder_names, "bids": bids_names}


@pytest.fixture(params=LAYOUTS)
def layout(request, tiny_root, tmp_path):
    """(a layout's name, the tiny data set in it, a folder with each mask named by the ID of its subject)."""
    root, masks = tmp_path / "root", tmp_path / "masks"
    masks.mkdir()
    for number in NUMBERS:
        scan, path = nib.load(tiny_root / f"ct_scans/{number:03d}.nii"), tiny_root / f"masks/{number:03d}.nii"
        mask = nib.load(path) if path.exists() else nib.Nifti1Image(np.zeros(scan.shape, np.uint8), scan.affine)
        names = LAYOUTS[request.param](number)
        for name, image in zip(names, (scan, mask), strict=True):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            nib.save(image, root / name)
        stem = names[request.param == "nnunet"].rpartition("/")[2].partition(".")[0]
        nib.save(mask, masks / f"{stem.removesuffix('_ct')}.nii.gz")
    if request.param == "nnunet":
        record = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ICH": 1}, "file_ending": ".nii.gz"}
        (root / "dataset.json").write_text(json.dumps(record))
        (masks / "plans.json").write_text("{}")  # beside masks that nnU-Net predicts
    return request.param, root, masks


def call(capsys, *words):
    status = launch.main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return status, said.out + said.err


def test_stats_evaluate_and_crossval(layout, capsys, tiny_config, config_file, tmp_path, monkeypatch):
    name, root, masks = layout
    data = f"--config.data.root={root}"
    status, said = call(capsys, "stats", data)
    assert status == 0, said
    for module in (score_folder, crossval):  # drawing takes most of the time
        monkeypatch.setattr(module, "publish", lambda folder: None)
    status, said = call(capsys, "evaluate", f"--predictions={masks}", data, f"--workdir={tmp_path / 'truth'}")
    assert status == 0, said
    results = json.loads((tmp_path / "truth/results.json").read_text())
    assert len(results["subjects"]) == 9
    assert results["conventions"]["paper"]["dice"]["mean"] == pytest.approx(1.0)
    if name == "nnunet":  # the others would take the same seconds again
        path = config_file(tmp_path, tiny_config(**{"method": "threshold", "compare_with": ()}))
        status, said = call(capsys, "crossval", f"--config={path}", data, f"--workdir={tmp_path / 'run'}")
        assert status == 0, said
        assert len(json.loads((tmp_path / "run/results.json").read_text())["subjects"]) == 9


def test_predict_finds_the_scans_and_not_the_masks(layout):
    name, root, masks = layout
    sources, problems = discover.find_sources([root])
    stems = sorted(path.name.removesuffix(".nii.gz") for path in masks.glob("*.nii.gz"))
    expected = [f"{number:03d}" for number in NUMBERS] if name == "folders" else stems
    assert (sorted(source.name for source in sources), problems) == (expected, [])
    assert all(source.read().shape == (4, 32, 32) for source in sources)
    files = list(files_below(root))
    assert [files[source.file_number - 1] for source in sources] == [source.path for source in sources]


def test_predict_ignores_damaged_labels(layout):
    _, root, _ = layout
    (root / "dataset.json").write_text('{"labels": {"edema": 1}}')
    (root / "labels.csv").write_text("nonsense")
    assert len(discover.find_sources([root])[0]) == 9


def test_the_test_scans_of_nnunet_are_found_as_a_folder_of_their_own(layout):
    name, root, _ = layout
    if name != "nnunet":
        pytest.skip("imagesTs/ is of nnU-Net")
    (root / "imagesTs").mkdir()
    shutil.copy(root / "imagesTr/ICH_49_0000.nii.gz", root / "imagesTs/ICH_90_0000.nii.gz")
    assert [source.name for source in discover.find_sources([root / "imagesTs"])[0]] == ["ICH_90_0000"]
    assert len(discover.find_sources([root])[0]) == 9


def test_an_unpaired_mask_is_named_and_an_unpaired_scan_skipped(layout, capsys):
    name, root, _ = layout
    mask = root / LAYOUTS[name](52)[1]
    lost = mask.with_name(mask.name.replace("52", "99"))
    if name == "bids":
        lost = root / LAYOUTS[name](99)[1]
        lost.parent.mkdir(parents=True)
    mask.rename(lost)
    status, said = call(capsys, "stats", f"--config.data.root={root}")
    assert status == 2
    assert f"{lost.parent.name}/{lost.name}" in said
    scan = root / LAYOUTS[name](52)[0]
    assert f"skipped: {scan.parent.name}/{scan.name} (subject " in said
    assert "has no mask; expected a mask for every scan" in said
