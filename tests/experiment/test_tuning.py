"""Tuning on validation scans: against a plain search in NumPy and OpenCV, its ties, and what it must not touch."""

import dataclasses
import itertools
import json

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.errors import InputError
from ichjax.experiment import tuning
from ichjax.methods import registry
from ichjax.methods.base import PostProcess, Prediction
from tests.ops.test_components import gate_by_scipy

POST = PostProcess(0.5, (0.5, 0.7), 2, 2, "fixed beforehand")


class Given:
    """A method of the tests' own whose probabilities are known beforehand."""

    post = POST

    def __init__(self, probabilities, chosen=None):
        self.probabilities, self.said, self.predicted = probabilities, chosen or {}, []

    def predict(self, params, volume):
        self.predicted.append(volume.name)
        return Prediction(jnp.asarray(self.probabilities[volume.name]))

    def chosen(self, params):
        return self.said


@pytest.fixture(scope="module")
def scans(tiny_root):
    """Three scans: 49 and 50 bleed, 51 does not."""
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:3])[0]


def noisy(scans, seed=0):
    """{scan: float32 [D, H, W]}: the truth, made faint and noisy."""
    rng = np.random.default_rng(seed)
    made = {}
    for scan in scans:
        signal = 0.25 * np.asarray(scan.mask) + rng.normal(0.35, 0.16, scan.mask.shape)
        made[scan.volume.name] = signal.clip(0, 1).astype(np.float32)
    return made


def dice_by_opencv(probability, mask, threshold, closing, opening):
    scores = []
    for p, truth in zip(probability, np.asarray(mask) > 0, strict=True):
        if truth.any():
            found = (p > np.float32(threshold)).astype(np.uint8)
            for operation, side in ((cv2.MORPH_CLOSE, closing), (cv2.MORPH_OPEN, opening)):
                found = cv2.morphologyEx(found, operation, np.ones((side, side), np.uint8)) if side else found
            scores.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    return np.mean(scores)


@pytest.mark.parametrize("mode", ["threshold", "all"])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_what_a_plain_search_finds(scans, tiny_config, mode, seed):
    config = tiny_config(**{"predict.tune": mode, "predict.tune_closing_px": (0, 2), "predict.tune_opening_px": (0, 3)})
    method = Given(noisy(scans, seed))
    found, _ = tuning.tune(method, None, scans, config)
    pairs = [(2, 2)] if mode == "threshold" else [(c, o) for c in (0, 2) for o in (0, 3)]
    scores = {
        (t, c, o): np.mean(
            [dice_by_opencv(method.probabilities[s.volume.name], s.mask, t, c, o) for s in scans if s.truth_px.any()]
        )
        for t in config.predict.tune_thresholds
        for c, o in pairs
    }
    best = max(scores.values())
    assert list(scores.values()).count(best) == 1
    assert scores[found.threshold, found.closing_px, found.opening_px] == best
    assert found.thresholds == POST.thresholds
    assert found.chosen_on == tuning.CHOSEN_ON["paper_dice"]
    assert best > scores[min(config.predict.tune_thresholds), *pairs[0]]  # there was something to choose


def test_gates_are_tuned_by_what_they_drop_in_all_scans(scans, tiny_config):
    """Against a plain search with SciPy and OpenCV, over scans with and without a hemorrhage."""
    tried = {"find_thresholds": (0.0, 0.7), "min_lesion_ml": (0.0, 0.002, 0.05), "min_lesion_slices": (1, 2)}
    thresholds = (0.45, 0.55)
    fields = {f"predict.tune_{name}": values for name, values in tried.items()}
    fields |= {"predict.tune": "all", "predict.tune_by": "volume_dice", "predict.tune_thresholds": thresholds}
    config = tiny_config(**fields, **{"predict.tune_closing_px": (0,), "predict.tune_opening_px": (0,)})
    method = Given(noisy(scans))
    found, _ = tuning.tune(method, None, scans, config)
    scores = {}
    for t, high, min_ml, min_slices in itertools.product(thresholds, *tried.values()):
        of_scans = []
        for scan in scans:
            probability, pixel_ml = method.probabilities[scan.volume.name], scan.volume.pixel_ml.astype(np.float32)
            gates = {"high": np.float32(high), "min_ml": np.float32(min_ml), "min_slices": min_slices}
            mask = gate_by_scipy(probability, pixel_ml, np.float32(t), **gates) > np.float32(t)
            truth, predicted_ml = np.asarray(scan.mask) > 0, (mask.sum(axis=(1, 2)) * pixel_ml).sum()
            dice = 2 * (mask & truth).sum() / max(mask.sum() + truth.sum(), 1)
            of_scans.append(dice if truth.any() else np.clip((2 - predicted_ml) / 1.9, 0, 1))
        scores[t, high, min_ml, min_slices] = np.mean(of_scans)
    chosen = found.threshold, found.find_threshold, found.min_lesion_ml, found.min_lesion_slices
    assert scores[chosen] == pytest.approx(max(scores.values()), abs=1e-9)
    assert scores[chosen] > max(scores[t, 0.0, 0.0, 1] for t in thresholds)
    assert found.gates
    assert found.chosen_on == tuning.CHOSEN_ON["volume_dice"]


def test_the_score_of_scans_by_hand():
    # Dice 2 x 30 / (40 + 60); all missed; without a hemorrhage: nothing, and 0, 1, 3 and 9 mL above 0.1
    truth, predicted, both = np.array([40, 40, 0, 0, 0, 0, 0]), np.array([60, 0, 0, 1, 1, 1, 1]), [30, 0, 0, 0, 0, 0, 0]
    scores = tuning.volume_score(truth, predicted, np.array(both), np.array([3, 0, 0, 0.1, 1.1, 3.1, 9.1]))
    np.testing.assert_allclose(scores, [0.6, 0, 1, 1, 0.5, 0.25, 0.1], atol=1e-12)


def test_a_file_from_before_the_gates_is_read(tmp_path):
    old = {"threshold": 0.3, "thresholds": [0.5], "closing_px": 1, "opening_px": 2, "chosen_on": "validation"}
    (tmp_path / tuning.POST_FILE).write_text(json.dumps(old))
    assert tuning.read(tmp_path, POST) == PostProcess(0.3, POST.thresholds, 1, 2, "validation")
    gated = POST._replace(find_threshold=0.8, min_lesion_ml=0.2, min_lesion_slices=2)
    tuning.write(tmp_path, gated)
    assert tuning.read(tmp_path, POST) == gated


def test_of_equals_the_nearest_to_the_configuration_is_taken(scans, tiny_config):
    perfect = {scan.volume.name: np.asarray(scan.mask, np.float32) for scan in scans}
    config = tiny_config(
        **{"predict.tune": "all", "predict.tune_closing_px": (0, 1), "predict.tune_opening_px": (0, 1)}
    )
    found, _ = tuning.tune(Given(perfect), None, scans, config)
    assert (found.threshold, found.closing_px, found.opening_px) == (0.5, 1, 1)
    config.predict.tune, config.predict.tune_thresholds = "threshold", (0.9, 0.7, 0.3, 0.1)
    assert tuning.tune(Given(perfect), None, scans, config)[0].threshold == 0.3  # as near as 0.7, and lower


def test_only_scans_that_count_in_the_papers_dice_are_predicted(scans, tiny_config):
    config = tiny_config(**{"predict.tune": "threshold", "data.leave_out": (50,)})
    method = Given(noisy(scans))
    both, _ = tuning.tune(method, None, scans, config)
    assert method.predicted == [scans[0].volume.name]
    assert both == tuning.tune(method, None, scans[:1], config)[0]


def test_without_tuning_or_with_thresholds_of_its_own_a_method_keeps_what_it_has(scans, tiny_config):
    method = Given({})
    assert tuning.tune(method, None, scans, tiny_config())[0] is method.post
    config = tiny_config(**{"predict.tune": "all"})
    threshold = registry.make("threshold", config)
    params = {"lower": 140, "upper": 230, "training_jaccard": 0.1}
    assert tuning.tune(threshold, params, scans, config)[0] is threshold.post


def test_a_fitted_network_is_tuned(scans, tiny_config, tmp_path):
    small = {"model.base_width": 2, "model.depth": 1, "model.norm": "none", "train.epochs": 1}
    config = tiny_config(**small, **{"predict.tune": "threshold", "predict.tune_thresholds": (0.02, 0.5)})
    method = registry.make("unet", config)
    params = method.fit(scans[:2], scans[1:], workdir=tmp_path, fold=0)
    found, _ = tuning.tune(method, params, scans[1:], config)
    probability = np.asarray(method.predict(params, scans[1].volume).probability)
    scores = {t: dice_by_opencv(probability, scans[1].mask, t, 2, 2) for t in (0.02, 0.5)}
    assert scores[found.threshold] == max(scores.values())


def test_nothing_to_tune_on_is_said(scans, tiny_config):
    config = tiny_config(**{"predict.tune": "all"})
    healthy = dataclasses.replace(scans[0], truth_px=np.zeros_like(scans[0].truth_px))
    with pytest.raises(InputError, match="'all', but none of 2 validation scans has a hemorrhage; expected"):
        tuning.tune(Given(noisy(scans)), None, [healthy, scans[2]], config)


def test_folds_share_the_thresholds_at_which_they_are_counted(tiny_config):
    config = tiny_config(**{"predict.tune_thresholds": (0.25, 0.5)})
    assert tuning.counted_thresholds(POST, config) == (0.5, 0.7)
    config.predict.tune = "threshold"
    assert tuning.counted_thresholds(POST, config) == (0.25, 0.5, 0.7)
    for threshold in config.predict.tune_thresholds:
        assert threshold in tuning.counted_thresholds(POST._replace(threshold=threshold), config)


def test_several_folds_choices_are_combined_by_their_median():
    posts = [POST._replace(threshold=t, closing_px=c, opening_px=0) for t, c in ((0.2, 10), (0.4, 0), (0.9, 5))]
    found = tuning.combined(posts)
    assert (found.threshold, found.closing_px, found.opening_px) == (0.4, 5, 0)
    assert tuning.combined(posts[:2]).threshold == 0.2
