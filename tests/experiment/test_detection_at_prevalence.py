"""`report` and `evaluate` with --prevalence: results, table, terminal and report; without it nothing changes."""

import csv
import json
import shutil

import pytest

import launch

pytestmark = pytest.mark.xdist_group("score_folder")  # one trained run for both


def call(capsys, *words):
    """(exit status, stdout, stderr)."""
    status = launch.main([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out, said.err


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def test_report_states_detection_at_a_prevalence_and_drops_it_without_one(tiny_threshold_run, tmp_path, capsys):
    run = shutil.copytree(tiny_threshold_run, tmp_path / "run")
    before = results_of(run)
    status, out, _ = call(capsys, "report", f"--workdir={run}", "--prevalence=0.06")
    assert status == 0
    results = results_of(run)
    got = results.pop("detection_at_prevalence")
    assert results == before
    flagged = {s["subject"]: s["called_slices"] > 0 for s in before["subjects"]}
    with_it = [s["subject"] for s in before["subjects"] if s["truth_ml"] > 0]
    hits, alarms = sum(flagged[n] for n in with_it), sum(flagged.values()) - sum(flagged[n] for n in with_it)
    assert (got["true_positives"], got["false_positives"]) == (hits, alarms)
    assert (got["prevalence"], got["test_set_prevalence"]) == (0.06, pytest.approx(6 / 9))
    assert got["specificity"]["value"] == pytest.approx(1 - before["hemorrhage_free"]["false_alarm_rate"])
    ppv = 0.06 * hits / 6 / (0.06 * hits / 6 + 0.94 * alarms / 3)
    assert got["positive_predictive_value"]["value"] == pytest.approx(ppv)
    with (run / "tables" / "detection_at_prevalence.csv").open() as file:
        rows = {row["score"]: row for row in csv.DictReader(file)}
    assert float(rows["positive_predictive_value"]["value"]) == pytest.approx(ppv)
    assert float(rows["sensitivity"]["ci95_low"]) == pytest.approx(got["sensitivity"]["ci95"][0])
    assert {row["prevalence"] for row in rows.values()} == {"0.06"}
    plain = " ".join(out.split())
    assert "where 6 of 100 scans have a hemorrhage (of those scored here, 6 of 9): sensitivity" in plain
    assert f"positive predictive value {100 * ppv:.1f} %" in plain
    page = (run / "report.html").read_text()
    assert 'id="detection-at-prevalence"' in page
    assert "Of 100 scans, 6 bleed: " in page
    assert f"{100 * ppv:.1f} %" in page

    status, out, _ = call(capsys, "report", f"--workdir={run}")
    assert (status, results_of(run)) == (0, before)
    assert "of 100 scans" not in out
    assert 'id="detection-at-prevalence"' not in (run / "report.html").read_text()
    assert not (run / "tables" / "detection_at_prevalence.csv").exists()


def test_evaluate_states_it_too(tiny_threshold_run, tiny_root, tmp_path, capsys, monkeypatch):
    """50's bleed is missed, 51's and 54's scans get a mask that is not theirs: 5 of 6 and 2 of 3."""
    masks = shutil.copytree(tiny_threshold_run / "predictions", tmp_path / "masks")
    shutil.copy(masks / "057.nii.gz", masks / "050.nii.gz")
    for name in ("051", "054"):
        shutil.copy(masks / "049.nii.gz", masks / f"{name}.nii.gz")
    words = ["evaluate", f"--predictions={masks}", f"--config.data.root={tiny_root}"]
    status, out, _ = call(capsys, *words, "--prevalence", "0.5")
    assert status == 0
    assert "where 50 of 100 scans have a hemorrhage (of those scored here, 6 of 9)" in " ".join(out.split())
    monkeypatch.setattr("ichjax.experiment.score_folder.publish", lambda folder: None)
    assert call(capsys, *words, "--prevalence=0.5", f"--workdir={tmp_path / 'out'}")[0] == 0
    got = results_of(tmp_path / "out")["detection_at_prevalence"]
    counts = ("true_positives", "false_negatives", "true_negatives", "false_positives")
    assert [got[name] for name in counts] == [5, 1, 1, 2]
    assert got["positive_predictive_value"]["value"] == pytest.approx(5 / 6 / (5 / 6 + 2 / 3))
    assert got["false_alarms_per_100_scans"]["value"] == pytest.approx(100 / 3)


@pytest.mark.parametrize("command", ["report", "evaluate"])
@pytest.mark.parametrize("text", ["6", "0", "1", "-1", "nan", "six", "6%"])
def test_a_wrong_prevalence_is_refused_before_anything_is_done(command, text, tmp_path, capsys):
    words = {"report": [f"--workdir={tmp_path / 'none'}"], "evaluate": [f"--predictions={tmp_path / 'none'}"]}[command]
    status, _, err = call(capsys, command, *words, "--prevalence", text)
    assert status == 2
    expected = "expected a number between 0 and 1, such as 0.06 for 6 % of scans"
    assert err == f"ichjax: --prevalence is {text!r}; {expected}\n"
