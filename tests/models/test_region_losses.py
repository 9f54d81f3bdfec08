"""Which boxes are matched, which negatives count, and the losses of regions, by hand and by NumPy."""

import functools

import jax
import numpy as np
import pytest

from ichjax.models import mask_rcnn, region_losses
from ichjax.ops.component_boxes import ComponentBoxes

TRUTH = ComponentBoxes(np.float32([[0, 0, 10, 10], [20, 20, 24, 24], [0, 0, 0, 0]]), np.int32([2, 4, 0]))
BOXES = np.float32([[0, 0, 10, 9], [0, 5, 10, 15], [0, 0, 10, 4], [20, 20, 24, 32], [40, 40, 50, 50], [0, 0, 0, 0]])


MATCH = jax.jit(functools.partial(region_losses.match, positive=0.5, negative=0.3), static_argnames="best")
LOSS = jax.jit(region_losses.with_hard_negatives)


def test_boxes_are_matched_by_overlap_and_the_best_anchor_of_each_true_box():
    matched = MATCH(BOXES, TRUTH, best=False)
    assert matched.positive.tolist() == [True, False, False, False, False, False]
    assert matched.negative.tolist() == [False, False, False, False, True, True]  # overlaps: .9, 1/3, .4, 1/3, 0, 0
    with_best = MATCH(BOXES, TRUTH, best=True)
    assert with_best.positive.tolist() == [True, False, False, True, False, False]
    assert with_best.number[:4].tolist() == [0, 0, 0, 1]


def test_a_slice_without_a_true_box_has_negatives_alone():
    nothing = ComponentBoxes(np.zeros((3, 4), np.float32), np.zeros(3, np.int32))
    matched = MATCH(BOXES, nothing, best=True)
    assert not matched.positive.any()
    assert matched.negative.all()
    assert float(jax.jit(region_losses.box_loss)(np.ones((6, 4)), BOXES, nothing, matched)) == 0.0


@pytest.mark.parametrize(("positives", "hardest"), [(0, 4), (1, 4), (2, 6)])
def test_the_hardest_negatives_count(positives, hardest):
    losses = np.random.default_rng(0).permutation(20).astype(np.float32)
    positive, negative = np.arange(20) < positives, np.arange(20) >= 3
    matched = region_losses.Match(np.zeros(20, np.int32), positive, negative)
    chosen = [*losses[positive], *np.sort(losses[negative])[-hardest:]]
    assert float(LOSS(losses, matched)) == pytest.approx(np.mean(chosen))


def test_an_unknown_class_is_any_class():
    logits = np.log(np.float32([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]]))
    matched = region_losses.Match(np.int32([0, 1]), np.bool_([True, True]), np.bool_([False, False]))
    truth = ComponentBoxes(np.zeros((2, 4), np.float32), np.int32([2, 3]))
    expected = -(np.log(0.3) + np.log(0.8)) / 2
    assert float(jax.jit(region_losses.class_loss)(logits, truth, matched)) == pytest.approx(expected, rel=1e-5)


def test_the_true_mask_of_a_box_is_that_of_its_class():
    planes = np.zeros((12, 12, 5), np.float32)
    planes[2:6, 2:6, 1] = planes[..., 3] = 1.0
    truth = ComponentBoxes(np.float32([[2, 2, 6, 6]]), np.int32([2]))
    box = np.float32([[2, 2, 6, 10]])  # its left half is the mask
    matched = region_losses.Match(np.int32([0]), np.bool_([True]), np.bool_([False]))
    logits = np.where(np.arange(8) < 4, np.float32(20.0), np.float32(-20.0)) + np.zeros((1, 8, 8), np.float32)
    of = jax.jit(lambda logits: region_losses.mask_loss(logits, box, planes, truth, matched))
    assert float(of(logits)) < 0.1 * float(of(-logits))  # not 0, as edges are interpolated


def test_pixels_have_the_highest_mask_times_score_of_their_boxes():
    boxes = np.float32([[0, 0, 4, 4], [2, 2, 6, 6], [0, 0, 8, 8]])
    scores = np.float32([[0.5, 0.1], [0.25, 0.2], [0.0, 0.0]])
    pasted = jax.jit(functools.partial(mask_rcnn._pasted, size=(8, 8)))
    highest = np.asarray(pasted(np.ones((3, 4, 4), np.float32), boxes, scores))
    expected = np.zeros((8, 8, 2))
    expected[2:6, 2:6] = [0.25, 0.2]
    expected[:4, :4] = np.maximum(expected[:4, :4], [0.5, 0.1])
    np.testing.assert_allclose(highest, expected, atol=1e-6)
