"""Muschelli's method: features against NumPy, planted lesions, and training scans that it cannot learn from."""

import chex
import jax
import numpy as np
import pytest

from ichjax.errors import InputError
from ichjax.methods import logistic, registry
from ichjax.methods import muschelli_features as mf
from ichjax.methods.classical import Segmented
from ichjax.methods.heads import Head
from tests.methods import planted_phantoms

pytestmark = [pytest.mark.xdist_group("muschelli"), pytest.mark.methods]  # one fitted method for all

OPTIONS = {"trees": 10, "max_leaves": 16}


def make(tiny_config, **options):
    config = tiny_config()
    config.options.muschelli = OPTIONS | options
    return registry.make("muschelli", config)


@pytest.fixture(scope="module")
def method(tiny_config):
    return make(tiny_config)


@pytest.fixture(scope="module")
def heads():
    return [planted_phantoms.training(name, seed) for seed in (1, 2) for name in ("IPH", "EDH", None)]


@pytest.fixture(scope="module")
def params(method, heads):
    return method.learn(heads, [], fold=0)


@pytest.fixture(scope="module")
def segment(method):
    """Fails where other parameters or another head need a new program."""
    chex.clear_trace_counter()
    return jax.jit(chex.assert_max_traces(method.segment, n=1))


@pytest.mark.parametrize("subtype", ["IPH", "EDH"])
def test_a_planted_lesion_is_found(segment, params, subtype):
    scan = planted_phantoms.training(subtype, 11)
    assert planted_phantoms.dice(segment(params, scan.head), scan) > 0.75


def test_a_head_without_hemorrhage_and_one_without_brain_are_empty(segment, params):
    healthy = planted_phantoms.training(None, 13).head
    nothing = Head(np.full_like(healthy.hu, -1000), np.zeros_like(healthy.inside), healthy.depth, healthy.slice_mm)
    for head in (healthy, nothing, nothing._replace(inside=healthy.inside)):
        segmented = segment(params, head)
        chex.assert_tree_all_finite(segmented)
        assert np.asarray(segmented.probability).max() <= 0.5


def test_learning_is_deterministic(method, heads, params):
    chex.assert_trees_all_equal(method.learn(heads, [], fold=0), params)
    assert {name for name, value in params.items() if not isinstance(value, np.ndarray)} == {"cut", "lesion_voxels"}


def test_the_logistic_regression_finds_it_too(tiny_config, heads):
    method = make(tiny_config, learner="logistic")
    scan = planted_phantoms.training("IPH", 11)
    params = method.learn(heads, [], fold=0)
    probability = method._evaluated(params, scan.head)[1]
    assert planted_phantoms.dice(Segmented(logistic.centered(probability, params["cut"])), scan) > 0.7


def test_bad_input_is_an_input_error(tiny_config, method, heads):
    with pytest.raises(InputError, match="learner is 'boosting'; expected 'forest' or 'logistic'"):
        make(tiny_config, learner="boosting")
    blind = heads[0]._replace(truth=np.asarray(heads[0].truth) & ~np.asarray(heads[0].head.inside))
    with pytest.raises(InputError, match="fold 3: no true voxel of 0 to 100 HU lies inside a skull"):
        method.learn([blind], [], fold=3)


def test_features_are_numpys(method, params, heads):
    head, truth = heads[0].head, np.asarray(heads[0].truth)
    template = mf.make_template(np.asarray(method._sums(head, truth)).astype(np.int64))
    features, _ = method._evaluated(params | {"template_mean": template.mean, "template_sd": template.sd}, head)
    brain, hu = np.asarray(features.brain), np.asarray(head.hu)
    maps = dict(zip(mf.VOXEL_FEATURES, np.asarray(features.maps), strict=True))
    assert all(not values[~brain].any() for values in maps.values())
    value = hu[brain]
    low, high = np.quantile(value, [0.2, 0.8], method="inverted_cdf")
    clipped = np.clip(value, low, high)
    np.testing.assert_allclose(maps["z_winsorized"][brain], (value - clipped.mean()) / clipped.std(), atol=1e-3)
    plane = np.where(brain, hu, np.nan)[1]
    axial = (plane - np.nanmean(plane)) / np.nanstd(plane)
    np.testing.assert_allclose(maps["z_axial"][1][brain[1]], axial[brain[1]], atol=1e-4)
    np.testing.assert_array_equal(maps["in_blood_range"][brain], (value >= 40) & (value <= 80))
    assert maps["bright_classes"][truth & brain].min() > 0.9 > 0.1 > maps["bright_classes"][brain & (hu < 15)].max()
    normal = brain & ~truth
    assert abs(np.median(maps["z_template"][normal])) < 0.5 < 3 < np.median(maps["z_template"][truth & brain])
    assert np.median(maps["mirror_difference"][truth & brain]) > 15
    grid = np.argwhere(head.inside) * [planted_phantoms.SLICE_MM, 1, 1]
    farthest = np.linalg.norm(np.argwhere(brain) * [planted_phantoms.SLICE_MM, 1, 1] - grid.mean(axis=0), axis=1)
    np.testing.assert_allclose(maps["centroid_mm"][brain], farthest, rtol=1e-3, atol=1e-3)


def test_what_was_learned_is_stored_and_read(method, params, tiny_root, tmp_path, monkeypatch):
    planted_phantoms.check_is_stored(method, params, tiny_root, tmp_path, monkeypatch)
