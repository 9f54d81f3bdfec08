"""Boxes, non-maximum suppression and boxes of components, against NumPy and SciPy."""

import functools

import jax
import numpy as np
import pytest
from scipy import ndimage

from ichjax.ops import boxes, component_boxes


def random_boxes(rng, count, side=40):
    low = rng.uniform(0, side - 2, (count, 2))
    return np.concatenate([low, low + rng.uniform(0.5, side / 2, (count, 2))], axis=1).astype(np.float32)


def overlap_of(a, b):
    height, width = (max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1))
    area = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    return height * width / (area - height * width)


def suppressed(of, scores, count, max_overlap):
    """The indices that non-maximum suppression selects, in plain Python."""
    left = [i for i in np.argsort(-scores, kind="stable").tolist() if scores[i] > -np.inf]
    selected = []
    while left and len(selected) < count:
        best = left.pop(0)
        selected.append(best)
        left = [i for i in left if overlap_of(of[best], of[i]) <= max_overlap]
    return selected


def test_overlaps_are_those_of_each_pair():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 20), random_boxes(rng, 30)
    expected = [[overlap_of(one, other) for other in b.astype(float)] for one in a.astype(float)]
    np.testing.assert_allclose(boxes.overlap(a, b), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("max_overlap", [0.1, 0.3, 0.7])
def test_non_maximum_suppression_selects_what_plain_python_does(max_overlap):
    select = jax.jit(functools.partial(boxes.non_maximum_suppression, count=20, max_overlap=max_overlap))
    lengths = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        of, scores = random_boxes(rng, 40, side=6 + 4 * seed), rng.integers(0, 20, 40).astype(np.float32)
        scores[rng.random(40) < 0.1 * seed] = -np.inf
        index, there = map(np.asarray, select(of, scores))
        expected = suppressed(of.astype(float), scores, 20, max_overlap)
        assert index[there].tolist() == expected
        assert there.tolist() == sorted(there.tolist(), reverse=True)
        lengths.add(len(expected))
    assert len(lengths) > 1


def test_decoding_reverses_encoding():
    rng = np.random.default_rng(1)
    of, anchors = random_boxes(rng, 50), random_boxes(rng, 50)
    np.testing.assert_allclose(boxes.decode(boxes.encode(of, anchors), anchors), of, atol=1e-3)


def test_anchors_are_centered_on_cells_and_have_their_area_and_ratio():
    grid = np.asarray(boxes.anchor_grid(2, 3, stride=8, sides_px=(8.0, 20.0), ratios=(0.5, 2.0)))
    assert grid.shape == (2 * 3 * 4, 4)
    sides = (grid[:, 2:] - grid[:, :2]).reshape(6, 2, 2, 2)
    np.testing.assert_allclose(sides.prod(axis=-1), np.broadcast_to([[[64], [400]]], (6, 2, 2)), rtol=1e-5)
    np.testing.assert_allclose(sides[..., 0] / sides[..., 1], np.broadcast_to([[0.5, 2.0]], (6, 2, 2)), rtol=1e-5)
    centers = ((grid[:, :2] + grid[:, 2:]) / 2)[::4]
    np.testing.assert_allclose(centers, [(r, c) for r in (4, 12) for c in (4, 12, 20)], atol=1e-5)


def test_boxes_of_components_are_those_of_scipy():
    find = jax.jit(functools.partial(component_boxes.component_boxes, class_count=3, count=60))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        classes = rng.integers(1, 4, (13, 18)) * (rng.random((13, 18)) < 0.15 + 0.1 * seed)
        expected = []
        for number in (1, 2, 3):
            labels, _ = ndimage.label(classes == number, np.ones((3, 3)))
            for rows, columns in ndimage.find_objects(labels):
                expected.append((rows.start, columns.start, rows.stop, columns.stop, number))
        found, kinds = map(np.asarray, find(classes.astype(np.uint8)))
        there = kinds > 0
        boxes_found = [(*map(int, box), int(kind)) for box, kind in zip(found[there], kinds[there], strict=True)]
        assert sorted(boxes_found) == sorted(expected)
        assert not found[~there].any()
