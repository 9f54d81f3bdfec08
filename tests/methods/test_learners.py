"""Selection of features, and forests of a fixed size."""

import numpy as np
import pytest

from ichjax.methods import learners


def examples(seed=0, count=80):
    """Features of which 2 and 4 tell the labels together, and each alone only in part."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 6))
    labels = (features[:, 2] > 0) + 2 * (features[:, 4] > 0)
    return features, labels, np.arange(count) % 2


def test_features_that_tell_the_labels_are_selected():
    features, labels, half = examples()
    selected, accuracy = learners.select_features(features, labels, half, start=[], most=2, cost=10.0)
    assert set(selected) == {2, 4}
    assert accuracy > 0.8
    first, _ = learners.select_features(features, labels, half, start=[0], most=3, cost=10.0)
    assert first[0] == 0
    assert set(first[1:]) == {2, 4}


def test_selection_ends_when_nothing_improves_or_nothing_is_left():
    features, labels, half = examples()
    perfect = np.stack([labels * 10.0, features[:, 0]], axis=1)
    assert learners.select_features(perfect, labels, half, start=[], most=2, cost=10.0) == ([0], 1.0)
    assert learners.select_features(perfect, labels, half, start=[0, 1], most=9, cost=10.0)[0] == [0, 1]


@pytest.mark.parametrize("half", [np.zeros(80, int), (np.arange(80) > 0).astype(int)])
def test_a_half_without_examples_or_with_one_class_tells_little_and_does_not_fail(half):
    features, labels, _ = examples()
    selected, accuracy = learners.select_features(features, labels, half, start=[1], most=2, cost=1.0)
    assert selected[0] == 1
    assert 0 <= accuracy < 0.5


def test_a_forest_has_room_for_the_leaves_that_it_may_have():
    features, labels, _ = examples()
    forest = learners.fit_forest(
        features.astype(np.float32), labels > 0, trees=3, max_leaves=16, min_leaf_examples=5, seed=0
    )
    assert forest.feature.shape == (3, 31)
    assert forest.children.shape == (3, 62)
    again = learners.fit_forest(
        features.astype(np.float32), labels > 0, trees=3, max_leaves=16, min_leaf_examples=5, seed=0
    )
    for one, other in zip(forest, again, strict=True):
        np.testing.assert_array_equal(one, other)
