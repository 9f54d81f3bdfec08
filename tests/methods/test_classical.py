"""What classical methods share: the working grid, learning once, storing, and predicting on the scan's own grid."""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.errors import InputError
from ichjax.methods import heads, registry
from ichjax.methods.classical import ClassicalMethod, Segmented
from ichjax.metrics.literature import REVIEWED

NOT_REVIEWED = {"unet", "recurrent_unet", "full_slices", "threshold", "subtypes"}


class Bright(ClassicalMethod):
    """Hemorrhage is as bright as the training masks."""

    title, card, name = "Bright", "A made-up classical method.", "bright"
    defaults: ClassVar = {"width_hu": 10.0, "steps": 3}

    def learn(self, train, valid, *, fold):
        hu = np.concatenate([np.asarray(scan.head.hu)[np.asarray(scan.truth)] for scan in train])
        return {"mean_hu": float(hu.mean()), "quantiles": np.quantile(hu, [0.1, 0.9])}

    def segment(self, params, head):
        probability = jnp.exp(-(((head.hu - params["mean_hu"]) / self.options["width_hu"]) ** 2))
        return Segmented(probability, probability.max(axis=(1, 2)), jnp.zeros((len(head.hu), 5)))


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:4])[0]


@pytest.fixture(scope="module")
def method(tiny_config):
    return Bright(tiny_config())


def test_a_method_learns_once_and_predicts_on_the_own_grid(method, scans, tmp_path, monkeypatch, capsys):
    params = method.fit(scans, [], workdir=tmp_path / "fold_0", fold=0)
    assert "fold 0: mean_hu" in capsys.readouterr().out
    prediction = method.predict(params, scans[0].volume)
    assert prediction.probability.shape == scans[0].volume.shape
    assert prediction.probability.dtype == jnp.float32
    assert prediction.slice_scores.shape == (len(scans[0].volume.hu),)
    assert prediction.subtype_scores.shape == (len(scans[0].volume.hu), 5)
    air = scans[0].volume.hu < -500
    assert np.asarray(prediction.probability)[air].max() == 0
    monkeypatch.setattr(Bright, "learn", None)  # a finished fold is only read
    again = method.fit(scans, [], workdir=tmp_path / "fold_0", fold=0)
    chex.assert_trees_all_equal(again, params)
    assert method.fingerprint(again) == method.fingerprint(params)
    assert method.fingerprint(params) != method.fingerprint(params | {"mean_hu": 1.0})
    assert method.chosen(params) == {"mean_hu": params["mean_hu"]}
    method.announce(params, [scans[0].volume], "fold 0")
    assert "about 1 s on two CPU cores" in capsys.readouterr().out


def test_scans_of_one_matrix_share_a_program(method, scans, tmp_path, monkeypatch):
    params = method.fit(scans, [], workdir=tmp_path, fold=0)
    fresh = Bright.__new__(Bright)
    fresh.options, traces = method.options, []
    monkeypatch.setattr(fresh, "segment", lambda *arguments: traces.append(1) or method.segment(*arguments))
    fresh._program = jax.jit(fresh._predict)
    for scan in scans:
        fresh.predict(params | {"mean_hu": params["mean_hu"] + scan.number}, scan.volume)
    assert len(traces) == 1


def test_training_and_prediction_see_the_same_head(scans):
    training = heads.Trainings(scans)[1:][0]
    volume = scans[1].volume
    grid = heads.grid_of(volume)
    assert grid[2:] == (heads.PIXEL_MM, heads.PIXEL_MM)
    head, _ = heads.head_of(volume, grid)
    chex.assert_trees_all_equal(training.head, head)
    assert training.number == scans[1].number
    np.testing.assert_array_equal(training.classes > 0, training.truth)
    assert int(head.depth) == len(volume.hu)
    assert not head.inside[len(volume.hu) :].any()
    truth_mm2 = float(training.truth.sum()) * heads.PIXEL_MM**2
    own_mm2 = scans[1].truth_px.sum() * volume.pixel_mm[0] * volume.pixel_mm[1]
    assert truth_mm2 == pytest.approx(own_mm2, rel=0.15, abs=30)


def test_a_scan_without_a_closed_skull_is_all_tissue(scans):
    hu = np.full(scans[0].volume.shape, -1000, np.int16)
    hu[:3, 10:22, 10:22] = 30
    volume = dataclasses.replace(scans[0].volume, hu=hu)
    head, found = heads.head_of(volume, heads.grid_of(volume))
    assert not found
    np.testing.assert_array_equal(head.inside, np.asarray(head.hu) > heads.LEAST_HU)
    assert head.inside.any()


def test_bad_input_is_an_input_error(method, scans, tmp_path, tiny_config):
    healthy = [dataclasses.replace(scan, truth_px=np.zeros(4, int)) for scan in scans]
    with pytest.raises(InputError, match="fold 2: no training slice has a hemorrhage"):
        method.fit(healthy, [], workdir=tmp_path, fold=2)
    with pytest.raises(InputError, match="no finished fold"):
        method.load(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        method.load(tmp_path)
    method.fit(scans, [], workdir=tmp_path / "fold_0", fold=0)
    record = (tmp_path / "fold_0" / "model.json").read_text()
    (tmp_path / "fold_0" / "model.json").write_text(record.replace('"bright"', '"dark"'))
    with pytest.raises(InputError, match="by the method 'dark'; expected 'bright'"):
        method.load(tmp_path / "fold_0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wide": 1}, "options.bright.wide is unknown to this method; expected one of width_hu, steps"),
        ({"steps": 1.5}, "options.bright.steps is 1.5; expected a int"),
        (3, "options.bright is 3; expected fields of this method"),
    ],
)
def test_invalid_options_are_refused(tiny_config, options, message):
    config = tiny_config()
    config.options.bright = options
    with pytest.raises(InputError, match=message):
        Bright(config)


def test_options_change_the_defaults(tiny_config):
    config = tiny_config()
    config.options.bright = {"width_hu": 20}
    assert Bright(config).options == {"width_hu": 20, "steps": 3}


def test_methods_of_the_literature_refer_to_a_reviewed_system(tiny_config):
    methods = [registry.make(name, tiny_config()) for name in registry.METHODS if name not in NOT_REVIEWED]
    assert {method.reference for method in methods} == set(REVIEWED)
    assert len({method.title for method in methods}) == len(methods) == len(REVIEWED)
