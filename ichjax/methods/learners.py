"""Fits forests and support vector machines with scikit-learn, as arrays for `ops.forest` and `ops.svm`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from ichjax.ops.forest import Forest
from ichjax.ops.svm import Svm


def fit_forest(
    features: np.ndarray, labels: np.ndarray, *, trees: int, max_leaves: int, min_leaf_examples: int, seed: int
) -> Forest:
    """Fits a random forest: float32 [V, F] and integer labels [V] of at least two classes, with sqrt(F) features a
    split, bootstrap samples, and at most `max_leaves` leaves a tree, the purest first."""
    model = RandomForestClassifier(
        trees, max_leaf_nodes=max_leaves, min_samples_leaf=min_leaf_examples, random_state=seed, n_jobs=-1
    )
    return forest_arrays(model.fit(features, labels), nodes=2 * max_leaves - 1)


def forest_arrays(model: RandomForestClassifier, *, nodes: int = 1) -> Forest:
    """The trees of a fitted forest, in NumPy arrays with room for at least `nodes` nodes a tree; its class order is
    `model.classes_`."""
    trees = [estimator.tree_ for estimator in model.estimators_]
    shape = len(trees), max(nodes, *(tree.node_count for tree in trees))
    feature, threshold = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    children = np.tile(np.repeat(np.arange(shape[1], dtype=np.int32), 2), (shape[0], 1))
    value = np.zeros((*shape, len(model.classes_)), np.float32)
    for k, tree in enumerate(trees):
        inner = np.flatnonzero(tree.children_left >= 0)
        feature[k, inner] = tree.feature[inner]
        threshold[k, inner] = _round_down(tree.threshold[inner])
        children[k, 2 * inner], children[k, 2 * inner + 1] = tree.children_left[inner], tree.children_right[inner]
        value[k, : tree.node_count] = tree.value[:, 0] / tree.value[:, 0].sum(axis=1, keepdims=True)
    arrays: Any = feature, threshold, children, value, np.array([tree.max_depth for tree in trees], np.int32)
    return Forest(*arrays)


def fit_svm(features: np.ndarray, labels: np.ndarray, *, cost: float, gamma: float) -> Svm:
    """Fits a support vector machine with a radial basis function to float [V, F] and integer labels [V].

    Classes count equally, whatever their numbers of examples. Exact; suits up to a few thousand examples.
    """
    return svm_arrays(SVC(C=cost, gamma=gamma, class_weight="balanced").fit(features, labels))


def svm_arrays(model: SVC) -> Svm:
    """A fitted machine with an RBF kernel and a number as `gamma`, in NumPy arrays; its class order is
    `model.classes_`."""
    classes = len(model.classes_)
    owner = np.repeat(np.arange(classes), model.n_support_)
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    weights = np.zeros((len(pairs), len(owner)), np.float32)
    for row, (i, j) in enumerate(pairs):
        weights[row, owner == i] = model.dual_coef_[j - 1, owner == i]
        weights[row, owner == j] = model.dual_coef_[i, owner == j]
    sign = -1.0 if classes == 2 else 1.0  # of two classes, scikit-learn's decision is above 0 for the second
    support = model.support_vectors_.astype(np.float32)
    intercept = (sign * model.intercept_).astype(np.float32)
    arrays: Any = support, np.float32(sign) * weights, intercept, np.array(model.gamma, np.float32)
    return Svm(*arrays)


def select_features(
    features: np.ndarray, labels: np.ndarray, half: np.ndarray, *, start: Sequence[int], most: int, cost: float
) -> tuple[list[int], float]:
    """Adds features one after the other, each time the one with the best accuracy on the half not fitted to.

    Args:
      features: float [V, F], standardized.
      labels: integers [V].
      half: 0 or 1 [V]: each is judged by a machine that is fitted to the other.
      start: features that are selected in any case.
      most: number of features, at most; it stops earlier when none improves the accuracy.
      cost: of the machine, whose gamma is 1 / number of features.

    Returns:
      (the features' indices, in the order of selection; the mean over classes of the accuracy).
    """
    selected = list(start)
    best = _accuracy(features[:, selected], labels, half, cost) if selected else -1.0
    while len(selected) < most:
        others = [k for k in range(features.shape[1]) if k not in selected]
        scores = [_accuracy(features[:, [*selected, k]], labels, half, cost) for k in others]
        if not others or max(scores) <= best + 1e-9:
            break
        best = max(scores)
        selected.append(others[int(np.argmax(scores))])
    return selected, best


def _accuracy(features: np.ndarray, labels: np.ndarray, half: np.ndarray, cost: float) -> float:
    """The mean over classes of the accuracy, each half judged by the other; a half with one class tells that class."""
    predicted = np.full(len(labels), -1)
    for part in (0, 1):
        known, asked = half != part, half == part
        if not asked.any() or not known.any():
            continue
        classes = np.unique(labels[known])
        if len(classes) == 1:
            predicted[asked] = classes[0]
            continue
        model = SVC(C=cost, gamma=1.0 / features.shape[1], class_weight="balanced")
        predicted[asked] = model.fit(features[known], labels[known]).predict(features[asked])
    return float(np.mean([(predicted[labels == each] == each).mean() for each in np.unique(labels)]))


def _round_down(threshold: np.ndarray) -> np.ndarray:
    """float32 at or below float64, so that a float32 value is on the same side of both."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
