"""Predictions scored against CQ500's labels of whole scans: ranking, flags, mismatches, and the way from DICOM."""

import csv
import json
import shutil

import numpy as np
import pytest
from scipy import stats

import launch
from ichjax.data.label_tables import SUBTYPES
from ichjax.phantom.dataset import write_dataset
from tests.data.test_cq500 import write_reads

SCORES = {"suspicion": 0.5, "positive_slices": [], "volume_ml": 0.0}


@pytest.fixture
def cq500_root(tmp_path):
    """root(bleeding, others): a set without DICOM, its scans numbered; the last reader misses each second bleed."""

    def write(bleeding, others, subtype="IPH"):
        root = tmp_path / "set"
        for number in (*bleeding, *others):
            (root / f"CQ500CT{number} CQ500CT{number}" / "Unknown Study").mkdir(parents=True)
        reads = {f"CQ500-CT-{n}": {"ICH": "111" if n % 2 else "110", subtype: "111"} for n in bleeding}
        write_reads(root, reads | {f"CQ500-CT-{n}": {"ICH": "001"} for n in others})
        return root

    return write


@pytest.fixture
def evaluated(tmp_path, capsys):
    """evaluated(root, {number: changes of `SCORES`}, *options): (status, what was printed, detection.json or None)."""

    def call(root, predictions, *options):
        for number, changes in predictions.items():
            folder = tmp_path / "out" / (number if isinstance(number, str) else f"CQ500CT{number}_CQ500CT{number}")
            folder.mkdir(parents=True)
            (folder / "prediction.json").write_text(json.dumps({**SCORES, **changes}))
        words = [f"--predictions={tmp_path / 'out'}", f"--config.data.root={root}", f"--workdir={tmp_path / 'new'}"]
        status = launch.main(["evaluate", *words, *options])
        printed = capsys.readouterr()
        path = tmp_path / "new" / "detection.json"
        return status, printed.out + printed.err, json.loads(path.read_text()) if path.is_file() else None

    return call


def test_ranking_and_flags_agree_with_scipy_and_with_counting(cq500_root, evaluated, tmp_path):
    rng = np.random.default_rng(0)
    bleeding, others = range(1, 18), range(30, 55)
    drawn = np.clip(rng.normal([0.6] * len(bleeding) + [0.4] * len(others), 0.2), 0, 1).round(2)
    scores = dict(zip((*bleeding, *others), drawn.tolist(), strict=True))
    flags = {n: [3] if score > 0.5 else [] for n, score in scores.items()}
    predictions = {n: {"suspicion": scores[n], "positive_slices": flags[n], "volume_ml": 2.0 * n} for n in scores}
    status, printed, scored = evaluated(cq500_root(bleeding, others), predictions, "--name=ours", "--prevalence=0.1")
    assert status == 0
    of_bleeding, of_others = ([scores[n] for n in group] for group in (bleeding, others))
    area = stats.mannwhitneyu(of_bleeding, of_others).statistic / (len(of_bleeding) * len(of_others))
    assert scored["detected"]["any"]["auc"]["value"] == pytest.approx(area)
    low, high = scored["detected"]["any"]["auc"]["ci95"]
    assert low < area < high
    assert scored["sensitivity"]["value"] == np.mean([score > 0.5 for score in of_bleeding])
    assert scored["specificity"]["value"] == np.mean([score <= 0.5 for score in of_others])
    assert scored["detection_at_prevalence"]["prevalence"] == 0.1
    assert (scored["method"], scored["ranked_by"], list(scored["detected"])) == ("ours", ["suspicion"], ["any"])
    assert f"17 of 42  {area:.3f} ({low:.3f} to {high:.3f})" in printed
    assert (tmp_path / "new" / "detection.txt").read_text() in printed
    with (tmp_path / "new" / "detection.csv").open(newline="") as file:
        rows = {row["scan"]: row for row in csv.DictReader(file)}
    assert rows["CQ500-CT-7"]["true_IPH"] == rows["CQ500-CT-7"]["true_any"] == "True"
    assert (rows["CQ500-CT-40"]["true_any"], rows["CQ500-CT-40"]["volume_ml"]) == ("False", "80.0")
    assert rows["CQ500-CT-40"]["score_IPH"] == ""


def test_a_methods_own_scores_come_first_of_the_scan_then_of_its_highest_slice(cq500_root, evaluated):
    of_slices = np.zeros((2, len(SUBTYPES)))
    of_slices[1, SUBTYPES.index("IPH")] = 0.9
    own = {
        1: {"slice_scores": [0.1, 0.8], "subtype_scores": of_slices.tolist()},
        2: {"slice_scores": [0.1, 0.8], "scan_scores": [None] * 5 + [0.3], "subtype_scores": of_slices.tolist()},
        5: {"suspicion": 1.0, "slice_scores": [0.2], "subtype_scores": (0 * of_slices[:1]).tolist()},
    }
    status, _, scored = evaluated(cq500_root([1, 2], [5]), own)
    assert status == 0
    assert [row["score_any"] for row in scored["scans"]] == [0.8, 0.3, 0.2]
    assert [row["score_IPH"] for row in scored["scans"]] == [0.9, 0.9, 0.0]
    assert scored["detected"]["IPH"]["auc"]["value"] == scored["detected"]["any"]["auc"]["value"] == 1.0
    assert scored["detected"]["SDH"] is None  # no scan has it
    assert scored["ranked_by"] == ["own scan scores", "own slice scores"]


def test_what_does_not_fit_is_named_and_costs_no_other_scan_its_score(cq500_root, evaluated):
    root = cq500_root([1, 2, 3, 4], [10, 11])
    predictions = {
        1: {"suspicion": 0.9}, 2: {}, "cq500ct2_cq500ct2_2": {}, 3: {"suspicion": "high"}, 10: {},
        "CQ500CT99": {}, "other": {},
    }  # fmt: skip
    status, printed, scored = evaluated(root, predictions)
    assert status == 2
    assert [row["scan"] for row in scored["scans"]] == ["CQ500-CT-1", "CQ500-CT-10"]
    assert scored["detected"]["any"]["auc"] == {"value": 1.0, "ci95": None}
    for sentence in (
        "subject CQ500CT2 CQ500CT2: 2 files (CQ500CT2_CQ500CT2/prediction.json, cq500ct2_cq500ct2_2/prediction.json)",
        "CQ500CT3_CQ500CT3: prediction.json is damaged",
        "subjects CQ500CT4 CQ500CT4, CQ500CT11 CQ500CT11: no file among the predictions",
        "do not belong to exactly one subject of the data set: CQ500CT99/prediction.json, other/prediction.json",
    ):
        assert sentence in printed


@pytest.mark.parametrize(
    ("predictions", "options", "message"),
    [
        ({}, (), "no such folder; expected a folder of"),
        ({"other": {}}, (), "none of its 1 files belongs to a subject of the data set (other/prediction.json)"),
        ({1: {}}, ("--subtypes",), "has no masks"),
        ({1: {"volume_ml": None}}, (), "none of its predictions could be scored"),
        ({1: {"schema": 99}}, (), "has schema 99"),
        ({1: {"run_digest": "a"}, 2: {"run_digest": "b"}}, (), "holds predictions of 2 runs; expected those of one"),
    ],
)
def test_nothing_to_score_is_refused_in_one_sentence(cq500_root, evaluated, predictions, options, message):
    status, printed, scored = evaluated(cq500_root([1], [2]), predictions, *options)
    assert (status, scored) == (2, None)
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    "damage",
    [
        {"suspicion": "high"}, {"suspicion": np.nan}, {"suspicion": np.inf}, {"volume_ml": np.nan},
        {"slice_scores": [0.1, None]}, {"scan_scores": [0.3]}, {"scan_scores": [np.inf] + [None] * 5},
        {"subtype_scores": [0.1] * 5}, {"subtype_scores": [[0.1] * 4]}, {"positive_slices": "none"},
    ],
)  # fmt: skip
def test_damaged_values_cost_their_scan_alone(cq500_root, evaluated, damage):
    status, printed, scored = evaluated(cq500_root([1, 3], [2]), {1: damage, 2: {}, 3: {}})
    assert status == 2
    assert "CQ500CT1_CQ500CT1: prediction.json is damaged" in printed
    assert [row["scan"] for row in scored["scans"]] == ["CQ500-CT-2", "CQ500-CT-3"]


def test_contradictions_of_the_set_are_said_and_hidden_folders_are_none(cq500_root, evaluated, tmp_path):
    root = cq500_root([1], [])
    (root / "CQ500CT2 CQ500CT2").mkdir()
    write_reads(root, {"CQ500-CT-1": {"ICH": "111"}, "CQ500-CT-2": {"SDH": "111"}})
    status, printed, scored = evaluated(root, {1: {}, ".CQ500CT1_left": {}, 2: {}})
    assert (status, len(scored["scans"])) == (0, 2)
    assert "note: reads.csv: most readers see a sub-type, but no ICH" in printed


@pytest.mark.parametrize("one_scan", [False, True])
def test_from_dicom_to_scores_by_the_number_of_the_scan(predict_command, evaluated, tmp_path, one_scan):
    """Also where a scan has a single series, or is the only input: its study is then the folder of the series."""
    root = tmp_path / "set"
    write_dataset(root, layout="cq500", subjects=2, seed=0, preset="demo")
    folders = sorted(root.glob("CQ500CT*"))
    shutil.rmtree(folders[0] / "Unknown Study" / "CT BONE")
    assert predict_command(folders[0] if one_scan else root)[0] == 0
    status, printed, scored = evaluated(root, {})
    assert (status, len(scored["scans"])) == ((2, 1) if one_scan else (0, 2)), printed
