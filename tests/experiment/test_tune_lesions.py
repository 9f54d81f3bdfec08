"""Tuning by whole scans: the score by hand, and the choice that removes a false positive without losing the bleed."""

import types

import numpy as np
import pytest

from ichjax.errors import InputError
from ichjax.experiment import tune_lesions
from ichjax.methods.base import PostProcess, Prediction

POST = PostProcess(0.5, (0.5,), 0, 0, "fixed beforehand")


def scan_of(number, truth):
    volume = types.SimpleNamespace(pixel_ml=np.full(len(truth), 0.1))
    return types.SimpleNamespace(number=number, mask=truth, truth_px=truth.sum(axis=(1, 2)), volume=volume)


@pytest.fixture
def made_up():
    """(method, scans): a bleed of probability 0.5 to 0.9 and, in a scan without one, a false positive of 0.6."""
    truth = np.zeros((2, 8, 8), np.uint8)
    truth[0, 2:5, 2:5] = 1
    bleeding, clean = np.zeros((2, 8, 8), np.float32), np.zeros((2, 8, 8), np.float32)
    bleeding[0, 2:5, 2:5], bleeding[0, 3, 3] = 0.55, 0.9
    clean[1, 0:6, 0:6] = 0.6
    scans = [scan_of(1, truth), scan_of(2, np.zeros_like(truth))]
    probabilities = {id(scans[0].volume): bleeding, id(scans[1].volume): clean}
    method = types.SimpleNamespace(
        post=POST, predict=lambda params, volume: Prediction(np.asarray(probabilities[id(volume)]))
    )
    return method, scans


def test_the_score_of_a_scan_by_hand():
    predicted, overlap = np.array([3.0, 0.0]), np.array([1.0, 0.0])
    np.testing.assert_allclose(tune_lesions.scan_score(2.0, predicted, overlap), [2 / 5, 0.0])
    volumes = np.array([0.0, 0.1, 1.05, 2.0, 50.0])
    np.testing.assert_allclose(tune_lesions.scan_score(0.0, volumes, volumes * 0), [1, 1, 0.5, 0, 0])


def test_a_find_threshold_removes_the_false_positive_and_keeps_the_bleed_whole(made_up, tiny_config):
    method, scans = made_up
    fields = {"predict.tune_thresholds": (0.3, 0.5, 0.7), "predict.tune_find_thresholds": (0.8, 0.95)}
    post = tune_lesions.tune(method, None, scans, tiny_config(**fields | {"predict.tune_min_lesion_ml": (0.0, 0.5)}))
    assert (post.threshold, post.find_threshold, post.min_lesion_ml) == (0.5, 0.8, 0.0)
    assert post.chosen_on == tune_lesions.CHOSEN_ON
    assert np.asarray(post.gate(np.asarray(method.predict(None, scans[1].volume).probability), [0.1, 0.1])).max() <= 0.5


def test_scores_of_all_choices_by_hand(made_up):
    method, scans = made_up
    arrays = [np.array(values, np.float32) for values in ((0.5, 0.7), (0.0, 0.8), (0.0, 0.3))]
    bleeding, clean = (tune_lesions._scores(method, None, scan, arrays) for scan in scans)
    # Above 0.7 only the middle pixel is left, of 0.1 mL: a Dice of 2 x 0.1 / (0.9 + 0.1), unless 0.3 mL are required.
    np.testing.assert_allclose(bleeding, [[[1, 1], [1, 1]], [[0.2, 0], [0.2, 0]]], rtol=1e-5)
    np.testing.assert_allclose(clean, [[[0, 0], [1, 1]], [[1, 1], [1, 1]]])


def test_without_a_validation_scan_there_is_nothing_to_tune_on(made_up, tiny_config):
    with pytest.raises(InputError, match="no validation scan"):
        tune_lesions.tune(made_up[0], None, [], tiny_config())
