"""Methods that outline regions without training: planted hemorrhages, healthy and degenerate scans, learning twice."""

import importlib

import chex
import jax
import numpy as np
import pytest

from ichjax.config import default
from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.methods import registry
from ichjax.methods.region_method import tissue_of
from tests.methods import planted_scans
from tests.methods.planted_scans import CLEAR_ML, head

# {method: options that keep the tests short}
METHODS = {
    "gautam": {},
    "bhadauria": {"iterations": 40},
    "prakash": {"shrinking": 40, "growing": 30},
    "nag": {"iterations": 60, "steps": 60},
}
LONG = [pytest.param(name, marks=pytest.mark.faults) for name in METHODS if name != "gautam"]  # compiled for 20 s each
CHOICES = {"bhadauria": {"brighter_hu": 10.0}, "prakash": {"brighter_hu": 8.0, "balloon": 1.5}}


def make(name):
    config = default()
    config.options[name] = METHODS[name]
    method = registry.make(name, config)
    method.grid = {option: values[-1:] for option, values in method.grid.items()}  # only one value, to be short
    return method


@pytest.fixture(scope="module", params=["gautam", *LONG])
def learned(request):
    """(method, what it learned from planted heads, its compiled `segment`, which may be traced once)."""
    method = make(request.param)
    params = method.learn(planted_scans.training_set(), [], fold=0)
    traces = []

    def segment(head):
        traces.append(head)
        assert len(traces) == 1
        return method.segment(params, head)

    return method, params, jax.jit(segment)


@pytest.mark.parametrize("name", CHOICES)
def test_a_clear_hemorrhage_is_within_the_outline(name):
    planted = head(20, blood_ml=CLEAR_ML)
    method = make(name)
    share = jax.jit(lambda scan: method.outline(CHOICES[name], scan, tissue_of(scan, 3.0)))(planted.head)
    assert planted_scans.dice(share, planted) > 0.6
    assert not np.asarray(share)[~np.asarray(planted.head.inside)].any()


def test_a_clear_hemorrhage_is_outlined_and_a_healthy_scan_is_empty(learned):
    _, _, segment = learned
    planted = head(20, blood_ml=CLEAR_ML)
    found = segment(planted.head)
    assert planted_scans.dice(found.probability, planted) > 0.6
    healthy = segment(head(21).head)
    assert (np.asarray(healthy.probability) > 0.5).sum() * planted_scans.SLICE_MM / 1000 < 0.2  # mL
    for result in (found, healthy):
        assert all(np.isfinite(np.asarray(part)).all() for part in jax.tree.leaves(result))
        assert 0 <= np.asarray(result.probability).min() <= np.asarray(result.probability).max() <= 1
        assert result.slice_scores.shape == planted.truth.shape[:1]
    assert np.asarray(found.slice_scores).max() > np.asarray(healthy.slice_scores).max()


def test_degenerate_scans_give_numbers_and_no_hemorrhage(learned):
    _, _, segment = learned
    scan = head(20, blood_ml=CLEAR_ML).head
    constant, nothing = np.full_like(scan.hu, 30), np.zeros_like(scan.inside)
    first = np.arange(len(scan.hu))[:, None, None] < 1
    cases = [
        scan._replace(hu=constant),
        scan._replace(hu=constant, inside=np.ones_like(scan.inside)),
        scan._replace(inside=nothing),
        scan._replace(inside=scan.inside & first, depth=np.int32(1)),  # one slice
        scan._replace(depth=np.int32(0), inside=nothing),
    ]
    for case in cases:
        result = segment(jax.tree.map(jax.numpy.asarray, case))
        assert all(np.isfinite(np.asarray(part)).all() for part in jax.tree.leaves(result))
    assert not (np.asarray(segment(cases[0]).probability) > 0.5).any()


def test_learning_again_gives_the_same_parameters_of_the_best_choice(learned, capsys):
    method, params, _ = learned
    values = type(method).grid
    method.grid = {name: choices[-2:] for name, choices in values.items()}
    scans = planted_scans.training_set()[1:]
    first, again = (method.learn(scans, [], fold=0) for _ in range(2))
    chex.assert_trees_all_equal(again, first)
    assert method.fingerprint(again) == method.fingerprint(first) != method.fingerprint(params)
    assert all(first[name] in method.grid[name] for name in values)
    assert f"choices of {', '.join(values)}, compared on 2 scans" in capsys.readouterr().out


def test_training_masks_that_no_region_overlaps_give_an_empty_result(learned):
    method, _, _ = learned
    scans = [head(k) for k in (30, 31)]
    corner = np.zeros(scans[0].truth.shape, bool)
    corner[3, 40:44, 40:44] = True
    params = method.learn([scans[0]._replace(truth=corner), scans[1]], [], fold=0)
    assert all(np.isfinite(value).all() for value in params.values())


@pytest.fixture(scope="module")
def tiny_scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:2])[0]


@pytest.mark.faults
def test_a_finished_fold_is_only_read(tiny_scans, tmp_path, monkeypatch):
    method = make("gautam")
    params = method.fit(tiny_scans, [], workdir=tmp_path, fold=0)
    monkeypatch.setattr(importlib.import_module("ichjax.methods.region_method").RegionMethod, "learn", None)
    chex.assert_trees_all_equal(make("gautam").fit(tiny_scans, [], workdir=tmp_path, fold=0), params)
    prediction = method.predict(params, tiny_scans[0].volume)
    assert prediction.probability.shape == tiny_scans[0].volume.shape
