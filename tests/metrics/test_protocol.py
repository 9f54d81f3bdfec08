"""Scores of a data set against hand-computed cases, and against a slow implementation that loops over masks."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics import protocol
from tests.expected import SLICE_RULE_MM2


def counts_of(subject, truth, predicted, *, fold=0, labels=None, age=30.0, pixel_ml=0.01, pixel_mm2=10.0):
    """SubjectCounts of masks: truth bool [D, H, W], predicted bool [T, D, H, W]."""
    truth, predicted = np.asarray(truth, bool), np.asarray(predicted, bool)
    depth = len(truth)
    return protocol.SubjectCounts(
        subject=subject,
        fold=fold,
        truth_px=truth.sum(axis=(1, 2)),
        predicted_px=predicted.sum(axis=(2, 3)),
        overlap_px=(truth & predicted).sum(axis=(2, 3)),
        pixel_ml=np.full(depth, pixel_ml),
        pixel_mm2=pixel_mm2,
        slice_labels=np.zeros((depth, 5), bool) if labels is None else np.asarray(labels, bool),
        age_years=age,
        sex="F",
    )


def counts(subject, truth, predicted, overlap, **options):
    """SubjectCounts of plain numbers at one threshold."""
    made = counts_of(subject, np.zeros((len(truth), 1, 1)), np.zeros((1, len(truth), 1, 1)), **options)
    return dataclasses.replace(
        made, truth_px=np.array(truth), predicted_px=np.array([predicted]), overlap_px=np.array([overlap])
    )


DEFAULTS = {"thresholds": [0.5], "main": 0, "chosen_on": "nothing", "slice_rule_mm2": SLICE_RULE_MM2}


def score(*subjects, **options):
    return protocol.results(list(subjects), **{**DEFAULTS, **options})


def figures(result, convention, name="dice"):
    return result["conventions"][convention][name]


# By hand: subject 1 has two positive slices, subject 2 one, subject 3 none.
#   1: truth 10, predicted 6, both 4: Dice 8 / 16 = 0.5, Jaccard 4 / 12; truth 2, predicted 0: 0;
#      truth 0, predicted 9
#   2: truth 5, predicted 5, both 5: 1
#   3: truth 0, predicted 3 and 0
HAND = (
    counts(1, [10, 2, 0], [6, 0, 9], [4, 0, 0], labels=np.eye(5)[[0, 1, 2]], age=17.9, pixel_ml=0.5),
    counts(2, [5], [5], [5], labels=[[1, 0, 0, 0, 1]], age=18.0, fold=1),
    counts(3, [0, 0], [3, 0], [0, 0], age=None, fold=1, pixel_ml=0.25),
)


def test_paper_by_hand():
    result = score(*HAND)
    assert figures(result, "paper") == {
        "mean": pytest.approx((0.25 + 1) / 2),
        "std": pytest.approx(0.375),
        "min": 0.25,
        "max": 1.0,
        "ci95": None,
        "ci95_bca": None,
        "n": 2,
        "unit": "subjects",
        "n_subjects": 2,
    }
    assert figures(result, "paper", "jaccard")["mean"] == pytest.approx((4 / 12 / 2 + 1) / 2)


def test_pooled_by_hand():
    result = score(*HAND)
    assert figures(result, "pooled")["mean"] == pytest.approx(1.5 / 3)
    assert (figures(result, "pooled")["n"], figures(result, "pooled")["n_subjects"]) == (3, 2)
    assert figures(result, "pooled", "jaccard")["mean"] == pytest.approx((4 / 12 + 0 + 1) / 3)


def test_volume_by_hand():
    # Subject 1: 2 * 4 / (12 + 15); its false positives on the empty slice count here.
    result = score(*HAND)
    assert figures(result, "volume")["mean"] == pytest.approx((8 / 27 + 1) / 2)
    assert figures(result, "volume", "jaccard")["mean"] == pytest.approx((4 / 23 + 1) / 2)
    assert figures(result, "volume")["n"] == 2


def test_slice_detection_by_hand():
    # 10 mm2 a pixel and more than 43.6 mm2: positive from 5 pixels on. Subject 1: hit, miss, false alarm.
    got = score(*HAND)["slice_detection"][0]
    assert got["sensitivity"] == pytest.approx((1 / 2 + 1) / 2)
    assert got["specificity"] == pytest.approx((0 + 1) / 2)
    assert got["accuracy"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert got["pooled"] == {
        "sensitivity": pytest.approx(2 / 3),
        "specificity": pytest.approx(2 / 3),
        "accuracy": pytest.approx(4 / 6),
        "true_positives": 2,
        "false_negatives": 1,
        "true_negatives": 2,
        "false_positives": 1,
    }


def test_the_area_rule_is_strict_and_has_a_literal_form():
    at_rule = counts(1, [9, 9], [400, 401], [0, 0], pixel_mm2=0.109)  # 400 pixels are 43.6 mm2
    assert score(at_rule)["slice_detection"][0]["sensitivity"] == 0.5
    fine = counts(1, [9, 9], [400, 401], [0, 0], pixel_mm2=0.01)
    assert score(fine)["slice_detection"][0]["sensitivity"] == 0.0
    literal = score(fine, slice_rule_px=400)
    assert literal["slice_detection"][0]["sensitivity"] == 0.5
    assert literal["slice_rule_px"] == 400


def test_hemorrhage_free_by_hand():
    alarm = counts(4, [0], [5], [0], pixel_ml=1.0)
    assert score(*HAND, alarm)["hemorrhage_free"] == {
        "n": 2,
        "false_alarm_rate": 0.5,  # 3 pixels are under the rule, 5 over it
        "false_positive_ml": pytest.approx((3 * 0.25 + 5) / 2),
        "false_positive_ml_ci95": None,
        "false_positive_ml_median": pytest.approx(2.875),
        "false_positive_ml_max": 5.0,
    }


def test_subtypes_and_ages_by_hand():
    result = score(*HAND)
    ivh, sdh, edh = (result["by_subtype"][name] for name in ("IVH", "SDH", "EDH"))
    assert ivh["subjects"]["mean"] == pytest.approx((0.5 + 1) / 2)
    assert ivh["each"] == [{"subject": 1, "dice": 0.5}, {"subject": 2, "dice": 1.0}]
    assert sdh["slices"]["n"] == 1  # the slice of subject 2 counts in both of its sub-types
    assert (edh["subjects"]["mean"], edh["subjects"]["n"], edh["each"]) == (None, 0, [])
    assert result["by_subtype"]["SAH"]["subjects"]["n"] == 0  # labeled on a slice whose truth is empty
    ages = result["by_age"]
    assert ages["under_18"]["subjects"]["mean"] == pytest.approx(0.25)
    assert ages["18_and_over"]["subjects"]["mean"] == 1.0
    assert ages["unknown"]["subjects"]["n"] == 0
    assert "unknown" not in score(*HAND[:2])["by_age"]


def test_subjects_by_hand():
    first, _, third = score(*HAND)["subjects"]
    assert first == {
        "subject": 1,
        "fold": 0,
        "dice": 0.25,
        "jaccard": pytest.approx(1 / 6),
        "volume_dice": pytest.approx(8 / 27),
        "truth_ml": 6.0,
        "predicted_ml": 7.5,
        "slices": 3,
        "positive_slices": 2,
        "called_slices": 2,
        "subtypes": ["IVH", "IPH", "SAH"],
    }
    assert (third["dice"], third["jaccard"], third["volume_dice"]) == (None, None, None)
    assert (third["truth_ml"], third["predicted_ml"]) == (0.0, 0.75)


def test_disagreements_by_hand():
    odd = counts(9, [1, 0, 0], [0, 0, 0], [0, 0, 0], labels=[[0] * 5, [1, 0, 0, 0, 0], [0] * 5])
    assert score(odd, HAND[1])["disagreements"] == {
        "mask_without_label": 1,
        "label_without_mask": 1,
        "subjects": [9],
    }


@pytest.mark.parametrize(
    ("truth", "predicted", "overlap", "expected"),
    [
        (0, 0, 0, None),  # empty against empty does not exist
        (0, 7, 0, None),
        (1, 0, 0, 0.0),
        (1, 1, 1, 1.0),
        (1, 1, 0, 0.0),
        (1, 3, 1, 0.5),
    ],
)
def test_one_slice(truth, predicted, overlap, expected):
    result = score(counts(1, [truth], [predicted], [overlap]))
    for convention in ("paper", "pooled", "volume"):
        assert figures(result, convention)["mean"] == expected


def test_leave_out_changes_only_the_scores_that_follow_the_paper():
    kept, all_in = score(*HAND, leave_out=[2, 777]), score(*HAND)
    assert kept["left_out_of_paper"] == [2]
    assert figures(kept, "paper")["mean"] == pytest.approx(0.25)
    assert kept["by_subtype"]["SDH"]["subjects"]["n"] == 0
    assert kept["by_age"]["18_and_over"]["subjects"]["n"] == 0
    for key in ("slice_detection", "hemorrhage_free", "subjects", "counts"):
        assert kept[key] == all_in[key]
    for convention in ("pooled", "volume"):
        assert kept["conventions"][convention] == all_in["conventions"][convention]


def test_no_hemorrhage_at_all_leaves_the_scores_empty():
    result = score(counts(1, [0, 0], [3, 0], [0, 0]))
    assert figures(result, "paper")["mean"] is None
    assert result["slice_detection"][0]["sensitivity"] is None
    assert result["empty_mask_would_score"]["paper"] is None
    json.dumps(result, allow_nan=False)


def test_all_with_hemorrhage_leaves_the_false_alarms_empty():
    result = score(HAND[1])
    assert result["hemorrhage_free"]["n"] == 0
    assert result["hemorrhage_free"]["false_alarm_rate"] is None
    json.dumps(result, allow_nan=False)


def test_an_empty_mask_scores_only_specificity():
    empty = score(*HAND)["empty_mask_would_score"]
    assert {name: empty[name] for name in ("paper", "pooled", "volume")} == dict.fromkeys(
        ("paper", "pooled", "volume"), 0.0
    )
    assert (empty["slice_detection"]["sensitivity"], empty["slice_detection"]["specificity"]) == (0.0, 1.0)
    assert empty["slice_detection"]["pooled"]["accuracy"] == pytest.approx(3 / 6)


def test_the_challenge_convention_is_smoothed_and_over_subjects_with_a_hemorrhage():
    dice = figures(score(*HAND), "challenge")
    assert dice["n"] == 2
    assert dice["mean"] == pytest.approx(((8 + 1e-5) / (27 + 1e-5) + 1.0) / 2, abs=1e-12)
    jaccard = figures(score(*HAND), "challenge", "jaccard")
    assert jaccard["mean"] == pytest.approx(((4 + 1e-5) / (23 + 1e-5) + 1.0) / 2, abs=1e-12)


def test_all_slices_counts_empty_against_empty_as_one():
    # by hand: 0.5, 0 and 0 (a false positive); 1; 0 (a false positive) and 1 (nothing against nothing)
    dice = figures(score(*HAND), "all_slices")
    assert (dice["mean"], dice["n"], dice["unit"]) == (pytest.approx(2.5 / 6), 6, "slices")


def test_an_empty_mask_scores_in_the_inflated_conventions():
    empty = score(*HAND)["empty_mask_would_score"]
    assert empty["all_slices"] == pytest.approx(3 / 6)
    assert empty["challenge"] == pytest.approx(0.0, abs=1e-5)
    assert empty["challenge_all_scans"] == pytest.approx(1 / 3, abs=1e-5)


def test_the_age_test_excludes_subjects_left_out():
    test = score(*HAND)["by_age_test"]
    assert (test["under_18"]["mean"], test["18_and_over"]["mean"]) == (pytest.approx(0.25), pytest.approx(1.0))
    assert test["difference"] == pytest.approx(-0.75)
    assert score(*HAND, leave_out=[2])["by_age_test"]["difference"] is None


def test_every_convention_is_explained():
    result = score(*HAND)
    words = result["conventions_in_words"]
    assert set(result["conventions"]) <= set(words)
    assert {"slice_detection", "slice_detection_pooled", "by_subtype", "by_age"} <= set(words)
    assert all(sentence.endswith(".") and len(sentence) > 40 for sentence in words.values())


def test_thresholds_by_fold():
    truth = np.ones((1, 2, 2), bool)
    low, high = np.ones((1, 2, 2), bool), np.zeros((1, 2, 2), bool)
    subjects = [counts_of(n, truth, [low, high], fold=n % 2) for n in (0, 1)]
    result = score(*subjects, thresholds=[0.3, 0.7], main={0: 0, 1: 1})
    assert result["thresholds"] == {"value": [0.3, 0.7], "chosen_on": "nothing"}
    assert [s["dice"] for s in result["subjects"]] == [1.0, 0.0]
    assert [row["threshold"] for row in result["slice_detection"]] == [0.3, 0.7]
    pairs = score(*subjects, thresholds=[0.3, 0.7], main=0, chosen=[[140, 230], [139, 229]])
    assert pairs["thresholds"]["value"] == [[140, 230], [139, 229]]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"predicted_px": np.zeros((2, 1))}, "subject 2: predicted_px"),
        ({"pixel_ml": np.zeros(3)}, "subject 2: pixel_ml"),
        ({"slice_labels": np.zeros((1, 4))}, "subject 2: slice_labels"),
        ({"overlap_px": np.array([[6]])}, "subject 2: more pixels in both"),
        ({"subject": 1}, "scored twice"),
    ],
)
def test_inconsistent_counts_raise(broken, message):
    with pytest.raises(ValueError, match=message):
        score(HAND[0], dataclasses.replace(HAND[1], **broken))


def test_no_subject_and_no_such_threshold_raise():
    with pytest.raises(ValueError, match="no subject"):
        score()
    with pytest.raises(ValueError, match="number 1 of 1"):
        score(*HAND, main=1)
    with pytest.raises(ValueError, match=r"thresholds of folds \[0\]; expected one for the fold of each subject"):
        score(*HAND, main={0: 0})
    with pytest.raises(ValueError, match="expected one for the fold of each subject"):
        score(dataclasses.replace(HAND[0], fold=None), main={0: 0})


# The slow implementation: masks, loops, statistics of plain lists.


def slow_scores(truth, predicted):
    both = sum(bool(a and b) for a, b in zip(truth, predicted, strict=True))
    a, b = sum(map(bool, truth)), sum(map(bool, predicted))
    return (2 * both / (a + b), both / (a + b - both)) if a else (math.nan, math.nan)


def slow(subjects, masks, *, threshold, rule_mm2):
    """Every figure of a list of (SubjectCounts, truth, predicted [T])."""
    out = {"paper": [], "pooled": [], "volume": [], "sens": [], "spec": [], "acc": [], "alarms": [], "ml": []}
    out["subtype"] = {name: [] for name in SUBTYPES}
    out["table"] = [0, 0, 0, 0]  # hits, misses, right negatives, false alarms
    for c, (truth, predicted) in zip(subjects, masks, strict=True):
        predicted = predicted[threshold]
        of_slice = [slow_scores(t.ravel(), p.ravel()) for t, p in zip(truth, predicted, strict=True)]
        real = [s for s in of_slice if not math.isnan(s[0])]
        if real:
            out["paper"].append(tuple(sum(column) / len(real) for column in zip(*real, strict=True)))
            out["volume"].append(slow_scores(truth.ravel(), predicted.ravel()))
        out["pooled"] += real
        for k, name in enumerate(SUBTYPES):
            mine = [s[0] for s, row in zip(of_slice, c.slice_labels, strict=True) if row[k] and not math.isnan(s[0])]
            if mine:
                out["subtype"][name].append(sum(mine) / len(mine))
        calls = [p.sum() * c.pixel_mm2 > rule_mm2 for p in predicted]
        real = [t.any() for t in truth]
        cells = [(True, True), (False, True), (False, False), (True, False)]
        tally = [sum((a, b) == cell for a, b in zip(calls, real, strict=True)) for cell in cells]
        out["table"] = [a + b for a, b in zip(out["table"], tally, strict=True)]
        hits, misses, rights, falses = tally
        if hits + misses:
            out["sens"].append(hits / (hits + misses))
        else:
            out["alarms"].append(any(calls))
            out["ml"].append(sum(p.sum() * ml for p, ml in zip(predicted, c.pixel_ml, strict=True)))
        if rights + falses:
            out["spec"].append(rights / (rights + falses))
        out["acc"].append((hits + rights) / len(calls))
    return out


def mean(values):
    return pytest.approx(float(np.mean(values)), abs=1e-12) if len(values) else None


def random_data(seed, subjects=6, thresholds=3):
    """Random small masks, some empty, of random scans."""
    rng = np.random.default_rng(seed)
    made, masks = [], []
    for number in range(subjects):
        depth = int(rng.integers(1, 6))
        truth = rng.random((depth, 4, 5)) < rng.choice([0.0, 0.1, 0.4], size=(depth, 1, 1))
        truth &= rng.random() < 0.7
        predicted = rng.random((thresholds, depth, 4, 5)) < rng.choice([0.0, 0.1, 0.5], size=(1, depth, 1, 1))
        labels = rng.random((depth, 5)) < 0.3
        pixel_mm2 = rng.uniform(5, 30)
        c = counts_of(number, truth, predicted, fold=number % 3, labels=labels, pixel_mm2=pixel_mm2)
        made.append(dataclasses.replace(c, pixel_ml=rng.uniform(0.1, 2, depth)))
        masks.append((truth, predicted))
    return made, masks


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), threshold=st.integers(0, 2))
def test_agrees_with_the_slow_implementation(seed, threshold):
    subjects, masks = random_data(seed)
    result = protocol.results(
        subjects, thresholds=[0.2, 0.4, 0.6], main=threshold, chosen_on="nothing", slice_rule_mm2=SLICE_RULE_MM2
    )
    expected = slow(subjects, masks, threshold=threshold, rule_mm2=SLICE_RULE_MM2)
    for convention in ("paper", "pooled", "volume"):
        for column, name in enumerate(("dice", "jaccard")):
            values = [row[column] for row in expected[convention]]
            got = figures(result, convention, name)
            assert got["mean"] == mean(values)
            assert got["n"] == len(values)
            if values:
                assert got["std"] == pytest.approx(float(np.std(values)), abs=1e-12)
                assert (got["min"], got["max"]) == pytest.approx((min(values), max(values)), abs=1e-12)
    for name in SUBTYPES:
        assert result["by_subtype"][name]["subjects"]["mean"] == mean(expected["subtype"][name])
    row = result["slice_detection"][threshold]
    assert [row["sensitivity"], row["specificity"], row["accuracy"]] == [
        mean(expected[key]) for key in ("sens", "spec", "acc")
    ]
    pooled = [row["pooled"][k] for k in ("true_positives", "false_negatives", "true_negatives", "false_positives")]
    assert pooled == expected["table"]
    assert result["reported_slice_detection"] == {**row, "threshold": [0.2, 0.4, 0.6][threshold]}
    free = result["hemorrhage_free"]
    assert (free["n"], free["false_alarm_rate"]) == (len(expected["ml"]), mean(expected["alarms"]))
    assert free["false_positive_ml"] == mean(expected["ml"])
    json.dumps(result, allow_nan=False)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_properties(seed):
    subjects, _ = random_data(seed)
    result = score(*subjects, thresholds=[0.2, 0.4, 0.6])
    # The order of subjects does not matter.
    turned = score(*subjects[::-1], thresholds=[0.2, 0.4, 0.6])
    for convention in ("paper", "pooled", "volume"):
        a, b = figures(result, convention)["mean"], figures(turned, convention)["mean"]
        assert a == (None if b is None else pytest.approx(b, abs=1e-12))
    # A perfect prediction scores 1 and alarms nowhere.
    perfect = [
        dataclasses.replace(c, predicted_px=np.stack([c.truth_px] * 3), overlap_px=np.stack([c.truth_px] * 3))
        for c in subjects
    ]
    best = score(*perfect, thresholds=[0.2, 0.4, 0.6])
    for convention in ("paper", "pooled", "volume"):
        assert figures(best, convention)["mean"] in (None, 1.0)
    assert best["hemorrhage_free"]["false_positive_ml"] in (None, 0.0)
    # Dice and Jaccard order alike; false positives on slices without a hemorrhage touch `volume` only.
    for s in result["subjects"]:
        assert s["dice"] is None or 0 <= s["jaccard"] <= s["dice"] <= 1
    more = [dataclasses.replace(c, predicted_px=c.predicted_px + 20 * (c.truth_px == 0)) for c in subjects]
    flooded = score(*more, thresholds=[0.2, 0.4, 0.6])
    assert figures(flooded, "paper") == figures(result, "paper")
    assert figures(flooded, "pooled") == figures(result, "pooled")
    volume = figures(result, "volume")["mean"]
    assert volume is None or figures(flooded, "volume")["mean"] <= volume
