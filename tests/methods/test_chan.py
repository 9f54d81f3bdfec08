"""The method of the kind of Chan: small dim hemorrhages, and what mimics blood."""

import chex
import jax
import numpy as np
import pytest

from ichjax import config
from ichjax.methods import chan, lesion_features, registry
from tests.methods import planted_heads as planted

pytestmark = [pytest.mark.xdist_group("chan"), pytest.mark.methods]  # one fitted method for all

SMALL = {"size": 0.4, "blood_hu": 44.0}  # 0.4 mL


def training_set():
    """Small hemorrhages as well."""
    small = [planted.make("IPH", seed=k, side=(-1) ** k, size=0.3 + 0.1 * k, blood_hu=43.0 + k) for k in range(4)]
    return planted.training_set() + [planted.PlantedScan(*scan) for scan in small]


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    """A fitted method's program, which is traced once."""
    settings = config.default()
    settings.options.chan = {"top_hat_hu": [10.0], "asymmetry_hu": [8.0], "bright_hu": [37.0, 40.0]}
    made = registry.make("chan", settings)
    with pytest.MonkeyPatch.context() as patch:
        params = planted.fitted(made, tmp_path_factory.mktemp("chan"), patch, training_set())
    chex.clear_trace_counter()
    program = jax.jit(chex.assert_max_traces(made.segment, n=1))
    return lambda head: jax.device_get(program(params, head))


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("options", [SMALL, {}])
def test_finds_a_small_dim_hemorrhage_and_a_large_one(segment, options, side):
    scan = planted.make("IPH", seed=20, side=side, **options)
    found = segment(scan.head)
    assert planted.dice(found.probability > 0.5, scan.truth) > 0.6
    assert found.slice_scores[scan.truth.any(axis=(1, 2))].max() > 0.5
    chex.assert_trees_all_equal(segment(scan.head), found)


@pytest.mark.parametrize("seed", [21, 22])
def test_falx_and_calcified_plexus_are_no_hemorrhage(segment, seed):
    found = segment(planted.make(seed=seed).head)
    assert found.probability.max() < 0.5
    chex.assert_shape(found.slice_scores, (planted.DEPTH,))
    chex.assert_type(jax.tree.leaves(found), np.float32)


@pytest.mark.parametrize("name", planted.odd_heads())
def test_what_is_no_head_gives_probabilities(segment, name):
    planted.check_odd_head(segment, name)


@pytest.mark.parametrize(
    ("rule", "mimic"),
    [
        (0, {"solid": 0.1, "midline_mm": 1.0}),
        (1, {"solid": 0.1, "back": 0.8, "mean_depth_mm": 5.0}),
        (2, {"mean_hu": 75.0, "sd_hu": 8.0}),
        (3, {"mean_depth_mm": 3.0}),
        (4, {"height": -0.8, "sd_hu": 9.0}),
    ],
)
def test_each_rule_rejects_its_mimic_alone(rule, mimic):
    lesion = {"solid": 0.95, "midline_mm": 20.0, "mean_depth_mm": 30.0, "mean_hu": 50.0, "sd_hu": 3.0}
    blank = lesion_features.Lesions(*np.zeros((len(lesion_features.Lesions._fields), 1), np.float32))
    found = blank._replace(**{name: np.float32([value]) for name, value in lesion.items()})
    assert (chan.margins(found) > 0).all()
    rejected = chan.margins(found._replace(**{name: np.float32([value]) for name, value in mimic.items()}))
    assert [int(column) for column in np.flatnonzero(rejected[0] < 0)] == [rule]
