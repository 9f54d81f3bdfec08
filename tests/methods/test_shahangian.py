"""Shahangian's method: planted lesions and their sub-types, and training scans that lack some."""

import chex
import jax
import numpy as np
import pytest

from ichjax.data.label_tables import SUBTYPES
from ichjax.methods import registry, shahangian
from ichjax.methods.heads import Head
from tests.methods import planted_phantoms

pytestmark = [pytest.mark.xdist_group("shahangian"), pytest.mark.methods]  # one fitted method for all

PLANTED = ("IVH", "IPH", "EDH", "SDH")


@pytest.fixture(scope="module")
def method(tiny_config):
    return registry.make("shahangian", tiny_config())


@pytest.fixture(scope="module")
def params(method):
    """Learned from three heads with each sub-type, and three without a hemorrhage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shahangian, "SEED_SD_GRID", (1.75,))
        heads = [planted_phantoms.training(name, seed) for seed in (1, 2, 3) for name in (*PLANTED, None)]
        return method.learn(heads, [], fold=0)


@pytest.fixture(scope="module")
def segment(method):
    """Fails where other parameters or another head need a new program."""
    chex.clear_trace_counter()
    return jax.jit(chex.assert_max_traces(method.segment, n=1))


@pytest.mark.parametrize("subtype", PLANTED)
def test_a_planted_lesion_has_its_sub_type(segment, params, subtype):
    for seed in (11, 12):
        scan = planted_phantoms.training(subtype, seed)
        segmented = segment(params, scan.head)
        assert planted_phantoms.dice(segmented, scan) > 0.6
        bleeding = np.asarray(scan.truth).sum(axis=(1, 2)) > 20
        scores = np.asarray(segmented.subtype_scores)[bleeding]
        assert (scores.argmax(axis=1) == SUBTYPES.index(subtype)).mean() > 0.8
        assert np.asarray(segmented.slice_scores)[bleeding].min() > 0.5


def test_another_cut_needs_no_new_program(segment, params):
    scan = planted_phantoms.training("IPH", 14)
    assert np.asarray(segment(params | {"cut": 0.999999}, scan.head).probability).max() < 0.5


def test_a_head_without_hemorrhage_and_one_without_brain_are_empty(segment, params):
    healthy = planted_phantoms.training(None, 13).head
    nothing = Head(np.full_like(healthy.hu, -1000), np.zeros_like(healthy.inside), healthy.depth, healthy.slice_mm)
    for head in (healthy, nothing, nothing._replace(inside=healthy.inside)):
        segmented = segment(params, head)
        chex.assert_tree_all_finite(segmented)
        assert np.asarray(segmented.probability).max() <= 0.5
        assert np.asarray(segmented.subtype_scores).max() <= 0.5


def test_learning_is_deterministic_and_a_missing_sub_type_has_no_score(method, monkeypatch):
    monkeypatch.setattr(shahangian, "SEED_SD_GRID", (1.75,))
    heads = [planted_phantoms.training("IPH", seed) for seed in (1, 2)] + [planted_phantoms.training(None, 3)]
    params, again = (method.learn(heads, [], fold=0) for _ in range(2))
    chex.assert_trees_all_equal(params, again)
    assert params["second_classes"].tolist() == [shahangian.SECOND.index("IPH")]
    features, _, _ = method._examine(heads[0].head, heads[0].classes, np.float32(1.75))
    scores = np.asarray(shahangian._scores("second", params, features, classes=3))
    np.testing.assert_array_equal(scores, np.tile([[-1, 1, -1]], (len(scores), 1)))
    segmented = jax.eval_shape(method.segment, params, heads[0].head)
    assert segmented.subtype_scores.shape == (planted_phantoms.DEPTH, len(SUBTYPES))


def test_scans_without_any_region_are_learned_from(method, monkeypatch):
    monkeypatch.setattr(shahangian, "SEED_SD_GRID", (50.0,))
    params = method.learn([planted_phantoms.training("IPH", 1)], [], fold=0)
    assert params["regions"] == 0
    assert params["cut"] == pytest.approx(0.5)


def test_what_was_learned_is_stored_and_read(method, params, tiny_root, tmp_path, monkeypatch):
    planted_phantoms.check_is_stored(method, params, tiny_root, tmp_path, monkeypatch)
