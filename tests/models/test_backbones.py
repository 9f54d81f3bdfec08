"""Feature extractors: parameter counts of their sources, shapes, and poolings against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models import backbones, pooling
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.densenet import DenseNet
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
