"""Feature extractors: parameter counts of their sources, shapes, and poolings against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models import backbones, googlenet, pooling
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.densenet import DenseNet
from ichjax.models.googlenet import GoogLeNet
from ichjax.models.network import count_parameters
from ichjax.models.vgg import Vgg

# Published counts, without the last, fully connected layer: of torchvision (ResNet, VGG-16 without normalization and
# GoogLeNet without auxiliary classifiers), timm (both Inceptions), and DenseNet-40 on CIFAR-10.
SOURCES = {
    "resnet18": 11_689_512 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "googlenet": 6_624_904 - 1_025_000,
    "inception_v3": 23_834_568 - 2_049_000,
    "inception_resnet_v2": 55_843_464 - 1_537_000,
}


def shapes(module, side=64, channels=3):
    """(shapes of the parameters, shape of the output); nothing is computed."""
    images = jnp.zeros((1, side, side, channels))
    with xla_convolutions_only():
        return jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), images))[::-1]


SLOW = "inception_resnet_v2"  # traced for seconds


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.faults) if n == SLOW else n for n in SOURCES])
def test_parameters_are_as_many_as_the_sources(name):
    variables, features = shapes(backbones.make(name, width=64, fine=False, dtype=jnp.float32))
    assert count_parameters(variables["params"]) == SOURCES[name]
    assert features.shape[:3] == (1, 2, 2)


@pytest.mark.parametrize(("name", "side"), [("vgg16", 8), ("resnet18", 8), ("googlenet", 8)])
def test_a_small_one_has_fewer_parameters_and_finer_features(name, side):
    variables, features = shapes(backbones.make(name, width=8, fine=True, dtype=jnp.float32))
    assert count_parameters(variables["params"]) < 300_000
    assert features.shape[1:3] == (side, side)


def test_vgg_has_the_sources_parameters_with_biases_or_normalization():
    plain, features = shapes(Vgg(norm=False))
    assert count_parameters(plain["params"]) == 14_714_688
    assert features.shape == (1, 4, 4, 512)
    normalized, _ = shapes(backbones.make("vgg16", width=64, fine=False, dtype=jnp.float32))
    assert count_parameters(normalized["params"]) == 14_714_688 + 4_224  # a scale and a bias of each channel
    assert shapes(Vgg(8), side=45)[1].shape == (1, 3, 3, 64)  # odd sides


def test_densenet_has_the_sources_parameters_and_masks_of_the_images_size():
    variables, (features, masks) = shapes(DenseNet(masks=False), side=32)
    assert count_parameters(variables["params"]) == 1_019_722 - 4_490
    assert features.shape == (1, 8, 8, 448)
    assert masks is None
    variables, (features, masks) = shapes(DenseNet(stride=2), side=64)
    assert features.shape == (1, 8, 8, 448)
    assert masks.shape == (1, 64, 64, 3)


class LayersApart(GoogLeNet):
    """GoogLeNet as its source draws it: each layer of a module is convolved and normalized by itself."""

    def _module(self, x, name):
        one, reduce3, three, reduce5, five, pooled = googlenet.MODULES[name]
        branches = [
            self._conv(x, one, f"{name}_one", (1, 1)),
            self._conv(self._conv(x, reduce3, f"{name}_reduce3", (1, 1)), three, f"{name}_three"),
            self._conv(self._conv(x, reduce5, f"{name}_reduce5", (1, 1)), five, f"{name}_five"),
            self._conv(pooling.max_pool_3x3(x), pooled, f"{name}_pooled", (1, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)


def test_layers_of_googlenet_that_are_computed_together_equal_layers_apart():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 1)), jnp.float32)
    apart, together = LayersApart(8), GoogLeNet(8)
    params = apart.init(jax.random.key(0), x)["params"]
    numbers = iter(range(10_000))
    params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(next(numbers)), p.shape), params)

    def joined(name, *layers):
        norms = [params[f"{name}_{layer}"]["norm"] for layer in layers]
        return {key: jnp.concatenate([norm[key] for norm in norms]) for key in ("scale", "bias")}

    of_together = {name: value for name, value in params.items() if name.startswith("stem")}
    for name in googlenet.MODULES:
        kernels = {layer: params[f"{name}_{layer}"]["kernel"] for layer in ("one", "reduce3", "reduce5")}
        of_together[f"{name}_of_input"] = {"kernel": jnp.concatenate([*kernels.values()], axis=-1)}
        for layer in ("three", "five", "pooled"):
            of_together[f"{name}_{layer}"] = {"kernel": params[f"{name}_{layer}"]["kernel"]}
        of_together[f"{name}_reduced_norm"] = joined(name, "reduce3", "reduce5")
        of_together[f"{name}_norm"] = joined(name, "one", "three", "five", "pooled")
    got, expected = together.apply({"params": of_together}, x), apart.apply({"params": params}, x)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match="backbone 'alexnet'; expected one of vgg16"):
        backbones.make("alexnet", width=64, fine=False, dtype=jnp.float32)


def test_poolings_agree_with_numpy():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)
    for function, outside, reduce in (
        (pooling.max_pool_3x3, -np.inf, np.max), (pooling.mean_pool_3x3, 0.0, np.mean)
    ):  # fmt: skip
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=outside)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        np.testing.assert_allclose(function(x), reduce(windows, axis=(4, 5)), atol=1e-6)
    np.testing.assert_allclose(pooling.mean_pool_2x2(x), x.reshape(2, 3, 2, 2, 2, 3).mean(axis=(2, 4)), atol=1e-6)
