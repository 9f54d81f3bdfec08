"""Each shipped configuration of the literature makes its method, whose network has parameters and a loss."""

import pathlib
import runpy

import jax
import jax.numpy as jnp
import pytest

from ichjax import config_check
from ichjax.methods import registry
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.network import count_parameters

FOLDER = pathlib.Path(__file__).parents[2] / "configs" / "literature"
PATHS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.methods] if path.stem.endswith("_full") else [])
    for path in sorted(FOLDER.glob("*.py"))
    if path.stem != "all"
]


@pytest.mark.parametrize("path", PATHS)
def test_a_configuration_makes_its_method(path):
    config = runpy.run_path(str(path))["get_config"]()
    config_check.check(config)
    method = registry.make(config.method, config)
    assert method.title
    network = getattr(method, "network", None)
    if network is None:
        return
    side, like = method.config.patch.side, jax.ShapeDtypeStruct
    params, (height, width, *planes) = network.shapes(side), network.hu_shape(side)
    assert count_parameters(params) > 1000
    if path.stem.endswith("_full"):  # slow to trace, and compiled as a whole by `make accelerators --all`
        return

    def loss(params, hu, masks, classes, slices):
        stack = {"slices": slices} if network.stack else {}
        known = {"classes": classes} if network.learns_classes else {}
        keys = jax.random.split(jax.random.key(0), len(hu))
        return network.loss(params, network.images(hu), masks, dropout_keys=keys, **stack, **known)

    shape = (2, height, width, *(planes if network.stack else ()))
    batch = like((2, height, width, *planes), jnp.int16), like(shape, jnp.float32), like(shape, jnp.uint8)
    with xla_convolutions_only():
        losses = jax.eval_shape(loss, params, *batch, like((2,), jnp.int32))
    assert losses == like((2,), jnp.float32)
