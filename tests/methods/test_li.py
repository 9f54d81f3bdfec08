"""The method of the kind of Li et al.: planted subarachnoid hemorrhages, and what is none."""

import chex
import jax
import numpy as np
import pytest

from ichjax import config
from ichjax.data.label_tables import SUBTYPES
from ichjax.methods import li, registry
from tests.methods import planted_heads as planted

pytestmark = [pytest.mark.xdist_group("li"), pytest.mark.methods]  # one fitted method for all

SAH = SUBTYPES.index("SAH")


def training_set():
    """More heads with a subarachnoid hemorrhage, large and small, and with another, than the other methods need."""
    sizes = (1.0, 1.0, 1.0, 0.5, 0.5, 0.5)
    more = [planted.make("SAH", seed=30 + k, side=(-1) ** k, size=size) for k, size in enumerate(sizes)]
    more += [planted.make("IPH", seed=k, side=(-1) ** k) for k in range(40, 43)]
    return planted.training_set() + [planted.PlantedScan(*scan) for scan in more]


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    """A fitted method's program, which is traced once."""
    made = registry.make("li", config.default())
    with pytest.MonkeyPatch.context() as patch:
        params = planted.fitted(made, tmp_path_factory.mktemp("li"), patch, training_set())
    chex.clear_trace_counter()
    program = jax.jit(chex.assert_max_traces(made.segment, n=1))
    return lambda head: jax.device_get(program(params, head))


@pytest.mark.parametrize(("size", "ml"), [(1.0, 10.0), (0.5, 2.5)])  # the upper quartile of real ones is 1.7 mL
@pytest.mark.parametrize("side", [1, -1])
def test_finds_a_planted_subarachnoid_hemorrhage(segment, side, size, ml):
    scan = planted.make("SAH", seed=20, side=side, size=size)
    assert scan.truth.sum() * planted.SLICE_MM / 1000 == pytest.approx(ml, rel=0.1)
    found = segment(scan.head)
    assert planted.dice(found.probability > 0.5, scan.truth) > 0.6
    assert found.subtype_scores[:, SAH].max() > 0.5
    assert not np.delete(found.subtype_scores, SAH, axis=1).any()
    chex.assert_trees_all_equal(segment(scan.head), found)


@pytest.mark.parametrize("subtype", [None, "IPH"])
def test_finds_no_other_hemorrhage(segment, subtype):
    found = segment(planted.make(subtype, seed=21).head)
    assert (found.probability > 0.5).sum() * planted.SLICE_MM / 1000 < 0.5
    chex.assert_shape([found.slice_scores, found.subtype_scores], [(planted.DEPTH,), (planted.DEPTH, 5)])
    chex.assert_type(jax.tree.leaves(found), np.float32)


@pytest.mark.parametrize("name", planted.odd_heads())
def test_what_is_no_head_gives_probabilities(segment, name):
    planted.check_odd_head(segment, name)


def test_without_a_subarachnoid_hemorrhage_any_stands_for_it():
    made = registry.make("li", config.default())
    scan = planted.PlantedScan(*planted.make("SAH", seed=1))
    params = made.learn([scan._replace(classes=np.where(scan.truth, 6, 0))], [], fold=0)  # and all scans bleed
    assert params["hu_weight"] > 0
    assert np.isfinite(params["table"]).all()


def test_texture_of_the_space():
    hu = np.float32([1, 1, 30, 30, 99])
    mean, variance, entropy, energy = li.texture(hu, np.float32([1, 1, 1, 1, 0]))
    middles = (0 + 0.5) * 100 / 16, (4 + 0.5) * 100 / 16
    np.testing.assert_allclose([mean, variance], [np.mean(middles), np.var(middles)], rtol=1e-5)
    np.testing.assert_allclose([entropy, energy], [1.0, 0.5], rtol=1e-5)
    assert not np.any(li.texture(hu, np.zeros(5, np.float32)))
