"""The calibration of volume intervals: what it is measured on, when it is kept, and what counts for whom."""

import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.errors import InputError
from ichjax.experiment import tuning, volume_calibration
from ichjax.experiment.volume_calibration import CALIBRATION_FILE, NOT_MEASURED
from ichjax.methods.base import PostProcess, Prediction
from ichjax.methods.threshold import ThresholdMethod
from ichjax.metrics import volume_interval
from ichjax.metrics.volume_interval import VOLUME_LEVELS, Calibration

VOXEL_ML = 6 * 6 * 5 / 1000
POST = PostProcess(0.5, (0.5,), 2, 0, "fixed beforehand", min_lesion_ml=0.2)


class Given:
    """A method whose probabilities are known: the truth, made faint and noisy."""

    post = POST

    def __init__(self, scans):
        rng = np.random.default_rng(0)
        self.predicted = []
        self.probabilities = {
            scan.volume.name: (0.3 * np.asarray(scan.mask) + rng.normal(0.35, 0.16, scan.mask.shape)).clip(0, 1)
            for scan in scans
        }

    def predict(self, params, volume):
        self.predicted.append(volume.name)
        return Prediction(jnp.asarray(self.probabilities[volume.name], jnp.float32))

    def chosen(self, params):
        return {}


@pytest.fixture(scope="module")
def scans(tiny_root):
    """Three scans: 49 and 50 bleed, 51 does not."""
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:3])[0]


def test_volumes_above_each_level_are_those_of_numpy(scans, monkeypatch):
    probability = np.random.default_rng(1).random((4, 32, 32), np.float32)
    traced = jax.jit(chex.assert_max_traces(volume_calibration._pixels_above.__wrapped__, n=1))
    monkeypatch.setattr(volume_calibration, "_pixels_above", traced)
    for scale in (1.0, 0.5):
        got = volume_calibration.level_volumes(jnp.asarray(scale * probability), scans[0].volume)
        expected = [(scale * probability > np.float32(level)).sum() * VOXEL_ML for level in VOLUME_LEVELS]
        np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(("tune_by", "known"), [("volume_dice", 3), ("paper_dice", 2)])
def test_tuning_measures_the_volumes_of_what_it_predicts(scans, tiny_config, tune_by, known):
    """As `measure_volumes` does afterwards with the post-processing that was chosen, which is not the method's own."""
    fields = {"predict.tune": "all", "predict.tune_by": tune_by, "predict.tune_thresholds": (0.45, 0.55)}
    fields |= {"predict.tune_closing_px": (0,), "predict.tune_opening_px": (0, 2), "predict.tune_min_lesion_ml": (0.5,)}
    method = Given(scans)
    post, volumes = tuning.tune(method, None, scans, tiny_config(**fields))
    assert post != POST
    assert len(method.predicted) == known
    assert volumes == tuning.measure_volumes(method, None, post, scans[:known])
    assert [row["subject"] for row in volumes] == [49, 50, 51][:known]
    truth_px = [int((np.asarray(scan.mask) > 0).sum()) for scan in scans[:known]]
    np.testing.assert_allclose([row["truth_ml"] for row in volumes], np.array(truth_px) * VOXEL_ML)
    assert all(row["predicted_ml"] > 0 for row in volumes[:2])


def test_a_calibration_of_other_weights_or_settings_does_not_count(tmp_path):
    rows = [{"subject": 49, "truth_ml": 1.0, "predicted_ml": 2.0, "level_ml": [2.0] * len(VOLUME_LEVELS)}]
    assert volume_calibration.read(tmp_path, POST) is None
    volume_calibration.write(tmp_path, POST, "abc", rows)
    assert volume_calibration.read(tmp_path, POST) == volume_calibration.read(tmp_path, POST, "abc") == rows
    assert volume_calibration.read(tmp_path, POST, "other") is None
    assert volume_calibration.read(tmp_path, POST._replace(threshold=0.4)) is None
    del rows[0]["truth_ml"]
    volume_calibration.write(tmp_path, POST, "abc", rows)
    with pytest.raises(InputError, match=rf"{CALIBRATION_FILE}: is damaged; expected the volumes"):
        volume_calibration.read(tmp_path, POST)


def result(number, truth_ml=2.0):
    return {"subject": number, "truth_ml": truth_ml, "predicted_ml": 2.0}


def test_a_subjects_own_score_does_not_count_for_its_interval():
    levels = [2.0] * len(VOLUME_LEVELS)
    calibration = Calibration(np.arange(21), np.ones(21, bool), np.array([*range(20), 100.0]))
    results = {"subjects": [result(20), result(5), result(77), result(78)], "beyond": {}}
    rows = [{"subject": number, "level_ml": levels} for number in (20, 5, 77)] + [{"subject": 78}]
    volume_calibration.add_intervals(results, rows, calibration)
    of_others = [np.arange(20.0), np.array([*range(5), *range(6, 20), 100.0]), calibration.scores]
    others = [Calibration(np.zeros(len(one)), np.ones(len(one), bool), one) for one in of_others]
    expected = [*(volume_interval.interval(2.0, levels, one) for one in others), None]
    assert [row["volume_interval_ml"] for row in results["subjects"]] == expected
    part = results["beyond"]["volume_interval"]
    assert (part["n"], part["inside"], part["calibrated_on"], part["reason"]) == (3, 3, 21, NOT_MEASURED)


def test_why_there_is_no_interval():
    results = {"subjects": [result(49)], "beyond": {}}
    rows = [{"subject": 49, "level_ml": [2.0] * len(VOLUME_LEVELS)}]
    for calibration, reason in (
        (volume_calibration.pooled([]), volume_calibration.NOT_CALIBRATED),
        (
            Calibration(np.arange(30), np.arange(30) < 9, np.ones(30)),
            "9 calibration subjects with a predicted hemorrhage; expected at least 20",
        ),
    ):
        volume_calibration.add_intervals(results, rows, calibration)
        part = results["beyond"]["volume_interval"]
        assert (part["reason"], part["observed"], part["n"]) == (reason, None, 0)
        assert results["subjects"][0]["volume_interval_ml"] is None


@pytest.mark.experiments
def test_validation_subjects_of_each_fold_are_calibrated_and_old_folds_later(tiny_threshold_run, tmp_path, monkeypatch):
    folds = json.loads((tiny_threshold_run / "splits.json").read_text())["folds"]
    files = [tiny_threshold_run / f"fold_{fold['fold']}" / CALIBRATION_FILE for fold in folds]
    for fold, path in zip(folds, files, strict=True):
        rows = json.loads(path.read_text())["subjects"]
        assert sorted(row["subject"] for row in rows) == sorted(fold["validation"])
    old = shutil.copytree(tiny_threshold_run, tmp_path / "old")
    for path in old.rglob(CALIBRATION_FILE):
        path.unlink()
    before = json.loads((tiny_threshold_run / "results.json").read_text())
    assert launch.main(["report", f"--workdir={old}"]) == 0
    assert json.loads((old / "results.json").read_text())["beyond"]["volume_interval"]["calibrated_on"] == 0
    predicted, predict = [], ThresholdMethod.predict

    def count(self, params, volume):
        predicted.append(volume.name)
        return predict(self, params, volume)

    monkeypatch.setattr(ThresholdMethod, "predict", count)
    config = next(tiny_threshold_run.parent.glob("*.py"))
    assert launch.main(["crossval", f"--config={config}", f"--workdir={old}"]) == 0
    assert len(predicted) == sum(len(fold["validation"]) for fold in folds)  # no test subject
    assert [(old / path.relative_to(tiny_threshold_run)).read_text() for path in files] == [
        path.read_text() for path in files
    ]
    assert json.loads((old / "results.json").read_text()) == before
