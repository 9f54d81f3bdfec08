"""A whole cross-validation of two methods on tiny scans: every promised file, its numbers, and what may not leak."""

import csv
import hashlib
import json
import pathlib
import shutil
import types

import cv2
import jax
import nibabel as nib
import numpy as np
import pytest

import ichjax
from ichjax.data.splits import PARTS
from ichjax.experiment import crossval
from ichjax.methods import registry, threshold, unet
from ichjax.metrics import published
from ichjax.report import workdir
from tests.commands import call

pytestmark = pytest.mark.xdist_group("crossval")
SMALL = {"model.depth": 1, "model.dropout": 0.0, "model.norm": "none"}  # compiles in seconds
BLEEDING = (49, 50, 52, 53, 55, 56)


@pytest.fixture(scope="module")
def finished(tiny_config, config_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    path = config_file(folder, tiny_config(**SMALL))
    words = ["crossval", f"--config={path}", f"--workdir={folder / 'run'}"]
    status, said = call(*words)
    assert status == 0, said
    return types.SimpleNamespace(words=words, path=folder / "run", said=said)


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def digests(folder):
    """{path: digest} of what training leaves behind in the folds."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_promised_file_is_there(finished, tiny_root):
    run = finished.path
    for name in ("config.json", "splits.json", "results.json", "report.html", "notes.txt"):
        assert (run / name).stat().st_size > 0
    for fold in range(3):
        rows = [json.loads(line) for line in (run / f"fold_{fold}" / "metrics.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == [1, 2]
        assert {"loss", "validation_jaccard", "learning_rate", "examples_per_second", "wait_share"} <= set(rows[0])
        assert list((run / f"fold_{fold}" / "checkpoints").iterdir())
        assert list((run / f"fold_{fold}" / "events").glob("events.out.tfevents*"))
    for name in ("summary", "subjects", "table6", "table7", "dice_by_subtype", "dice_by_age", "thresholds"):
        assert len(list(csv.reader((run / "tables" / f"{name}.csv").read_text().splitlines()))) > 1
    assert {"curves.png", "dice_by_subject.png"} <= {path.name for path in (run / "figures").iterdir()}
    baseline = run / "baselines" / "threshold"
    assert len(list(run.glob("fold_*/volume_calibration.json"))) == 3
    assert not list(baseline.rglob("volume_calibration.json"))  # only the main method's volumes get intervals
    assert "volume_interval" not in results_of(baseline)["beyond"]
    for place in (run, baseline):
        for number in range(49, 58):
            scan = nib.load(tiny_root / "ct_scans" / f"{number:03d}.nii")
            for folder in ("predictions", "probabilities"):
                image = nib.load(place / folder / f"{number:03d}.nii.gz")
                assert image.get_data_dtype() == np.uint8
                assert image.shape == scan.shape
                np.testing.assert_array_equal(image.affine, scan.affine)
            mask = np.asarray(nib.load(place / "predictions" / f"{number:03d}.nii.gz").dataobj)
            assert set(np.unique(mask)) <= {0, 1}


def test_the_terminal_output_ends_with_the_table_and_the_report(finished):
    lines = finished.said.rstrip("\n").splitlines()
    assert lines[-1] == f"report: {finished.path / 'report.html'}"
    table = "\n".join(lines[-40:])
    assert "U-Net" in table
    assert "Threshold" in table
    assert "defect" not in finished.said


def test_results_have_the_keys_of_the_contract(finished):
    for place, method in ((finished.path, "unet"), (finished.path / "baselines" / "threshold", "threshold")):
        results = results_of(place)
        assert results["method"] == method
        assert {"config_digest", "versions", "devices", "empty_mask_would_score", "slice_rule_mm2"} <= set(results)
        assert {"slice_detection", "by_subtype", "by_age", "hemorrhage_free"} <= set(results)
        for convention in ("paper", "pooled", "volume"):
            for score in ("dice", "jaccard"):
                assert {"mean", "std", "min", "max", "ci95", "n"} <= set(results["conventions"][convention][score])
        assert [row["subject"] for row in sorted(results["subjects"], key=lambda row: row["subject"])] == [
            *range(49, 58)
        ]
        assert results["left_out_unreadable"] == []
        assert str(finished.path) not in json.dumps(results)


def test_the_thresholds_of_each_fold_are_reported(finished):
    assert results_of(finished.path)["thresholds"] == {"value": 0.5, "chosen_on": "fixed beforehand"}
    place = finished.path / "baselines" / "threshold"
    models = [json.loads((place / f"fold_{fold}" / "model.json").read_text()) for fold in range(3)]
    pairs = [[model["lower"], model["upper"]] for model in models]
    found = results_of(place)["thresholds"]
    assert found["value"] == pairs
    assert "training" in found["chosen_on"]
    said = " ".join(finished.said.split())
    assert all(f"thresholds {pair}, training Jaccard" in said for pair in pairs)


def test_no_subject_is_in_two_parts_of_a_fold(finished):
    for fold in json.loads((finished.path / "splits.json").read_text())["folds"]:
        assert sorted(number for part in PARTS for number in fold[part]) == list(range(49, 58))


def masks_on_disk(place, root, number, folder="predictions"):
    predicted = np.asarray(nib.load(place / folder / f"{number:03d}.nii.gz").dataobj)
    truth = root / "masks" / f"{number:03d}.nii"
    return predicted, np.asarray(nib.load(truth).dataobj) if truth.exists() else np.zeros(predicted.shape, np.uint8)


def test_dice_of_the_masks_on_disk_is_that_of_the_results(finished, tiny_root):
    """By hand, from NIfTI to the mean over subjects of the mean over slices with a hemorrhage (x, y, slice)."""
    for place in (finished.path, finished.path / "baselines" / "threshold"):
        of_subject, rows = {}, {row["subject"]: row for row in results_of(place)["subjects"]}
        for number in range(49, 58):
            predicted, truth = masks_on_disk(place, tiny_root, number)
            scores = [
                2 * np.logical_and(p, t).sum() / (p.sum() + t.sum(dtype=int))
                for p, t in zip(predicted.transpose(2, 0, 1).astype(int), truth.transpose(2, 0, 1), strict=True)
                if t.any()
            ]
            voxel_ml = 6 * 6 * 5 / 1000
            assert rows[number]["predicted_ml"] == pytest.approx(predicted.sum() * voxel_ml)
            assert rows[number]["truth_ml"] == pytest.approx(truth.sum() * voxel_ml)
            if scores:
                of_subject[number] = np.mean(scores)
                assert rows[number]["dice"] == pytest.approx(of_subject[number], abs=1e-9)
            else:
                assert rows[number]["dice"] is None
        assert tuple(of_subject) == BLEEDING
        paper = results_of(place)["conventions"]["paper"]["dice"]
        assert paper["mean"] == pytest.approx(np.mean(list(of_subject.values())), abs=1e-9)
        assert paper["n"] == 6


def test_masks_follow_from_the_probabilities_by_opencv(finished, tiny_root):
    """Closing, then opening, by 2 x 2, in the orientation of the screen; probabilities are kept in 8 bits, so a pixel
    whose probability rounds to the threshold may fall on either side."""
    kernel, checked = np.ones((2, 2), np.uint8), 0
    for number in range(49, 58):
        mask, _ = masks_on_disk(finished.path, tiny_root, number)
        probability, _ = masks_on_disk(finished.path, tiny_root, number, "probabilities")
        for d in range(mask.shape[2]):
            # On disk x runs to the left and y to the front: rows of the screen are -y.
            shown, found = probability[:, ::-1, d].T.astype(int), mask[:, ::-1, d].T
            if np.isin(shown, (127, 128)).any():
                continue
            positive = (shown > 127).astype(np.uint8)
            closed = cv2.morphologyEx(positive, cv2.MORPH_CLOSE, kernel)
            np.testing.assert_array_equal(cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel), found)
            checked += 1
    assert checked > 0


def forbid(*names):
    def refuse(*args, **kwargs):
        raise AssertionError(f"{names} was called")

    return refuse


def test_a_second_run_trains_and_predicts_nothing(finished, monkeypatch):
    before, kept = results_of(finished.path), digests(finished.path / "fold_0")
    for kind in (unet.UNetMethod, threshold.ThresholdMethod):
        monkeypatch.setattr(kind, "fit", forbid("fit"))
        monkeypatch.setattr(kind, "predict", forbid("predict"))
    status, said = call(*finished.words)
    assert status == 0
    for fold in range(3):
        assert said.count(f"fold {fold}: already done") == 2
    assert results_of(finished.path) == before
    assert digests(finished.path / "fold_0") == kept


@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({"parallel_folds": 2}, [[0, 1], [2]]),
        ({"parallel_folds": 5}, [[0, 1, 2]]),
        ({"parallel_folds": 2, "folds": (0, 2)}, [[0, 2]]),
        ({}, [[0], [1], [2]]),
    ],
)
def test_folds_are_trained_in_groups(tiny_config, tmp_path, monkeypatch, fields, groups):
    """`fit_together` gets the scans of each group of several; then each fold runs as ever, under the group's locks."""
    together, run = [], []

    class Noted:
        def other_scans(self):
            return None

        def fit_together(self, scans):
            assert [one.folder.name for one in scans] == [f"fold_{one.number}" for one in scans]
            assert all({*one.train}.isdisjoint(one.valid) for one in scans)
            together.append([one.number for one in scans])

    def note(method, experiment, fold, folder, *, calibrate):
        assert calibrate
        run.append((fold.index, sorted(int(path.parent.name[5:]) for path in folder.glob("fold_*/.claim"))))

    monkeypatch.setattr(crossval, "_run_fold", note)
    crossval._CrossValidation(tiny_config(**fields), tmp_path).run_folds(Noted(), tmp_path)
    assert together == [group for group in groups if len(group) > 1]
    assert run == [(fold, group) for group in groups for fold in group]


def test_report_scores_again_without_predicting(finished, monkeypatch, tmp_path):
    copied = shutil.copytree(finished.path, tmp_path / "run")
    baseline = pathlib.Path("baselines") / "threshold"
    before = [results_of(finished.path), results_of(finished.path / baseline)]
    for name in ("results.json", "report.html", "tables", "figures"):
        path = copied / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for kind in (unet.UNetMethod, threshold.ThresholdMethod):
        monkeypatch.setattr(kind, "fit", forbid("fit"))
        monkeypatch.setattr(kind, "predict", forbid("predict"))
    status, said = call("report", f"--workdir={copied}")
    assert status == 0, said
    assert [results_of(copied), results_of(copied / baseline)] == before
    assert (copied / "report.html").is_file()
    assert (copied / "tables" / "summary.csv").read_text() == (finished.path / "tables" / "summary.csv").read_text()


@pytest.mark.experiments
def test_a_work_directory_of_an_earlier_version_still_opens(finished, tmp_path):
    """Without what schema 1 did not have: the method's title, card and published figures, `options`, own scores."""
    copied = shutil.copytree(finished.path, tmp_path / "run")
    for path in copied.rglob("results.json"):
        results = json.loads(path.read_text())
        for key in ("schema", "title", "card", "published"):
            del results[key]
        path.write_text(json.dumps(results))
    fields = json.loads((copied / "config.json").read_text())
    del fields["options"]
    (copied / "config.json").write_text(json.dumps(fields))
    for path in copied.rglob("scores.json"):
        record = json.loads(path.read_text())
        for row in record["subjects"]:
            del row["details"]["own_scores"]
        path.write_text(json.dumps(record))
    old = workdir.read_run(copied)
    assert list(old.methods) == ["U-Net", "Threshold"]
    assert published.of(old.results) is published.UNET
    assert ichjax.load_run(copied).digest == ichjax.load_run(finished.path).digest
    status, said = call(*[word.replace(str(finished.path), str(copied)) for word in finished.words])
    assert status == 0, said
    assert said.count("already done") == 6
    assert results_of(copied)["conventions"] == results_of(finished.path)["conventions"]


def test_report_and_predict_without_a_run(tmp_path, tiny_root):
    for name, rest in (("report", []), ("predict", [f"--input={tiny_root}", f"--output={tmp_path / 'out'}"])):
        status, said = call(name, f"--workdir={tmp_path}", *rest)
        assert status == 2
        assert "has no config.json; expected the work directory" in said
        assert said.count("\n") == 1


@pytest.mark.experiments
def test_a_truncated_scan_costs_no_other_subject_its_result(tiny_root, tiny_config, config_file, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "data")
    whole = (root / "ct_scans" / "052.nii").read_bytes()
    (root / "ct_scans" / "052.nii").write_bytes(whole[:-3000])
    path = config_file(tmp_path, tiny_config(method="threshold", compare_with=(), **{"data.root": str(root)}))
    words = ["crossval", f"--config={path}", f"--workdir={tmp_path / 'run'}"]
    status, said = call(*words)
    assert status == 2
    assert "skipped: ct_scans/052.nii (subject 52)" in said
    assert str(root) not in said
    results = results_of(tmp_path / "run")
    assert sorted(row["subject"] for row in results["subjects"]) == [49, 50, 51, 53, 54, 55, 56, 57]
    assert results["left_out_unreadable"] == [52]
    assert (tmp_path / "run" / "report.html").is_file()
    # Made whole, it is the only one that is predicted, and the others keep their scores.
    (root / "ct_scans" / "052.nii").write_bytes(whole)
    status, said = call(*words)
    assert status == 0
    again = results_of(tmp_path / "run")
    assert again["left_out_unreadable"] == []
    assert said.count("already done") == 2
    rows = {row["subject"]: row for row in again["subjects"]}
    assert all(rows[row["subject"]] == row for row in results["subjects"])
    assert rows[52]["dice"] is not None


def other_masks(root, numbers):
    """Shifts the masks of these subjects along x, so that each keeps its slices but not its pixels."""
    for number in numbers:
        path = root / "masks" / f"{number:03d}.nii"
        if path.exists():
            image = nib.load(path)
            array = np.roll(np.asarray(image.dataobj), 7, axis=0)
            nib.save(nib.Nifti1Image(array, image.affine), path)


def learned(folder, method, config):
    """All that a method learned and chose in a fold, bit by bit."""
    made = registry.make(method, config)
    params = made.load(folder)
    weights = jax.tree.leaves(getattr(params, "weights", {}))
    return [made.chosen(params), *(np.asarray(leaf).tobytes() for leaf in weights)]


def train_fold_0(folder, root, splits, part, config, config_file):
    """Trains fold 0 on a copy of the data in which the subjects of a part of it have other masks."""
    root = shutil.copytree(root, folder / "data")
    other_masks(root, splits["folds"][0][part])
    path = config_file(folder, config)
    status, said = call("train", f"--config={path}", f"--config.data.root={root}", f"--workdir={folder / 'run'}")
    assert status == 0, said
    assert json.loads((folder / "run" / "splits.json").read_text()) == splits
    return folder / "run" / "fold_0"


def test_nothing_is_chosen_on_the_test_subjects(finished, tiny_root, tiny_config, config_file, tmp_path):
    """With other masks for the test subjects of fold 0, all that the fold learned and chose is the same, bit by bit:
    weights, epoch, grey levels. With other masks for its training subjects it is not: the comparison can fail."""
    splits = json.loads((finished.path / "splits.json").read_text())
    config = tiny_config(**SMALL)
    before = learned(finished.path / "fold_0", "unet", config)
    assert len(before) > 10
    changed = train_fold_0(tmp_path / "unet", tiny_root, splits, "test", config, config_file)
    assert learned(changed, "unet", config) == before

    before = learned(finished.path / "baselines" / "threshold" / "fold_0", "threshold", config)
    config = tiny_config(**SMALL, method="threshold", compare_with=())
    for part in ("test", "train"):
        changed = train_fold_0(tmp_path / part, tiny_root, splits, part, config, config_file)
        assert (learned(changed, "threshold", config) == before) == (part == "test")


@pytest.mark.experiments
def test_a_split_over_slices_is_marked_as_invalid_everywhere(tiny_config, config_file, tmp_path):
    fields = {"method": "threshold", "compare_with": (), "data.splits": "slice_split", "predict.inside_skull": True}
    path = config_file(tmp_path, tiny_config(**fields))
    words = ["crossval", f"--config={path}", f"--workdir={tmp_path / 'run'}"]
    status, said = call(*words, "--config.folds=(0,)")
    assert status == 2
    assert "config.folds is (0,); expected none, since the split over slices runs all" in said
    status, said = call(*words)
    assert status == 0, said
    assert "WARNING: INVALID split 'slice_split'" in said
    results = results_of(tmp_path / "run")
    assert results["invalid"].startswith("INVALID")
    assert [row["subject"] for row in results["subjects"]] == [*range(49, 58)]  # each once, whole
    assert [row["slices"] for row in results["subjects"]] == [4] * 9
    for name in ("tables/summary.csv", "tables/table6.csv", "tables/subjects.csv", "report.html", "notes.txt"):
        assert "INVALID" in (tmp_path / "run" / name).read_text()
    before = (tmp_path / "run" / "results.json").read_text()
    assert call(*words)[0] == 0
    assert (tmp_path / "run" / "results.json").read_text() == before
    for other in (["train", f"--workdir={tmp_path / 't'}"], ["prepare", "--to=nnunet", f"--output={tmp_path / 'o'}"]):
        status, said = call(*other, f"--config={path}")
        assert status == 2
        assert "which only `crossval` demonstrates" in said


def test_train_tunes_as_crossval_does(tiny_config, config_file, tmp_path):
    fields = {**SMALL, "compare_with": (), "predict.tune": "threshold", "predict.tune_thresholds": (0.05, 0.5, 0.95)}
    fields |= {"train.epochs": 1, "model.base_width": 2}
    path, run = config_file(tmp_path, tiny_config(**fields)), tmp_path / "run"
    status, said = call("train", f"--config={path}", f"--workdir={run}", "--config.fold=1")
    assert status == 0, said
    tuned = json.loads((run / "fold_1" / "post.json").read_text())
    assert "validation subjects" in tuned["chosen_on"]
    assert (run / "fold_1" / "volume_calibration.json").is_file()
    assert call("crossval", f"--config={path}", f"--workdir={run}", "--config.folds=(1,)")[0] == 0
    assert json.loads((run / "fold_1" / "post.json").read_text()) == tuned
    assert json.loads((run / "fold_1" / "scores.json").read_text())["chosen"]["threshold"] == tuned["threshold"]


@pytest.mark.experiments
def test_thresholds_tuned_on_validation_subjects(tiny_config, config_file, tmp_path):
    fields = {**SMALL, "compare_with": (), "predict.tune": "threshold", "predict.tune_thresholds": (0.05, 0.5, 0.95)}
    fields |= {"train.epochs": 1, "model.base_width": 2, "predict.min_lesion_ml": 1e-4}
    path = config_file(tmp_path, tiny_config(**fields))
    run = tmp_path / "run"
    status, said = call("crossval", f"--config={path}", f"--workdir={run}")
    assert status == 0, said
    assert "min_lesion_ml 0.0001" in said
    results = results_of(run)
    assert "validation subjects of each fold" in results["thresholds"]["chosen_on"]
    posts = [json.loads((run / f"fold_{fold}" / "post.json").read_text()) for fold in range(3)]
    assert {post["threshold"] for post in posts} <= {0.05, 0.5, 0.95}
    assert [fold["threshold"] for fold in results["chosen_by_fold"]] == [post["threshold"] for post in posts]
    folds = json.loads((run / "splits.json").read_text())["folds"]
    for fold, post in zip(folds, posts, strict=True):  # the masks on disk are those of the fold's own threshold
        for number in fold["test"]:
            probability = np.asarray(nib.load(run / "probabilities" / f"{number:03d}.nii.gz").dataobj)
            row = next(row for row in results["subjects"] if row["subject"] == number)
            mask = np.asarray(nib.load(run / "predictions" / f"{number:03d}.nii.gz").dataobj)
            assert (row["predicted_ml"] > 0) == mask.any()
            if post["threshold"] == 0.95 and probability.max() < 240:
                assert not mask.any()
