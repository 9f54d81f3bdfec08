import copy
import csv

import numpy as np
import pytest

from ichjax.metrics import published
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.report import workdir
from ichjax.report.tables import cohort, text
from ichjax.report.tables import csv as csv_tables
from ichjax.report.tables import summary as summary_tables


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    """The CSV files of the work directory, each as a list of rows."""
    files = csv_tables.write_tables(workdir.read_run(made.workdir))
    return {file.stem: list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) for file in files}


def only(rows, **where):
    (row,) = (row for row in rows if all(row[key] == value for key, value in where.items()))
    return row


def number(cell):
    return float(cell) if cell else None


def test_summary_csv_holds_every_score_and_its_convention(made, written):
    rows = written["summary"]
    for convention, scores in made.results["conventions"].items():
        for score, figures in scores.items():
            row = only(rows, method="U-Net", convention=convention, score=score)
            assert [number(row[key]) for key in ("mean", "std", "min", "max")] == [
                figures[key] for key in ("mean", "std", "min", "max")
            ]
            assert row["in_words"] == CONVENTIONS[convention]
    free = only(rows, method="U-Net", score="false_positive_ml")
    assert number(free["mean"]) == made.results["hemorrhage_free"]["false_positive_ml"]
    assert number(only(rows, method="Paper: U-Net", score="dice")["mean"]) == 0.315
    assert number(only(rows, method="Paper: U-Net", score="specificity")["min"]) == 0.0
    assert all(row["in_words"] for row in rows)


def test_subjects_csv_holds_every_subject_of_every_method(made, written):
    rows = written["subjects"]
    assert len(rows) == 2 * len(made.results["subjects"])
    for subject in made.results["subjects"]:
        row = only(rows, method="U-Net", subject=str(subject["subject"]))
        for key in ("dice", "jaccard", "volume_dice", "truth_ml", "predicted_ml"):
            assert number(row[key]) == subject[key]
        assert (row["volume_ml_low"], row["volume_ml_high"]) == ("", "")  # of a run without a calibration


def test_subjects_csv_has_the_two_ends_of_an_interval(made):
    results = copy.deepcopy(made.results)
    interval = {"low": 1.5, "high": 4.0, "coverage": 0.9, "calibrated_on": 40}
    results["subjects"][0]["volume_interval_ml"] = interval
    results["subjects"][1]["volume_interval_ml"] = None
    first, second, third = csv_tables.subject_records({"U-Net": results})[:3]
    assert (first["volume_ml_low"], first["volume_ml_high"]) == (1.5, 4.0)
    assert (second["volume_ml_low"], third["volume_ml_high"]) == (None, None)
    assert first.keys() == second.keys() == third.keys()


def test_detection_and_groups(made, written):
    row = only(written["table7"], method="U-Net", threshold="0.9")
    assert number(row["pooled_specificity"]) == made.results["slice_detection"][1]["pooled"]["specificity"]
    assert number(row["paper_accuracy"]) == 0.87
    assert only(written["dice_by_subtype"], method="Threshold", subtype="SDH")["slices"] == "5"
    assert only(written["dice_by_age"], method="U-Net", age_group="18_and_over")["paper_dice"] == "0.309"
    for name in ("table6", "table7", "dice_by_subtype", "dice_by_age"):
        assert all(row["in_words"].endswith((".", "over all of them.", "two-sided.")) for row in written[name])


def test_terminal_table(made):
    methods = workdir.read_run(made.workdir).methods
    printed = summary_tables.summary_text(methods)
    lines = printed.splitlines()
    assert max(map(len, lines)) <= text.WIDTH
    ours = next(line for line in lines if line.startswith("U-Net"))
    dice = made.results["conventions"]["paper"]["dice"]["mean"]
    assert ours.split()[1] == f"{dice:.3f}"
    assert ours.split()[-2:] == [f"{made.results['hemorrhage_free']['false_positive_ml']:.2f}", "mL"]
    assert next(line for line in lines if line.startswith("Paper: U-Net")).split()[2:4] == ["0.315", "0.218"]
    flat = " ".join(printed.split())
    for column in summary_tables.SUMMARY_COLUMNS:
        assert CONVENTIONS[column.convention] in flat
    assert "fewer than 8 subjects" in flat
    assert "43.6 mm²" in flat


def test_warns_of_a_collapse(made):
    assert "collapsed" not in summary_tables.summary_text({"U-Net": made.results})
    silent = [{**s, "predicted_ml": 0.0} for s in made.results["subjects"]]
    assert "U-Net collapsed in fold 0, 1: no hem" in summary_tables.summary_text(
        {"U-Net": {**made.results, "subjects": silent}}
    )


def test_of_many_methods_the_first_is_described(made):
    silent = {**made.results, "subjects": [{**s, "predicted_ml": 0.0} for s in made.results["subjects"]]}
    names = [f"Method {number}" for number in range(summary_tables.MAX_DESCRIBED)]
    few = summary_tables.summary_text(dict.fromkeys(names, made.results))
    assert few.count(" subjects with a hemorrhage, ") == len(names)
    assert "The report says" not in few
    many = summary_tables.summary_text(dict.fromkeys(names, made.results) | {"Last": silent})
    lines = many.splitlines()
    for name in [*names, "Last"]:
        assert sum(line.startswith(f"{name}  ") for line in lines) == 1  # its row
    assert [line[:9] for line in lines if " subjects with a hemorrhage, " in line] == ["Method 0:"]
    assert "Last collapsed in fold 0, 1" in many
    assert f"The report says the same of the other {len(names)} methods." in many
    assert len(lines) < len(few.splitlines())


def test_missing_values_are_dashes(made):
    nothing = {key: None for key in ("mean", "ci95")} | {"n": 0}
    results = {
        **made.results,
        "conventions": {name: dict.fromkeys(("dice", "jaccard"), nothing) for name in ("paper", "pooled", "volume")},
        "hemorrhage_free": {
            "n": 0,
            "false_alarm_rate": None,
            "false_positive_ml": None,
            "false_positive_ml_ci95": None,
        },
        "method": "new",
    }
    line = next(line for line in summary_tables.summary_text({"New": results}).splitlines() if line.startswith("New"))
    assert line.split()[1:4] == ["-", "-", "-"]
    assert line.split()[-2:] == ["-", "-"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"slice_rule_px": 400}, "exceeds 400 pixels."),
        ({"thresholds": {"value": 0.5, "chosen_on": "fixed beforehand"}}, "Threshold 0.5, fixed beforehand."),
        ({"thresholds": {"value": [0.3, 0.4], "chosen_on": "x"}}, "Thresholds by fold [0.3, 0.4], chosen on x."),
        ({"chosen_by_fold": [{"lower": 140}, {"best_jaccard": 0.123456}]}, "By fold: lower 140; best Jaccard 0.1235."),
    ],
)
def test_threshold_and_area_rule_in_words(made, change, expected):
    assert expected in summary_tables.threshold_text({**made.results, **change})


def test_published_values_are_consistent():
    slices = published.SLICE_COUNTS
    assert slices["with"] + slices["without"] == slices["total"]
    assert published.COHORT["male"] + published.COHORT["female"] == published.COHORT["subjects"]
    assert published.COHORT["under_18"] + published.COHORT["18_and_over"] == published.COHORT["subjects"]
    for figures in published.UNET["table6"].values():
        assert figures["min"] <= figures["mean"] <= figures["max"]
    # Weighted by the subjects of Table 4, the sub-types average to about the overall Dice.
    weights, dice = published.COHORT["by_subtype"], published.UNET["by_subtype"]
    assert sum(weights[k] * dice[k] for k in dice) / sum(weights.values()) == pytest.approx(0.321, abs=5e-4)


# Table 4 and 5 by hand.


def person(number, age, sex, fracture, labeled, masked):
    """A record with D = 3; `labeled` is {slice: columns}, `masked` the slices with a mask."""
    labels = np.zeros((3, 5), bool)
    for d, columns in labeled.items():
        labels[d, list(columns)] = True
    positive = np.isin(np.arange(3), masked)
    scan_like = {"age_years": age, "sex": sex, "fracture": fracture, "slice_labels": labels}
    return {"subject": number, **scan_like, "mask_positive": positive, "mask_labels": labels}


PEOPLE = [
    person(1, 30.0, "M", True, {0: (0, 4), 1: (4,)}, [0, 1]),
    person(2, 1 / 365.25, "F", False, {2: (1,)}, []),
    person(3, 17.9, "F", False, {}, [1]),
    person(4, None, None, True, {}, []),
]


def test_cohort_counts_by_hand():
    got = {row["item"]: row["here"] for row in cohort.cohort_rows(PEOPLE)}
    assert got == {
        "Subjects": "4",
        "Sex: male, female": "1, 2",
        "Age in years, mean ± SD": "16.0 ± 12.3",
        "Age range": "1 day to 30 years",
        "Under 18 years, 18 and over": "2, 1",
        "With a hemorrhage, by the labels": "2",
        "With IVH": "1",
        "With IPH": "1",
        "With SAH": "0",
        "With EDH": "0",
        "With SDH": "1",
        "With a skull fracture": "2",
        "Age unknown": "1",
        "Sex unknown": "1",
        "Rows of the slice table": "12",
        "Labeled IVH": "1",
        "Labeled IPH": "1",
        "Labeled SAH": "0",
        "Labeled EDH": "0",
        "Labeled SDH": "2",
        "Labeled with a hemorrhage": "3",
        "Labeled without": "9",
        "Slices of the scans": "12",
        "Slices with a mask": "3",
    }


def test_cohort_text():
    printed = cohort.stats_text(PEOPLE, ["a note"])
    assert "Slices with a mask but no sub-type: 1 (subjects 3)." in printed
    assert "Slices with a sub-type but no mask: 1 (subjects 2)." in printed
    assert "  a note" in printed
    line = next(line for line in printed.splitlines() if "Labeled EDH" in line)
    assert line.split()[-2:] == ["0", "182"]
    assert printed.count("Table 4") == printed.count("Table 5") == 1


def test_cohort_without_ages_and_rows():
    bare = person(1, None, None, False, {}, [])
    bare["slice_labels"] = np.zeros((0, 5), bool)
    got = {row["item"]: row["here"] for row in cohort.cohort_rows([bare])}
    assert (got["Age range"], got["Rows of the slice table"], got["Slices of the scans"]) == ("unknown", "0", "3")


@pytest.mark.parametrize(
    ("years", "expected"),
    [
        (0.0, "0 days"),
        (0.0027, "1 day"),
        (14 / 365.25, "14 days"),
        (0.5, "6 months"),
        (2.0, "2 years"),
        (72, "72 years"),
    ],
)
def test_ages_in_words(years, expected):
    assert cohort.age_text(years) == expected
