import copy
import csv
import shutil

import numpy as np
import pytest

from ichjax.metrics import published
from ichjax.metrics.slice_detection import DETECTION_RATES
from ichjax.report import workdir
from ichjax.report.tables import csv as csv_tables
from ichjax.report.tables import paper as paper_tables


@pytest.fixture
def run(made, tmp_path):
    """A copy of the made run in which the second method chose gray levels."""
    shutil.copytree(made.workdir, tmp_path / "run")
    run = workdir.read_run(tmp_path / "run")
    run.methods["Threshold"]["chosen_by_fold"] = [
        {"thresholds": [130, 220], "training_jaccard": 0.25},
        {"thresholds": [150, 240], "training_jaccard": 0.5},
    ]
    return run


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tables_are_written_with_the_values_of_the_paper(run):
    written = csv_tables.write_tables(run)[2:]
    assert [p.name for p in written] == [
        "table6.csv", "table7.csv", "dice_by_subtype.csv", "dice_by_age.csv", "thresholds.csv",
    ]  # fmt: skip
    six = read(written[0])
    assert [(r["method"], r["statistic"]) for r in six[:4]] == [
        ("U-Net", s) for s in ("minimum", "maximum", "SD", "mean")
    ]
    # PROTOCOL, Table 6: the paper's row of means, as fractions.
    mean = six[3]
    assert [mean[f"paper_{s}"] for s in paper_tables.PAPER_SCORES] == ["0.218", "0.315", "0.9728", "0.504"]
    assert [six[7][f"paper_{s}"] for s in paper_tables.PAPER_SCORES] == ["0.08", "0.135", "", ""]


def test_table_6_agrees_with_the_scores_of_the_subjects(run):
    records = {r["statistic"]: r for r in paper_tables.table6(run.methods) if r["method"] == "U-Net"}
    dice = np.array([s["dice"] for s in run.results["subjects"] if s["dice"] is not None])
    assert [records[s]["dice"] for s in ("minimum", "maximum", "SD", "mean")] == pytest.approx(
        [dice.min(), dice.max(), dice.std(), dice.mean()], abs=1e-12
    )
    assert records["mean"]["n_dice"] == len(dice)


def test_table_7_agrees_with_the_counts_of_the_subjects(run):
    first = paper_tables.table7(run.methods)[0]
    truth = np.array([s["positive_slices"] for s in run.results["subjects"]])
    predicted_positive = np.array([s["called_slices"] for s in run.results["subjects"]])
    pooled = run.results["slice_detection"][0]["pooled"]
    assert pooled["true_positives"] + pooled["false_positives"] == predicted_positive.sum()
    assert first["pooled_sensitivity"] == pytest.approx(pooled["true_positives"] / truth.sum())
    assert [first[f"paper_{r}"] for r in DETECTION_RATES] == [0.972, 0.504, 0.566]
    others = [r for r in paper_tables.table7(run.methods) if r["method"] == "Threshold"]
    assert others
    assert all(r["paper_sensitivity"] is None for r in others)


def test_groups_and_the_test_of_the_age_groups(run):
    subtypes = {r["subtype"]: r for r in paper_tables.dice_by_subtype(run.methods) if r["method"] == "U-Net"}
    assert subtypes["SAH"]["paper_dice"] == 0.23
    assert (subtypes["EDH"]["paper_subjects"], subtypes["EDH"]["paper_slices"]) == (21, 182)
    methods = copy.deepcopy(run.methods)
    for results in methods.values():
        results.pop("by_age_test", None)
    assert not any(r["age_group"] == "difference" for r in paper_tables.dice_by_age(methods))
    methods["U-Net"]["by_age_test"] = {
        "under_18": {}, "18_and_over": {}, "difference": -0.25, "ci95": [-0.5, 0.125], "mann_whitney_p": 0.75, "n": 9,
    }  # fmt: skip
    row = next(r for r in paper_tables.dice_by_age(methods) if r["age_group"] == "difference")
    assert (row["dice"], row["ci95_low"], row["ci95_high"], row["mann_whitney_p"]) == (-0.25, -0.5, 0.125, 0.75)
    assert row["paper_dice"] == 0.012  # 0.321 less 0.309
    # A CSV needs the same columns in every record.
    assert len({tuple(r) for r in paper_tables.dice_by_age(methods)}) == 1


def test_gray_levels_of_each_fold(run):
    rows = paper_tables.gray_levels(run.methods)
    assert [(r["fold"], r["lower"], r["upper"], r["training_jaccard"]) for r in rows] == [
        (0, 130, 220, 0.25),
        (1, 150, 240, 0.5),
    ]
    assert {(r["paper_lower"], r["paper_upper"]) for r in rows} == {(140, 230)}
    without = {"U-Net": run.methods["U-Net"]}
    assert paper_tables.gray_levels(without) == []


def test_other_published_results_have_a_note_on_comparability():
    assert all(o["trust"].endswith(".") for o in published.OTHERS_ON_CT_ICH)
    assert {o["name"]: o["dice"] for o in published.OTHERS_ON_CT_ICH}["DDANet 2024"] == 0.712
