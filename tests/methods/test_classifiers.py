"""Classifiers of slices and of slices in order: fit, load, predictions of short and long scans, devices, planted blood.

With a network of two convolutions in place of their backbones, which take long to compile; the backbones themselves,
and some of the methods, are behind a marker.
"""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ichjax.data import ct_ich_nifti, regrid, scan_cache
from ichjax.errors import InputError
from ichjax.methods import patch_network, registry
from ichjax.models import backbones
from ichjax.models.blocks import ClassifierBlock

pytestmark = [pytest.mark.xdist_group("classifiers"), pytest.mark.methods]  # each is trained once

TINY = {
    "prevedello": {"width": 4},
    "chilamkurthy": {"width": 4},
    "lee": {"width": 4, "members": ("resnet18",)},
    "ye": {"width": 4, "hidden": 4, "stack": 2},
    "grewal": {"growth": 4, "layers": 1, "hidden": 4, "stack": 2},
}
EPOCHS = {"ye": 3, "grewal": 3, "prevedello": 60}  # each network of the last sees one window, where bone is bright, too


class TwoConvolutions(nn.Module):
    """Features of a quarter of the image's side."""

    @nn.compact
    def __call__(self, images):
        return ClassifierBlock(16, stride=2)(ClassifierBlock(8, stride=2)(images))


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)[0]


def make(tiny_config, name, **options):
    config = tiny_config(**{"predict.inside_skull": False})
    train = {"epochs": EPOCHS.get(name, 20), "batch_size": 4, "learning_rate": 0.02, "warmup_steps": 0}
    config.options[name] = TINY[name] | {"grid": {"side": 32}, "train": train | {"ema_decay": 0.0}} | options
    return registry.make(name, config)


def fit(tiny_config, scans, name, folder, **options):
    """(name, method, parameters, folder) after training on five scans, four of which bleed."""
    method = make(tiny_config, name, **options)
    return name, method, method.fit(scans[:5], scans[5:7], workdir=folder, fold=0), folder


@pytest.fixture(scope="module", params=TINY)
def fitted(request, tiny_config, scans, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "make", lambda name, **options: TwoConvolutions())
        return fit(tiny_config, scans, request.param, tmp_path_factory.mktemp(request.param))


def check(prediction, shape):
    """Fails where a part of a prediction has another shape, or is no probability."""
    expected = {"probability": shape, "slice_scores": shape[:1], "subtype_scores": (shape[0], 5), "scan_scores": (6,)}
    for name, sizes in expected.items():
        values = getattr(prediction, name)
        if name == "scan_scores" and values is None:
            continue
        values = np.asarray(values)
        assert values.shape == sizes, name
        assert np.isfinite(values).all(), name
        assert values.min() >= 0.0, name
        assert values.max() <= 1.0, name


def test_a_finished_folder_is_only_read(fitted, scans, monkeypatch):
    name, method, params, folder = fitted
    monkeypatch.setattr(patch_network, "train_fold", None)
    again = method.fit(scans[:5], scans[5:7], workdir=folder, fold=0)
    jax.tree.map(np.testing.assert_array_equal, again.weights, params.weights)
    assert again.chosen == params.chosen
    assert method.fingerprint(again) == method.fingerprint(params)
    assert 0.0 < params.chosen["cut"] < 1.0
    assert ("forest" in params.chosen) == (name == "chilamkurthy")
    assert "forest" not in method.chosen(params)


def test_every_layer_has_learned(fitted):
    check_learned(fitted[2])


def check_learned(params):
    """Biases start at 0 and scales at 1: each has moved, so that a gradient reached what they are added to."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params.weights):
        name = jax.tree_util.keystr(path)
        values = np.asarray(leaf)
        assert np.isfinite(values).all(), name
        assert values.any(), name
        if "scale" in name:
            assert (values != 1.0).any(), name


@pytest.mark.parametrize("depth", [1, 4, 23])
def test_scans_of_few_and_of_many_slices_are_predicted(fitted, scans, depth):
    _, method, params, _ = fitted
    volume = scans[0].volume
    hu = np.concatenate([volume.hu] * 6)[:depth]
    check(method.predict(params, dataclasses.replace(volume, hu=hu)), hu.shape)


def test_one_device_and_four_agree(fitted, scans):
    name, method, params, _ = fitted
    if name == "lee":
        pytest.skip("its program has the chosen degree as a further parameter")
    volume = scans[0].volume
    side = method.config.grid.side
    own = regrid.own_grid(volume)
    results = []
    for devices in (jax.local_devices()[:1], jax.local_devices()):
        predictor = method.predictor(method.network, side=side, stride=side, devices=devices)
        arguments = predictor.replicate(params.weights), np.concatenate([volume.hu] * 2), own, params.grid
        results.append(jax.device_get(predictor.predict_inside(*arguments, slice_mm=5.0)))
    np.testing.assert_allclose(results[0].probability, results[1].probability, atol=1e-5)
    np.testing.assert_allclose(results[0].scores, results[1].scores, atol=1e-5)


def test_slices_with_planted_blood_rank_above_others(fitted, scans):
    name, method, params, _ = fitted
    if name in ("ye", "grewal"):
        pytest.skip("takes more than a short training")
    predictions = [method.predict(params, scan.volume) for scan in scans]
    truth = np.concatenate([scan.truth_px > 0 for scan in scans])
    assert roc_auc_score(truth, np.concatenate([np.asarray(p.slice_scores) for p in predictions])) > 0.8


def test_unknown_members_of_the_ensemble_are_refused(tiny_config):
    for members in (("vgg16", "alexnet"), ()):
        with pytest.raises(InputError, match=r"config\.options\.lee\.members is .*expected some of vgg16"):
            make(tiny_config, "lee", members=members)
