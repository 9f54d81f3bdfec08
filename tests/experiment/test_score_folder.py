"""`evaluate`: masks and probabilities made elsewhere, scored as a run's own are; and files that cannot be."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.errors import InputError
from ichjax.experiment import score_folder
from tests.commands import call

pytestmark = pytest.mark.xdist_group("score_folder")


def evaluate(folder, root, *words):
    return call("evaluate", f"--predictions={folder}", f"--config.data.root={root}", *words)


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture
def truth(tiny_root, tmp_path):
    """A folder with each subject's own truth as its prediction, in files named as others name them."""
    folder = tmp_path / "made_elsewhere"
    folder.mkdir()
    for number in range(49, 58):
        scan = nib.load(tiny_root / "ct_scans" / f"{number:03d}.nii")
        path = tiny_root / "masks" / f"{number:03d}.nii"
        mask = np.asarray(nib.load(path).dataobj) if path.exists() else np.zeros(scan.shape)
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), scan.affine), folder / f"ICH_{number:04d}.nii.gz")
    return folder


def save(path, array, like):
    nib.save(nib.Nifti1Image(array, nib.load(like).affine), path)


def array_of(path):
    return np.asarray(nib.load(path).dataobj)


def test_the_truth_itself_scores_one_in_every_convention(truth, tiny_root, tmp_path):
    status, said = evaluate(truth, tiny_root, f"--workdir={tmp_path / 'out'}", "--name=oracle")
    assert status == 0, said
    results = results_of(tmp_path / "out")
    assert results["method"] == "oracle"
    for convention in ("paper", "pooled", "volume", "challenge", "all_slices"):
        assert results["conventions"][convention]["dice"]["mean"] == pytest.approx(1.0)
    assert results["hemorrhage_free"]["false_positive_ml"] == 0.0
    assert [row["threshold"] for row in results["slice_detection"]] == [0.5]  # a mask is the same at all of them
    assert {row["fold"] for row in results["subjects"]} == {None}
    for name in ("report.html", "tables/summary.csv", "predictions/049.nii.gz", "config.json"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert "oracle" in said


def test_without_a_work_directory_it_only_prints(truth, tiny_root, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    status, said = evaluate(truth, tiny_root)
    assert status == 0
    assert "1.000" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_runs_own_masks_score_as_the_run_did(tiny_threshold_run, tiny_root, tmp_path, monkeypatch):
    monkeypatch.setattr(score_folder, "publish", lambda place: None)
    status, _ = evaluate(tiny_threshold_run / "predictions", tiny_root, f"--workdir={tmp_path / 'out'}")
    assert status == 0
    run, again = results_of(tiny_threshold_run), results_of(tmp_path / "out")
    dice = {row["subject"]: row["dice"] for row in run["subjects"]}
    assert {row["subject"]: row["dice"] for row in again["subjects"]} == dice
    assert again["beyond"]["surface"] == run["beyond"]["surface"]


def test_the_output_of_predict_scores_as_the_run_did(tiny_threshold_run, tiny_root, tmp_path, monkeypatch):
    """Each scan is predicted by the fold that held it out."""
    monkeypatch.setattr(score_folder, "publish", lambda place: None)
    status, said = call(
        "predict", f"--workdir={tiny_threshold_run}", f"--output={tmp_path / 'masks'}", "--input", tiny_root
    )
    assert status == 0, said
    status, said = evaluate(tmp_path / "masks", tiny_root, f"--workdir={tmp_path / 'out'}")
    assert status == 0, said
    run, again = results_of(tiny_threshold_run), results_of(tmp_path / "out")
    dice = {row["subject"]: row["dice"] for row in run["subjects"]}
    assert {row["subject"]: row["dice"] for row in again["subjects"]} == dice


def test_endings_in_upper_case_are_scored_too(truth, tiny_root, tmp_path):
    """As `predict` reads them: 049.NII.GZ, 050.Nii."""
    folder = tmp_path / "upper"
    folder.mkdir()
    shutil.copy(truth / "ICH_0049.nii.gz", folder / "049.NII.GZ")
    mask = nib.load(truth / "ICH_0050.nii.gz")
    (folder / "050.Nii").write_bytes(mask.to_bytes())
    _, said = evaluate(folder, tiny_root, f"--workdir={tmp_path / 'out'}")
    results = results_of(tmp_path / "out")
    assert [row["subject"] for row in results["subjects"]] == [49, 50], said
    assert results["conventions"]["volume"]["dice"]["mean"] == 1.0


@pytest.mark.parametrize("kind", ["0 and 255", "labels", "float mask", "other axes", "probability", "8 bits"])
def test_what_others_write_is_understood(truth, tiny_root, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(score_folder, "publish", lambda place: None)  # drawing takes most of the time
    for path in truth.iterdir():
        mask = array_of(path)
        affine = nib.load(path).affine
        if kind == "0 and 255":
            mask = (mask * 255).astype(np.int16)
        elif kind == "labels":
            mask = mask * 4
        elif kind == "float mask":
            mask = mask.astype(np.float32)
        elif kind == "other axes":
            mask, affine = (
                mask.transpose(2, 0, 1)[::-1],
                affine @ np.array([[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, mask.shape[2] - 1], [0, 0, 0, 1.0]]),
            )
        elif kind == "probability":
            mask = (mask * 0.7 + 0.1).astype(np.float32)
        else:
            mask = (mask * 150 + 40).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, affine), path)
    status, said = evaluate(truth, tiny_root, f"--workdir={tmp_path / 'out'}")
    assert status == 0, said
    results = results_of(tmp_path / "out")
    assert results["conventions"]["volume"]["dice"]["mean"] == pytest.approx(1.0)
    probability = kind in ("probability", "8 bits")
    assert results["scored"] == ["probability" if probability else "mask"]
    assert len(results["slice_detection"]) == (5 if probability else 1)


def test_low_probabilities_of_8_bits_are_no_labels(truth, tiny_root, tmp_path, monkeypatch):
    """As `crossval` writes them of scans without a hemorrhage: nothing in them is above a threshold."""
    monkeypatch.setattr(score_folder, "publish", lambda place: None)
    for path in truth.iterdir():
        mask = array_of(path)
        save(path, (np.where(mask, 200, 2) if mask.any() else np.full(mask.shape, 3)).astype(np.uint8), path)
    status, said = evaluate(truth, tiny_root, f"--workdir={tmp_path / 'out'}")
    assert status == 0, said
    results = results_of(tmp_path / "out")
    assert results["scored"] == ["probability"]
    assert results["conventions"]["volume"]["dice"]["mean"] == 1.0
    assert results["hemorrhage_free"]["false_positive_ml"] == 0.0


def test_masks_beside_a_file_of_many_levels_are_refused(truth, tiny_root):
    path = truth / "ICH_0049.nii.gz"
    save(path, np.arange(array_of(path).size).reshape(array_of(path).shape).astype(np.uint8), path)
    status, said = evaluate(truth, tiny_root)
    assert status == 2
    assert said.count("labels or low 8-bit probabilities") == 5  # six subjects bleed
    assert "ICH_0050.nii.gz: holds whole numbers up to 1, which are labels" in said


def test_each_bad_file_is_named_and_the_others_are_scored(truth, tiny_root, tmp_path):
    like = truth / "ICH_0049.nii.gz"
    mask = array_of(like)
    save(truth / "ICH_0049.nii.gz", np.full(mask.shape, 1.5, np.float32), like)
    save(truth / "ICH_0050.nii.gz", np.where(mask > 0, np.nan, 0.0).astype(np.float32), like)
    save(truth / "ICH_0051.nii.gz", mask[:-1], like)
    moved = nib.load(like).affine.copy()
    moved[2, 3] += 40
    nib.save(nib.Nifti1Image(mask, moved), truth / "ICH_0052.nii.gz")
    (truth / "ICH_0053.nii.gz").write_bytes(b"no NIfTI at all")
    (truth / "ICH_0054.nii.gz").unlink()
    save(truth / "ICH_0077.nii.gz", mask, like)
    shutil.copy(truth / "ICH_0056.nii.gz", truth / "56.nii.gz")
    status, said = evaluate(truth, tiny_root, f"--workdir={tmp_path / 'out'}")
    assert status == 2
    for sentence in (
        "ICH_0049.nii.gz: values lie in 1.5 to 1.5; expected a mask",
        "ICH_0050.nii.gz: holds voxels that are not finite",
        "ICH_0051.nii.gz: the mask's shape is",
        "ICH_0052.nii.gz: lies up to 40.00 mm away",
        "ICH_0053.nii.gz: not a readable NIfTI",
        "subjects 54: no file among the predictions",
        "files that do not belong to exactly one subject of the data set: ICH_0077.nii.gz",
        "subject 56: 2 files (56.nii.gz, ICH_0056.nii.gz); expected one",
    ):
        assert f"skipped: {sentence}" in said
    results = results_of(tmp_path / "out")
    assert [row["subject"] for row in results["subjects"]] == [55, 57]
    assert results["left_out_unreadable"] == [49, 50, 51, 52, 53, 54, 56]


def test_folders_that_cannot_be(truth, tiny_root, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "strangers").mkdir()
    shutil.copy(truth / "ICH_0049.nii.gz", tmp_path / "strangers" / "patient_12.nii.gz")
    for folder, sentence in (
        ("nowhere", "no such folder"),
        ("empty", "holds no .nii or .nii.gz file"),
        ("strangers", "none of its 1 files belongs to a subject of the data set (patient_12.nii.gz)"),
    ):
        status, said = evaluate(tmp_path / folder, tiny_root)
        assert status == 2
        assert sentence in said
        assert said.count("\n") == 1
    status, said = evaluate(truth, tiny_root, f"--workdir={truth}")
    assert status == 2
    assert "is not empty; expected a new folder" in said


def test_the_loader_says_what_it_expects(tiny_root, tmp_path):
    scan = scan_cache.open_scan(ct_ich_nifti.read_dataset(tiny_root).subjects[0])
    save(tmp_path / "049.nii", np.full((32, 32, 4), -1, np.int16), tiny_root / "ct_scans" / "049.nii")
    with pytest.raises(InputError, match=r"049\.nii: values lie in -1 to -1; expected a mask"):
        score_folder.load_prediction(tmp_path / "049.nii", scan.volume)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_every_level_of_a_prediction_is_read_alike(tiny_root, tmp_path, dtype):
    """8 bits go through a table: the same as other types of number, through int16 and back."""
    scan = scan_cache.open_scan(ct_ich_nifti.read_dataset(tiny_root).subjects[0])
    like = tiny_root / "ct_scans" / "049.nii"
    shape = array_of(like).shape
    levels = np.arange(np.prod(shape)).reshape(shape) % 256
    array = (levels / 255.0 if dtype == np.float32 else levels % 7 if dtype == np.int16 else levels).astype(dtype)
    save(tmp_path / "049.nii", array, like)
    kind, got = score_folder.load_prediction(tmp_path / "049.nii", scan.volume)
    share = (array > 0) if dtype == np.int16 else levels.astype(np.float32) / 255
    assert kind == ("mask" if dtype == np.int16 else "probability")
    expected = np.rint(share.astype(np.float32) * np.float32(32767)).astype(np.float32) / 32767
    np.testing.assert_array_equal(scan.volume.to_file_grid(got), expected)
    assert got.dtype == np.float32


@pytest.fixture
def scan(tiny_root):
    """Subject 50: its scan, and its mask on the file's grid."""
    subject = next(s for s in ct_ich_nifti.read_dataset(tiny_root).subjects if s.number == 50)
    opened = scan_cache.open_scan(subject)
    return opened.volume, opened.volume.to_file_grid(np.asarray(opened.mask))


def stored(path, values, affine, dtype=None):
    """Writes values as nibabel does: as they are, or as `dtype` under a header that scales them."""
    image = nib.Nifti1Image(values, affine)
    if dtype is not None:
        image.set_data_dtype(dtype)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("value", "dtype"), [(100, np.uint8), (128, np.uint8), (1000, np.int16), (65535, np.uint16)])
def test_whole_numbers_of_one_value_are_masks(scan, tmp_path, value, dtype):
    """Not a probability of 8 bits that is 100 / 255 in all of the mask."""
    volume, mask = scan
    path = stored(tmp_path / "050.nii", mask * dtype(value), volume.file_affine)
    kind, fraction = score_folder.load_prediction(path, volume)
    assert kind == "mask"
    np.testing.assert_array_equal(volume.to_file_grid(fraction), mask)


def test_one_value_beside_files_of_many_levels_is_a_probability(scan, tmp_path):
    volume, mask = scan
    one = stored(tmp_path / "one.nii", mask * np.uint8(100), np.eye(4))
    many = stored(tmp_path / "many.nii", np.arange(mask.size).reshape(mask.shape).astype(np.uint8), np.eye(4))
    assert score_folder.eight_bit_kind([one]) == "as it looks"
    assert score_folder.eight_bit_kind([one, many]) == "probability"
    one = stored(tmp_path / "one.nii", mask * np.uint8(100), volume.file_affine)
    kind, fraction = score_folder.load_prediction(one, volume, eight_bits="probability")
    assert kind == "probability"
    np.testing.assert_allclose(volume.to_file_grid(fraction), mask * 100 / 255, atol=1e-4)


def in_slices(mask, labels):
    """Floats: the mask with another label in every slice, the highest one somewhere."""
    values = mask * (np.arange(mask.shape[2]) % labels + 1.0)
    values[tuple(np.argwhere(mask)[0])] = labels
    return values


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (lambda mask: mask * 254.99999994, None),
        (lambda mask: mask * 255.0, np.int16),
        (lambda mask: mask * 255.0 - 1e-6, np.uint16),
        (lambda mask: mask * 1.0, np.int16),
        (lambda mask: mask * 1.0, np.uint8),
        (lambda mask: np.where(mask, 1.0000001, 1e-7), None),
        (lambda mask: np.where(mask, 1.0, -1e-8), None),
        (lambda mask: np.where(mask, 0.9995, 0.0005).astype(np.float16).astype(np.float32), None),
        (lambda mask: in_slices(mask, 4), np.uint8),  # steps of 4 / 255: 1 becomes 1.0039
        (lambda mask: in_slices(mask, 20), np.uint8),
        (lambda mask: in_slices(mask, 3), np.int16),
    ],
)
def test_masks_off_by_rounding_are_masks(scan, tmp_path, values, dtype):
    volume, mask = scan
    path = stored(tmp_path / "050.nii", values(mask), volume.file_affine, dtype)
    kind, got = score_folder.load_prediction(path, volume)
    assert kind == "mask"
    np.testing.assert_array_equal(volume.to_file_grid(got), mask)


def test_probabilities_a_little_outside_0_to_1_are_probabilities(scan, tmp_path):
    volume, mask = scan
    values = np.where(mask, 1.0000001, 0.3)
    values[0] = -1e-7
    kind, got = score_folder.load_prediction(stored(tmp_path / "050.nii", values, volume.file_affine), volume)
    assert kind == "probability"
    np.testing.assert_allclose(volume.to_file_grid(got), values.clip(0, 1), atol=1 / score_folder.SCALE)


@pytest.mark.parametrize(
    "values",
    [
        lambda mask: mask * 1.01,
        lambda mask: mask - 0.01,
        lambda mask: np.where(mask, 4.0, 1.5),
        lambda mask: np.linspace(0, 4, mask.size).reshape(mask.shape),
        lambda mask: np.linspace(0, 255, mask.size).reshape(mask.shape).astype(np.int16),
        lambda mask: np.where(mask, 255.0, 128.0),
        lambda mask: mask * 21.0,
    ],
)
def test_values_beyond_rounding_are_still_refused(scan, tmp_path, values):
    volume, mask = scan
    path = stored(tmp_path / "050.nii", values(mask), volume.file_affine)
    with pytest.raises(InputError, match=r"x/mask\.nii\.gz: values lie in .* expected a mask"):
        score_folder.load_prediction(path, volume, name="x/mask.nii.gz")


def test_sub_types_under_a_scaled_header_are_sub_types(scan, tmp_path):
    volume, mask = scan
    values = in_slices(mask, 4)
    path = stored(tmp_path / "050.nii", values, volume.file_affine, np.uint8)
    assert not np.isin(array_of(path), range(6)).all()
    np.testing.assert_array_equal(volume.to_file_grid(score_folder.load_classes(path, volume)), values)
    stored(path, values + 0.1, volume.file_affine)
    with pytest.raises(InputError, match=r"values lie in 0\.1 to 4\.1; expected the labels of sub-types"):
        score_folder.load_classes(path, volume)


@pytest.mark.experiments
def test_ids_are_written_and_read_back(tiny_root, tmp_path):
    """Of a data set whose ranks are numbers in other IDs: CT10 is the second of CT1, CT10, CT2, CT3."""
    numbers = {"CT1": 50, "CT2": 52, "CT10": 51, "CT3": 53}
    for name, number in numbers.items():
        for folder, source in (("images", "ct_scans"), ("masks", "masks")):
            (tmp_path / "own" / folder).mkdir(parents=True, exist_ok=True)
            path = tiny_root / source / f"{number:03d}.nii"
            image = nib.load(path if path.exists() else tiny_root / "ct_scans" / path.name)
            values = np.asanyarray(image.dataobj) if path.exists() else np.zeros(image.shape, np.uint8)
            nib.save(nib.Nifti1Image(values, image.affine), tmp_path / "own" / folder / f"{name}.nii")
    for name in numbers:  # as `predict` writes them
        (tmp_path / "predicted" / name).mkdir(parents=True)
        shutil.copy(tmp_path / "own" / "images" / f"{name}.nii", tmp_path / "predicted" / name / "scan.nii.gz")
        nib.save(nib.load(tmp_path / "own" / "masks" / f"{name}.nii"), tmp_path / "predicted" / name / "mask.nii.gz")
    (tmp_path / "predicted" / "worklist.csv").write_text("scan\n")
    for source, out in (("predicted", "first"), ("first/predictions", "second")):
        status, said = evaluate(tmp_path / source, tmp_path / "own", f"--workdir={tmp_path / out}")
        assert status == 0, said
        assert "no such file" not in said  # the report shows the masks
        results = results_of(tmp_path / out)
        assert results["conventions"]["volume"]["dice"]["mean"] == 1.0
        assert len(results["subjects"]) == 4
        for folder in ("predictions", "probabilities"):
            names = {path.name for path in (tmp_path / out / folder).iterdir()}
            assert names == {f"{name}.nii.gz" for name in numbers}


def test_a_bad_mask_of_predict_is_named_by_its_folder(truth, tiny_root, tmp_path):
    for path in list(truth.iterdir()):
        (truth / path.name[5:8]).mkdir()
        path.rename(truth / path.name[5:8] / "mask.nii.gz")
    (truth / "052").rename(truth / "nobody")
    (truth / "053" / "mask.nii.gz").write_bytes(b"no NIfTI at all")
    status, said = evaluate(truth, tiny_root)
    assert status == 2
    assert "skipped: 053/mask.nii.gz: not a readable NIfTI" in said
    assert "files that do not belong to exactly one subject of the data set: nobody/mask.nii.gz" in said
    assert "subjects 52: no file among the predictions" in said
    assert "1.000" in said
