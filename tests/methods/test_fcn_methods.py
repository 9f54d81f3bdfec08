"""Segmentation networks of the literature: fit, read again, scans of any length, devices, planted blood, gradients.

With small networks in place of a dilated residual one, of GoogLeNet and of VGG-16, which take long to compile: those
are behind a marker.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from ichjax.data import ct_ich_nifti, regrid, scan_cache
from ichjax.errors import InputError
from ichjax.methods import patch_network, registry
from ichjax.methods.kuang import ENERGY
from ichjax.models import dilated, fcn
from ichjax.models.blocks import ConvBlock

pytestmark = [pytest.mark.xdist_group("fcn_methods"), pytest.mark.methods]  # each is trained once

PATCHES = {"grid": {"side": 0}, "patch": {"side": 16, "stride": 8}}
TINY = {
    "kuo": PATCHES,
    "kuang": PATCHES | {"outer": 2, "inner": 20, "block": 1, "start": 0.6, "b": (0.3,), "model": {"depth": 1}},
    "cho": {"grid": {"side": 32}, "gates": (0.0, 0.5)},
}
EPOCHS = {"kuo": 1, "kuang": 6, "cho": 1}


class TinyFeatures(nn.Module):
    """Features at every second pixel."""

    width: int
    blocks: tuple[int, ...] = ()
    stride: int = 2
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images):
        return ConvBlock(4, stride=2)(images)


class TinyFcn(nn.Module):
    """A linear map of the pixels to the classes."""

    width: int
    pools: int
    head: int
    dropout: float
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images, *, dropout_keys=None):
        return nn.Dense(fcn.PIXEL_CLASSES)(images)


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)[0]


def make(tiny_config, name, **options):
    config = tiny_config(**{"predict.inside_skull": False, "predict.batch_size": 8})
    train = {"epochs": EPOCHS[name], "batch_size": 4, "learning_rate": 0.01, "ema_decay": 0.0}
    config.options[name] = TINY[name] | {"train": train} | options
    return registry.make(name, config)


@pytest.fixture(scope="module", params=TINY)
def fitted(request, tiny_config, scans, tmp_path_factory):
    """(name, method, parameters, folder) after a short training on six scans."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dilated, "DilatedResidual", TinyFeatures)
        patch.setattr(fcn, "GoogLeNet", TinyFeatures)
        patch.setattr(fcn, "Fcn", TinyFcn)
        method = make(tiny_config, request.param)
        folder = tmp_path_factory.mktemp(request.param)
        yield request.param, method, method.fit(scans[:6], scans[6:], workdir=folder, fold=0), folder


def test_a_finished_fold_is_only_read(fitted, scans, monkeypatch):
    name, method, params, folder = fitted
    monkeypatch.setattr(patch_network, "train_fold", None)
    again = method.fit(scans[:6], scans[6:], workdir=folder, fold=0)
    assert again.chosen == params.chosen
    assert method.fingerprint(again) == method.fingerprint(params)
    assert {"kuo": set(), "kuang": set(ENERGY), "cho": {"gate"}}[name] <= set(params.chosen)


@pytest.mark.parametrize("depth", [1, 4])
def test_a_prediction_is_a_probability_on_the_scans_grid(fitted, scans, depth):
    name, method, params, _ = fitted
    volume = dataclasses.replace(scans[1].volume, hu=scans[1].volume.hu[-depth:])
    prediction = method.predict(params, volume)
    arrays = [prediction.probability, prediction.slice_scores, prediction.class_probability]
    for array in (np.asarray(each) for each in arrays if each is not None):
        assert np.isfinite(array).all()
        assert 0 <= array.min() <= array.max() <= 1
    assert prediction.probability.shape == volume.shape
    assert prediction.slice_scores.shape == (depth,)
    assert (prediction.class_probability is not None) == method.segments_subtypes == (name == "cho")
    if name == "cho":
        classes = np.asarray(prediction.class_probability)
        np.testing.assert_allclose(classes.sum(axis=-1), 1.0, atol=1e-5)
        np.testing.assert_allclose(1.0 - classes[..., 0], prediction.probability, atol=1e-5)
    if name == "kuo":
        uncertainty = np.asarray(method.uncertainty(params, volume))
        assert uncertainty.shape == volume.shape
        assert 0 <= uncertainty.min() < uncertainty.max() <= np.log(2)


@pytest.mark.parametrize("fitted", ["kuo"], indirect=True)
def test_one_and_four_devices_agree(fitted, scans):
    _, method, params, _ = fitted
    volume = scans[1].volume
    weights = jax.device_get(params.weights)
    results = []
    for count in (1, 4):
        predictor = type(method._predictor)(
            method.network, side=method.config.patch.side, stride=method.config.patch.stride, batch_size=8,
            devices=jax.devices()[:count],
        )  # fmt: skip
        own = regrid.own_grid(volume)
        results.append(np.asarray(predictor(predictor.replicate(weights), volume.hu, own, params.grid)))
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


def test_contours_of_one_and_four_devices_agree(tiny_config, scans):
    volume = scans[1].volume
    probability = jnp.asarray(np.where(scans[1].mask > 0, 0.9, 0.1), jnp.float32)
    results = []
    for count in (1, 4):
        method = make(tiny_config, "kuang")
        method._mesh = Mesh(np.array(jax.devices()[:count]), ("data",))
        results.append(np.asarray(method.evolve(probability, volume, {"b": 0.1, "c": 0.1, "smoothness": 0.2})))
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(results[0] > 0.5, np.asarray(scans[1].mask) > 0)


@pytest.mark.parametrize("fitted", ["kuang"], indirect=True)
def test_a_planted_hemorrhage_is_segmented(fitted, scans):
    _, method, params, _ = fitted
    predicted = np.concatenate([np.asarray(method.predict(params, scan.volume).probability) > 0.5 for scan in scans])
    truth = np.concatenate([np.asarray(scan.mask) > 0 for scan in scans])
    assert 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()) > 0.6


def test_asymmetry_is_seen_where_one_side_is_brighter(tiny_config):
    network = make(tiny_config, "kuang").network
    hu = np.full((1, 24, 24, 2), 30, np.int16)
    hu[0, 8:16, 2:8, 0] = hu[0, 8:16, 16:22, 1] = 70
    see = jax.jit(network.images)
    images = np.asarray(see(hu))
    assert images.shape[-1] == len(network.windows) + 2
    for channel in (-2, -1):
        assert images[0, 12, 5, channel] > 0.2
        np.testing.assert_allclose(images[..., channel], -images[:, :, ::-1, channel], atol=1e-5)
    assert not np.asarray(see(np.full_like(hu, -1000))).any()


def check_gradients(network, side, change=lambda params: params):
    """Every array of parameters, after a change, has a finite gradient that is not 0."""
    fast = {"xla_backend_optimization_level": 0}  # to compile
    init = jax.jit(network.init, static_argnums=1, compiler_options=fast)
    params = change(init(jax.random.key(0), side))
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.random((2, *network.input_shape(side).shape[1:])), jnp.float32)
    classes = jnp.asarray(rng.integers(0, 6, (2, side, side)) * (rng.random((2, side, side)) < 0.3), jnp.uint8)
    keys = jax.random.split(jax.random.key(0), 2)
    labels = {"classes": classes} if network.learns_classes else {}
    masks = (classes > 0).astype(jnp.float32)
    loss = jax.grad(lambda p: network.loss(p, images, masks, dropout_keys=keys, **labels).sum())
    gradient = jax.jit(loss, compiler_options=fast)(params)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def test_gradients_of_the_network_that_sees_asymmetry(tiny_config):
    options = {"encoder": "residual", "depth": 1, "blocks": (1, 1), "base_width": 2}
    check_gradients(make(tiny_config, "kuang", model=options).network, 8)


@pytest.mark.faults
def test_gradients_of_the_cascade(tiny_config):
    made = make(tiny_config, "cho", pools=4, head=4, classifier_width=8, model={"base_width": 1, "dropout": 0.0})

    def with_kernels(params):
        """The kernels of the classifiers' last layers start at 0, which is changed: features have a gradient then."""
        return {
            name: value | {"kernel": value["kernel"] + 0.1} if name.startswith("classifiers") else value
            for name, value in params.items()
        }

    check_gradients(made.network, 64, with_kernels)


def test_options_that_cannot_be_used_are_refused(tiny_config):
    for name, wrong in (("kuang", {"start": 1.5}), ("kuang", {"b": ()}), ("cho", {"gates": (2.0,)})):
        with pytest.raises(InputError, match=rf"config\.options\.{name}\.{next(iter(wrong))} is "):
            make(tiny_config, name, **wrong)
