"""Scores against several raters: by hand, and the challenge's against its definitions written out plainly."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.metrics import raters


def mask(*voxels, shape=(2, 4, 100)):
    """bool [D, H, W], true at these indices of the flat mask."""
    flat = np.zeros(int(np.prod(shape)), bool)
    flat[list(voxels)] = True
    return flat.reshape(shape)


def score(prediction, *masks):
    return raters.score_raters(dict(enumerate(masks, start=1)), prediction)


def test_by_hand():
    """p = {0..3}, y1 = {0..3}, y2 = {2..5}, y3 = {}: Jaccard 1, 1/3, 0 and, between raters, 1/3, 0, 0."""
    got = score(mask(*range(4)), mask(*range(4)), mask(*range(2, 6)), mask())
    assert got["dice"] == {"1": 1.0, "2": 0.5, "3": None}
    assert got["between"] == pytest.approx((0.5 + 0 + 0) / 3)
    empty = 2 * 96 / 196  # four voxels against an empty mask
    assert got["dice_max"] == 1.0
    assert got["dice_match"] == pytest.approx((1 + 0.5 + empty) / 3)
    # More than 10 and 30 % of three raters: one, {0..5}; 50 %: two, {2, 3}; 70 and 90 %: all three, {}.
    assert got["dice_soft"] == pytest.approx((0.8 + 0.8 + 2 / 3 + 0 + 0) / 5)
    # 2 E d(p, y) = 2 (0 + 2/3 + 1) / 3; E d(y, y') over nine pairs = 2 (2/3 + 1 + 1) / 9
    assert got["ged_one_class"] == pytest.approx(2 * (5 / 3) / 3 - 2 * (8 / 3) / 9)
    # d = 1 - J / 5, that of two empty masks 1, and d(p, p) = 0.8
    cross, between = (4 / 5 + 14 / 15 + 1) / 3, (4 / 5 + 4 / 5 + 1 + 2 * (14 / 15 + 1 + 1)) / 9
    assert got["ged"] == pytest.approx(2 * cross - between - 0.8)


def test_the_challenges_rule_for_bleed_free_scans():
    for voxels, expected in ((0, 1.0), (1, 2 * 99 / 199), (50, 2 / 3), (100, 0.0), (101, 0.0)):
        got = score(mask(*range(voxels)), mask(), mask())
        assert got["dice_max"] == got["dice_match"] == pytest.approx(expected)
        assert got["dice_soft"] == float(voxels == 0)
        assert got["ged"] == float(voxels > 0)
        assert got["dice"] == {"1": None, "2": None}
        assert got["between"] is None


def test_an_empty_prediction_of_a_hemorrhage():
    got = score(mask(), mask(1, 2), mask(1, 2))
    assert (got["dice"], got["dice_max"], got["dice_match"], got["ged"]) == ({"1": 0.0, "2": 0.0}, 0.0, 0.0, 1.0)
    assert got["ged_one_class"] == 2.0


def test_a_single_rater_has_a_dice_but_no_score_of_the_challenge():
    got = score(mask(1, 2), mask(2, 3))
    assert got["dice"] == {"1": 0.5}
    assert {name for name, value in got.items() if value is None} == {
        "between", "ged_one_class", "ged", "dice_max", "dice_match", "dice_soft",
    }  # fmt: skip


def challenge(prediction, masks):
    """(GED, Dice max, Dice match, Dice soft) by the definitions, with one plane for each of six classes."""
    one_hot = lambda array: np.stack([array.ravel() == k for k in range(6)], axis=1)  # noqa: E731
    planes = [one_hot(array.astype(int)) for array in (prediction, *masks)]

    def distance(one, other):
        per_class = (one & other).sum(axis=0) / ((one | other).sum(axis=0) + 1e-8)
        return 1 - per_class[1:].mean()

    y = planes[1:]
    if not prediction.any() or not any(m.any() for m in masks):
        ged = float(prediction.any() or any(m.any() for m in masks))
    else:
        ged = 2 * np.mean([distance(planes[0], one) for one in y])
        ged -= np.mean([distance(one, other) for one, other in itertools.product(y, y)])
        ged -= distance(planes[0], planes[0])
    dice = []
    for m in masks:
        false = (prediction & ~m).sum()
        if m.any():
            dice.append(2 * (m & prediction).sum() / (m.sum() + prediction.sum()))
        else:
            dice.append(0.0 if false > 100 else 2 * (100 - false) / (200 - false))
    mean, soft = np.mean(masks, axis=0), []
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
        marked = mean > threshold + 1e-9
        soft.append((2 * (marked & prediction).sum() + 1e-8) / (marked.sum() + prediction.sum() + 1e-8))
    return ged, max(dice), np.mean(dice), np.mean(soft)


@given(st.integers(2, 5), st.integers(0, 10**6), st.sampled_from([0.0, 0.02, 0.3]))
def test_agrees_with_the_definitions(n, seed, share):
    rng = np.random.default_rng(seed)
    masks = [rng.random((2, 10, 20)) < share * rng.choice([0, 1, 2]) for _ in range(n)]
    prediction = rng.random((2, 10, 20)) < rng.choice([0.0, 0.1, 0.4])
    got = score(prediction, *masks)
    expected = challenge(prediction, masks)
    assert [got[name] for name in ("ged", "dice_max", "dice_match", "dice_soft")] == pytest.approx(expected, abs=1e-7)


@given(st.integers(2, 4), st.integers(0, 10**6))
def test_the_challenges_ged_of_masks_that_are_not_empty_is_a_fifth(n, seed):
    rng = np.random.default_rng(seed)
    masks = [rng.random((1, 6, 6)) < 0.5 for _ in range(n + 1)]
    for one in masks:
        one[0, 0, rng.integers(6)] = True
    got = score(*masks)
    assert got["ged"] == pytest.approx(got["ged_one_class"] / 5)
    assert score(masks[0], masks[0], masks[0])["ged_one_class"] == pytest.approx(0.0)


def test_means_over_scans():
    one = score(mask(0, 1), mask(0, 1), mask(1, 2))
    free = score(mask(), mask(), mask())
    single = raters.score_raters({7: mask(0, 1)}, mask(1, 2))
    got = raters.summarize_raters({49: one, 50: free, 51: single})
    assert got["subjects"] == [{"subject": 49, **one}, {"subject": 50, **free}, {"subject": 51, **single}]
    assert (got["scans"], got["scans_of_several"]) == (3, 2)
    by_rater = got["own"]["dice_by_rater"]
    assert {rater: (s["mean"], s["n"]) for rater, s in by_rater.items()} == {"1": (1, 1), "2": (0.5, 1), "7": (0.5, 1)}
    assert (got["own"]["dice_between_raters"]["mean"], got["own"]["dice_between_raters"]["n"]) == (0.5, 1)
    assert got["mbh_seg_2025"]["dice_match"]["mean"] == pytest.approx((0.75 + 1) / 2)
    assert got["mbh_seg_2025"]["dice_match"]["n"] == 2
    assert set(got["in_words"]) == set(raters.RATERS_IN_WORDS)
    assert raters.summarize_raters({}) is None
