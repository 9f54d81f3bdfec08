"""The threshold method: finds the thresholds that generated the truth, predicts with them and loads them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.errors import InputError
from ichjax.methods import registry, threshold


@pytest.fixture(scope="module")
def scans(tiny_root):
    """Scans whose true mask is 60 to 80 HU: grey levels 170 to 212."""
    cached, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:4])
    replaced = []
    for scan in cached:
        mask = ((scan.volume.hu >= 60) & (scan.volume.hu <= 80)).astype(np.uint8)
        replaced.append(dataclasses.replace(scan, mask=mask, truth_px=mask.sum(axis=(1, 2))))
    return replaced


@pytest.fixture(scope="module")
def method(tiny_config):
    return registry.make("threshold", tiny_config())


def test_it_finds_the_pair_predicts_with_it_and_loads_it(method, scans, tmp_path, monkeypatch, capsys):
    params = method.fit(scans, [], workdir=tmp_path / "fold_0", fold=0)
    assert params["training_jaccard"] == pytest.approx(1.0)
    assert "fold 0: thresholds" in capsys.readouterr().out
    for scan in scans:
        prediction = method.predict(params, scan.volume)
        assert prediction.probability.dtype == jnp.float32
        assert prediction.slice_scores is None
        positive = np.flatnonzero(scan.truth_px)  # other slices may contain single pixels in the range
        np.testing.assert_array_equal(np.asarray(prediction.probability)[positive], scan.mask[positive])
        assert prediction.probability.shape == scan.volume.shape
    assert method.load(tmp_path / "fold_0") == params
    assert method.chosen(params) == {
        "thresholds": [params["lower"], params["upper"]],
        "training_jaccard": params["training_jaccard"],
    }
    monkeypatch.setattr(threshold, "_positive_slices", None)  # a finished fold is only read
    assert method.fit(scans, [], workdir=tmp_path / "fold_0", fold=0) == params


@pytest.mark.parametrize("content", ["{}", "[]", '{"lower": 140, "upper": 200}'])
def test_a_record_without_thresholds_is_refused(method, tmp_path, content):
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(InputError, match=r"model\.json has no thresholds; expected those from `train`"):
        method.load(tmp_path)


def test_the_score_is_the_mean_over_slices_with_a_hemorrhage(method, scans, tmp_path):
    half = dataclasses.replace(scans[0], mask=scans[0].mask.copy())
    d = int(np.flatnonzero(half.truth_px)[0])
    half.mask[d, :, :16] = 0
    half = dataclasses.replace(half, truth_px=half.mask.sum(axis=(1, 2)))
    params = method.fit([half, *scans[1:]], [], workdir=tmp_path, fold=0)
    scores = []
    for scan in [half, *scans[1:]]:
        masks = np.asarray(method.predict(params, scan.volume).probability) > 0.5
        scores += [(f & (t > 0)).sum() / (f | (t > 0)).sum() for f, t in zip(masks, scan.mask, strict=True) if t.any()]
    assert params["training_jaccard"] == pytest.approx(np.mean(scores), rel=1e-5)


def test_invalid_input_is_an_input_error(method, scans, tmp_path):
    healthy = [dataclasses.replace(scan, truth_px=np.zeros(4, int)) for scan in scans]
    with pytest.raises(InputError, match="fold 2: no training slice has a hemorrhage"):
        method.fit(healthy, [], workdir=tmp_path, fold=2)
    with pytest.raises(InputError, match="no finished fold"):
        method.load(tmp_path)
    with pytest.raises(InputError, match="'otsu'; expected one of unet, threshold"):
        registry.make("otsu", None)
