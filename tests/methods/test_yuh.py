"""The method of the kind of Yuh et al.: planted hemorrhages and their sub-types, and what is no head."""

import chex
import jax
import numpy as np
import pytest

from ichjax import config
from ichjax.data.label_tables import SUBTYPES
from ichjax.methods import registry
from tests.methods import planted_heads as planted

pytestmark = [pytest.mark.xdist_group("yuh"), pytest.mark.methods]  # one fitted method for all


def make():
    settings = config.default()
    settings.options.yuh = {"thresholds_hu": [40.0], "volumes_ml": [0.1, 0.3]}
    return registry.make("yuh", settings)


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    """A fitted method's program, which is traced once."""
    made = make()
    with pytest.MonkeyPatch.context() as patch:
        params = planted.fitted(made, tmp_path_factory.mktemp("yuh"), patch)
    chex.clear_trace_counter()
    program = jax.jit(chex.assert_max_traces(made.segment, n=1))
    return lambda head: jax.device_get(program(params, head))


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_finds_a_planted_hemorrhage_and_its_subtype(segment, subtype):
    scan = planted.make(subtype, seed=20, side=1 if SUBTYPES.index(subtype) % 2 else -1)
    found = segment(scan.head)
    assert planted.dice(found.probability > 0.5, scan.truth) > 0.6
    assert SUBTYPES[found.subtype_scores.max(axis=0).argmax()] == subtype
    bleeding = scan.truth.any(axis=(1, 2))
    assert found.slice_scores[bleeding].max() > 0.5


def test_finds_nothing_in_a_head_without_a_hemorrhage_and_always_the_same(segment):
    head = planted.make(seed=21).head
    found = segment(head)
    assert found.probability.max() < 0.5
    chex.assert_shape(found.probability, head.hu.shape)
    chex.assert_shape([found.slice_scores, found.subtype_scores], [(len(head.hu),), (len(head.hu), 5)])
    chex.assert_type(jax.tree.leaves(found), np.float32)
    chex.assert_trees_all_equal(segment(head), found)


@pytest.mark.parametrize("name", planted.odd_heads())
def test_what_is_no_head_gives_probabilities(segment, name):
    planted.check_odd_head(segment, name)


def test_no_candidate_in_training_is_no_error():
    made = make()
    blank = planted.training_set()[1]
    blank = blank._replace(head=blank.head._replace(hu=np.full_like(blank.head.hu, 30)))
    params = made.learn([blank], [], fold=0)
    found = jax.jit(made.segment)(params, blank.head)
    assert not (found.probability > 0.5).any()
