"""Surface Dice and HD95, by hand and against DeepMind's `surface-distance`."""

import warnings

import numpy as np
import pytest
import surface_distance
from hypothesis import given
from hypothesis import strategies as st
from surface_distance import lookup_tables

from ichjax.errors import InputError
from ichjax.metrics import surface

SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.42, 0.42), (2.5, 0.5, 0.75), (4.8, 1.3, 0.7)]


def box(shape, *ranges):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def random_mask(rng, shape):
    """Blobs, specks or dense noise, sometimes touching the border."""
    kind, mask = rng.integers(3), np.zeros(shape, bool)
    if kind == 0:
        return rng.random(shape) < rng.choice([0.02, 0.2, 0.6])
    for _ in range(rng.integers(1, 4)):
        center, radius = rng.random(3) * shape, rng.uniform(1, 6, 3)
        grid = np.indices(shape).transpose(1, 2, 3, 0)
        mask |= (((grid - center) / radius) ** 2).sum(-1) <= 1
    mask[tuple(rng.integers(0, n) for n in shape)] = True
    return mask ^ (rng.random(shape) < 0.02) if kind == 2 else mask


def oracle(truth, prediction, spacing_mm, tolerance_mm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own use of SciPy's old names
        distances = surface_distance.compute_surface_distances(truth, prediction, spacing_mm)
        return (
            surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm),
            surface_distance.compute_robust_hausdorff(distances, 95),
        )


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_areas_agree_with_the_published_table(spacing_mm):
    expected = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm)
    np.testing.assert_allclose(surface.cell_areas(np.array(spacing_mm)), expected, rtol=1e-12)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_agrees_with_surface_distance_on_random_masks(spacing_mm):
    rng, compared = np.random.default_rng(7), 0
    for _ in range(80):
        shape = tuple(int(n) for n in rng.integers(1, 14, 3))
        truth, prediction = random_mask(rng, shape), random_mask(rng, shape)
        if not truth.any() or not prediction.any():
            continue
        tolerance_mm = float(rng.choice([0.7, 2.0, 4.1]))
        dice, hd95_mm = oracle(truth, prediction, spacing_mm, tolerance_mm)
        got = surface.surface(truth, prediction, spacing_mm, tolerance_mm=tolerance_mm)
        assert (got["dice"], got["hd95_mm"]) == (pytest.approx(dice, abs=1e-6), pytest.approx(hd95_mm, abs=1e-6))
        assert not got["infinite"]
        compared += 1
    assert compared >= 60  # of each spacing; the others had an empty mask


def test_empty_masks():
    none, one = np.zeros((3, 4, 5), bool), box((3, 4, 5), (1, 2), (1, 2), (1, 2))
    assert surface.surface(none, none, (5, 1, 1)) == {"dice": None, "hd95_mm": None, "infinite": False}
    for pair in ((none, one), (one, none)):
        assert surface.surface(*pair, (5, 1, 1)) == {"dice": 0.0, "hd95_mm": None, "infinite": True}


@pytest.mark.parametrize(
    ("shift", "spacing_mm", "hd95_mm", "half_mm"),
    [
        ((0, 0, 3), (5, 1, 0.5), 1.5, 1.0),  # elements on the near side have 2 steps to go, those on the far side 3
        ((1, 0, 0), (5, 1, 1), 5.0, 0.0),  # neighbours share a side
        ((0, 3, 4), (5, 1, 1), 5.0, 4.3),  # quarters at 5, sqrt(20), sqrt(18) and sqrt(13)
        ((0, 0, 0), (5, 1, 1), 0.0, None),
    ],
)
def test_one_shifted_pixel(shift, spacing_mm, hd95_mm, half_mm):
    """A pixel has eight elements of equal area at its corners; the truth is in a corner of the scan."""
    truth, prediction = np.zeros((2, 9, 9), bool), np.zeros((2, 9, 9), bool)
    truth[0, 0, 0] = prediction[shift] = True
    got = surface.surface(truth, prediction, spacing_mm, tolerance_mm=hd95_mm)
    assert got == {"dice": 1.0, "hd95_mm": hd95_mm, "infinite": False}
    if half_mm is not None:
        assert surface.surface(truth, prediction, spacing_mm, tolerance_mm=half_mm)["dice"] == pytest.approx(0.5)


def test_half_of_a_slab_beyond_the_tolerance():
    """Two faces of large slabs: one agrees, one is 4 mm off."""
    truth, prediction = box((12, 60, 60), (2, 6), (0, 60), (0, 60)), box((12, 60, 60), (2, 8), (0, 60), (0, 60))
    got = surface.surface(truth, prediction, (2, 10, 10), tolerance_mm=2.0)
    assert got["dice"] == pytest.approx(0.5, abs=0.03)  # the rims of the slabs make the difference
    assert got["hd95_mm"] == 4.0
    assert surface.surface(truth, prediction, (2, 10, 10), tolerance_mm=4.0)["dice"] == 1.0


@given(seed=st.integers(0, 10_000))
def test_symmetric_and_monotonic(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(2, 9, 3))
    a, b = random_mask(rng, shape), random_mask(rng, shape)
    scores = [surface.surface(a, b, (5, 0.5, 0.5), tolerance_mm=t) for t in (0, 1, 5, 100)]
    back = surface.surface(b, a, (5, 0.5, 0.5), tolerance_mm=0)
    if scores[0]["dice"] is None:
        assert back["dice"] is None
        return
    assert back["dice"] == pytest.approx(scores[0]["dice"], abs=1e-12)
    assert back["hd95_mm"] == scores[0]["hd95_mm"]
    dices = [score["dice"] for score in scores]
    assert dices == sorted(dices)
    assert scores[0]["infinite"] or dices[-1] == pytest.approx(1.0)


def test_bad_input():
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(InputError, match="two masks of one scan"):
        surface.surface(mask, mask[:1], (1, 1, 1))
    with pytest.raises(InputError, match="three positive numbers"):
        surface.surface(mask, mask, (1, 0, 1))
