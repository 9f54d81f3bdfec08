"""A data set with masks of several raters through `evaluate` and `crossval`: results, table, terminal and report."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

import launch
from ichjax.metrics.raters import score_raters

pytestmark = pytest.mark.xdist_group("rater_scores")
NUMBERS = range(49, 58)


def call(capsys, *words):
    """(exit status, stdout)."""
    status = launch.main([str(word) for word in words])
    return status, capsys.readouterr().out


def read(path):
    return json.loads(path.read_text())


def array_of(path):
    return np.asarray(nib.load(path).dataobj)


def save(path, array, like):
    nib.save(nib.Nifti1Image(array, nib.load(like).affine), path)


@pytest.fixture(scope="module")
def root(tiny_root, tmp_path_factory):
    """The tiny set with three raters of each subject, 'ann', 'bob' and 'cy': the truth, moved by a pixel, and empty;
    subject 57 has one rater, and subject 50 a mask as well, which is what Bob marks."""
    folder = tmp_path_factory.mktemp("raters")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in NUMBERS:
        scan, path = tiny_root / "ct_scans" / f"{number:03d}.nii", tiny_root / "masks" / f"{number:03d}.nii"
        shutil.copy(scan, folder / "images" / f"head_{number}.nii")
        truth = (array_of(path) > 0).astype(np.uint8) if path.exists() else np.zeros(nib.load(scan).shape, np.uint8)
        moved = np.roll(truth, 1, axis=0)
        masks = {"ann": truth, "bob": moved, "cy": np.zeros_like(truth)}
        for rater, mask in list(masks.items())[: 1 if number == 57 else 3]:
            save(folder / "masks" / f"head_{number}_{rater}.nii.gz", mask, scan)
        if number == 50:
            save(folder / "masks" / "head_50.nii.gz", moved, scan)
    return folder


@pytest.fixture(scope="module")
def predictions(root, tmp_path_factory):
    """What Ann marks, as masks; subject 51, without a hemorrhage, has three voxels."""
    folder = tmp_path_factory.mktemp("predictions")
    for number in NUMBERS:
        mask = array_of(root / "masks" / f"head_{number}_ann.nii.gz").copy()
        if number == 51:
            mask[10:13, 10, 1] = 1
        save(folder / f"head_{number}.nii.gz", mask, root / "images" / f"head_{number}.nii")
    return folder


@pytest.mark.experiments
def test_evaluate_scores_against_every_rater_and_as_the_challenge_does(root, predictions, tmp_path, capsys):
    out = tmp_path / "out"
    status, said = call(
        capsys, "evaluate", f"--predictions={predictions}", f"--config.data.root={root}", f"--workdir={out}"
    )
    assert status == 0, said
    results = read(out / "results.json")
    got = results["raters"]
    assert (got["scans"], got["scans_of_several"]) == (9, 8)
    scores = {}
    for number in NUMBERS:
        paths = sorted((root / "masks").glob(f"head_{number}_*"))
        masks = {k: array_of(path) > 0 for k, path in enumerate(paths, start=1)}
        scores[number] = score_raters(masks, array_of(predictions / f"head_{number}.nii.gz") > 0)
    by_rater = got["own"]["dice_by_rater"]
    assert {rater: summary["n"] for rater, summary in by_rater.items()} == {"1": 6, "2": 6, "3": 0}
    assert by_rater["1"]["mean"] == 1.0
    moved = np.mean([score["dice"]["2"] for score in scores.values() if score["dice"].get("2") is not None])
    assert by_rater["2"]["mean"] == pytest.approx(moved)
    assert 0.5 < moved < 0.95
    for name in ("ged", "dice_max", "dice_match", "dice_soft"):
        values = [score[name] for number, score in scores.items() if number != 57]
        assert got["mbh_seg_2025"][name]["mean"] == pytest.approx(np.mean(values))
    assert scores[51]["dice_max"] == pytest.approx(2 * 97 / 197)
    # Two of three raters: where both mark; subject 50 has a mask of its own.
    volumes = {s["subject"]: s["truth_ml"] for s in results["subjects"]}
    voxels = {k: (array_of(root / "masks" / f"head_49_{k}.nii.gz") > 0) for k in ("ann", "bob")}
    assert volumes[1] == pytest.approx((voxels["ann"] & voxels["bob"]).sum() * 0.18)
    assert volumes[2] == pytest.approx(array_of(root / "masks" / "head_50.nii.gz").sum() * 0.18)
    with (out / "tables" / "raters.csv").open() as file:
        rows = {row["score"]: row for row in csv.DictReader(file)}
    assert list(rows) == [
        *("Dice, rater 1", "Dice, rater 2", "Dice, rater 3", "Dice between raters", "GED, one class"),
        *("GED", "Dice max", "Dice match", "Dice soft"),
    ]
    assert float(rows["Dice match"]["mean"]) == got["mbh_seg_2025"]["dice_match"]["mean"]
    assert rows["Dice match"]["definition"] == "MBH-Seg 2025"
    with (out / "tables" / "raters_scans.csv").open() as file:
        by_subject = {row["subject"]: row for row in csv.DictReader(file)}
    assert float(by_subject["3"]["dice_max"]) == pytest.approx(scores[51]["dice_max"])
    assert (by_subject["9"]["ged"], by_subject["9"]["dice_rater_1"]) == ("", "")  # one rater, who marks nothing
    assert float(by_subject["1"]["dice_rater_2"]) == pytest.approx(scores[49]["dice"]["2"])
    page, plain = (out / "report.html").read_text(), " ".join(said.split())
    assert 'id="raters"' in page
    assert f"{got['mbh_seg_2025']['dice_soft']['mean']:.3f}" in page
    assert "Two raters of a scan agree with a mean Dice of" in page
    assert "9 scans scored against raters, 8 of them against several: Dice, rater 1 1.000" in plain
    assert "majority vote of raters, a tie counting as hemorrhage: 8" in (out / "notes.txt").read_text()
    written = "".join(path.read_text() for path in out.rglob("*") if path.suffix in (".json", ".csv", ".html", ".txt"))
    assert not [name for name in ("ann", "bob") if f"_{name}" in written or f'"{name}"' in written]

    assert 'id="lesion-wise"' in page
    lesion_wise = results["lesion_wise"]
    with (out / "tables" / "lesion_wise.csv").open() as file:
        rows = {row["score"]: row for row in csv.DictReader(file)}
    assert float(rows["f1"]["value"]) == lesion_wise["f1"]["value"] > 0
    assert float(rows["hd95_all_scans"]["value"]) == lesion_wise["hd95_mm"]["all_scans"]["mean"] > 0
    assert (int(rows["hd95_all_scans"]["misses"]), int(rows["hd95_all_scans"]["false_alarms"])) == (0, 1)
    assert float(rows["hd95_all_scans"]["penalty_mm_high"]) == pytest.approx(np.sqrt(20**2 + 2 * 192**2))
    assert len((out / "tables" / "lesion_wise_scans.csv").read_text().splitlines()) == 10
    assert f"lesion-wise: Lesion F1 {lesion_wise['f1']['value']:.3f}; " in plain
    assert "(1 scan with a penalty of 272 mm)" in plain


def test_probabilities_score_as_their_masks_do(root, predictions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ichjax.experiment.score_folder.publish", lambda folder: None)
    folder = tmp_path / "probabilities"
    folder.mkdir()
    for path in predictions.iterdir():
        save(folder / path.name, array_of(path) * np.float32(0.9) + np.float32(0.05), path)
    words = [f"--config.data.root={root}", "--config.predict.threshold=0.5"]
    outs = [tmp_path / "of_masks", tmp_path / "of_probabilities"]
    for source, out in zip((predictions, folder), outs, strict=True):
        assert call(capsys, "evaluate", f"--predictions={source}", *words, f"--workdir={out}")[0] == 0
    results = [read(out / "results.json") for out in outs]
    assert results[1]["scored"] == ["probability"]
    assert results[0]["raters"] == results[1]["raters"]


def test_crossval_trains_on_the_majority_and_scores_against_the_raters(
    root, tiny_config, config_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("ichjax.experiment.crossval.publish", lambda folder: None)
    fields = {"method": "threshold", "compare_with": (), "data.root": str(root)}
    path = config_file(tmp_path, tiny_config(**fields))
    assert call(capsys, "crossval", f"--config={path}", f"--workdir={tmp_path / 'run'}")[0] == 0
    got = read(tmp_path / "run" / "results.json")["raters"]
    assert (got["scans"], got["scans_of_several"]) == (9, 8)
    assert got["own"]["dice_by_rater"]["1"]["mean"] > got["own"]["dice_by_rater"]["2"]["mean"] > 0.5
