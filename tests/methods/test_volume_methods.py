"""Networks on whole scans, and the network of regions: fit, resume, prediction of any depth, devices, shapes."""

import dataclasses
import functools
import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.data.regrid import own_grid
from ichjax.methods import patch_network, registry
from ichjax.methods.own_settings import configured
from ichjax.methods.sequence_predictor import SequencePredictor
from ichjax.methods.volume_method import VolumeMethod
from ichjax.models.network import count_parameters
from ichjax.models.volume_backbones import PlainVolume
from ichjax.models.volume_classifier import VolumeClassifier, VolumeEnsemble

CONFIGS = pathlib.Path(__file__).parents[2] / "configs" / "literature"
TRAIN = {"epochs": 1, "batch_size": 4, "negatives": "matched", "sampling": "patches", "learning_rate": 3e-3}


class OneConvolution(VolumeMethod):
    """Two networks of one convolution, whose maps differ in size."""

    title, card, name = "One convolution", "Networks of one convolution on scans", "one"
    defaults = {"grid": {"side": 16}, "train": TRAIN}  # noqa: RUF012

    def __init__(self, config):
        changed, _ = configured(config, self.name, self.defaults)
        members = tuple(VolumeClassifier(PlainVolume((4,), (pooled,)), (), 0.5) for pooled in (True, "plane"))
        super().__init__(changed, VolumeEnsemble(members, 3), stack=4)


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:7])[0]


@pytest.fixture(scope="module")
def fitted(tiny_config, scans, tmp_path_factory):
    """(method, parameters, folder) after one epoch."""
    method, folder = OneConvolution(tiny_config()), tmp_path_factory.mktemp("one")
    return method, method.fit(scans[:5], scans[5:], workdir=folder, fold=0), folder


def of_depth(volume, depth):
    """The scan with so many slices, 5 mm apart, repeated from the first on."""
    origins = volume.slice_origins_mm[:1] + 5.0 * np.arange(depth)[:, None] * volume.normal
    hu = np.resize(volume.hu, (depth, *volume.hu.shape[1:]))
    return dataclasses.replace(volume, hu=hu, slice_origins_mm=origins)


def check(method, params, volume):
    prediction = method.predict(params, volume)
    probability = np.asarray(prediction.probability)
    assert probability.shape == volume.hu.shape
    assert np.isfinite(probability).all()
    assert 0.0 <= probability.min() <= probability.max() <= 1.0
    scores = np.column_stack([prediction.subtype_scores, prediction.slice_scores])
    assert scores.shape == (len(volume.hu), 6)
    assert np.isfinite(scores).all()
    assert 0.0 <= scores.min() <= scores.max() <= 1.0
    return prediction, scores


def unlike_start(params):
    """Parameters of which none is 0, as those of a trained network."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32), params)


def test_a_finished_fold_is_read_and_one_without_its_record_goes_on(fitted, scans, monkeypatch):
    method, params, folder = fitted
    (folder / "model.json").rename(folder / "elsewhere.json")
    again = method.fit(scans[:5], scans[5:], workdir=folder, fold=0)  # from its checkpoint, without an update
    monkeypatch.setattr(patch_network, "train_fold", None)
    for read in (again, method.load(folder), method.fit(scans[:5], scans[5:], workdir=folder, fold=0)):
        jax.tree.map(np.testing.assert_array_equal, read.weights, params.weights)
        assert read.chosen == params.chosen
    assert 0.0 < params.chosen["cut"] < 1.0


@pytest.mark.parametrize("depth", [1, 4, 11])
def test_scans_of_any_depth_have_a_score_of_their_own(fitted, scans, depth):
    method, params, _ = fitted
    prediction, scores = check(method, params, of_depth(scans[1].volume, depth))
    np.testing.assert_array_equal(prediction.scan_scores, scores.max(axis=0))
    assert prediction.scan_scores.shape == (6,)


def test_devices_change_nothing(fitted, scans):
    method, params, _ = fitted
    volume, weights = scans[0].volume, unlike_start(jax.device_get(params.weights))
    own, results = own_grid(volume), []
    for devices in (1, 4):
        predictor = SequencePredictor(method.network, side=16, stride=16, devices=jax.devices()[:devices])
        predicted = predictor.predict_inside(predictor.replicate(weights), volume.hu, own, params.grid, slice_mm=5.0)
        results.append((np.asarray(predicted.probability), np.asarray(predicted.scores)))
    assert results[0][0].max() > 0.01
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), *results)


def test_padding_of_a_stack_changes_nothing_and_every_parameter_learns(fitted):
    method, params, _ = fitted
    network, weights = method.network, unlike_start(jax.device_get(params.weights))
    rng = np.random.default_rng(0)
    images, count = jnp.asarray(rng.random((2, 16, 16, 4)), jnp.float32), jnp.int32([4, 2])
    classes = jnp.zeros((2, 16, 16, 4), jnp.uint8).at[0, 3:6, 3:6, 1].set(2)
    keys = jax.random.split(jax.random.key(0), 2)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(weights, images):
        masks = (classes > 0).astype(jnp.float32)
        each = network.loss(weights, images, masks, dropout_keys=keys, slices=count, classes=classes)
        return each.sum(), each

    (_, losses), gradient = loss(weights, images)
    (_, others), _ = loss(weights, images.at[1, ..., 2:].set(0.7))
    np.testing.assert_allclose(losses, others, rtol=1e-6)
    assert min(jax.tree.leaves(jax.tree.map(lambda x: float(abs(x).max()), gradient))) > 0


def full(name):
    """The method of a full configuration, and shapes of its parameters."""
    config = runpy.run_path(str(CONFIGS / f"{name}_full.py"))["get_config"]()
    method = registry.make(name, config)
    return method, method.network.shapes(method.config.patch.side)


@pytest.mark.parametrize(
    ("name", "size", "maps"),
    [
        ("arbabshirani", (24, 256), [(3, 32, 32)] * 4),
        pytest.param(
            "jnawali", (32, 128), [(4, 8, 8), (4, 8, 8), (8, 32, 32)], marks=pytest.mark.faults
        ),  # traced in seconds
    ],
)
def test_scans_have_the_published_size(name, size, maps):
    method, params = full(name)
    network = method.network
    assert (network.module.depth, method.config.patch.side) == size
    side = size[1]
    slices = jax.ShapeDtypeStruct((1, 40, side, side, 1), jnp.float32)
    outputs = jax.eval_shape(network._outputs, params, slices, jax.ShapeDtypeStruct((1,), jnp.int32))
    assert [output.maps.shape for output in outputs] == [(1, *of, 6) for of in maps]
    layers = [len(member["backbone"]) for member in params.values()]
    assert layers == {"arbabshirani": [5, 5, 5, 5], "jnawali": [5, 8, 3]}[name]
    hidden = [sum(layer in member for layer in ("hidden1", "out")) for member in params.values()]
    assert hidden == {"arbabshirani": [2, 2, 2, 2], "jnawali": [2, 1, 1]}[name]
    first = next(iter(params.values()))["backbone"]["conv2"]["conv"]["kernel"]
    inputs, outputs = {"arbabshirani": (32, 64), "jnawali": (48, 128)}[name]
    kernel = {"arbabshirani": (3, 3, 3), "jnawali": (3, 5, 5)}[name]
    assert first.size == np.prod(kernel) * inputs * outputs


def test_the_network_of_regions_has_the_published_shapes():
    method, params = full("chang")
    network = method.network
    assert (method.config.patch.side, 2 * network.neighbors + 1, network.proposals) == (512, 5, 64)
    images = jax.ShapeDtypeStruct((1, 512, 512, 5), jnp.float32)
    pyramid, anchors = jax.eval_shape(network._propose, params, images)
    assert (pyramid.fourth.shape, pyramid.eighth.shape) == ((1, 128, 128, 128), (1, 64, 64, 128))
    assert anchors.logits.shape == (1, 64 * 64 * 9)
    probability, scores = jax.eval_shape(network.predict, params, images)
    assert (probability.shape, scores.shape) == ((1, 512, 512, 5), (1, 6))
    assert count_parameters(params["pyramid"]["up2_1"]["conv"]) == 27 * 32 * 64 + 64
