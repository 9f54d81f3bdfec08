"""The fully convolutional network: parameters as in its source, and logits of the image's size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.models import fcn
from ichjax.models.network import count_parameters

VGG_16 = 138_357_544  # parameters, of which the last layer, to 1,000 classes, has no counterpart (torchvision)
LAST_LAYER = 4096 * 1000 + 1000
TO_CLASSES = (4096 + 512 + 256 + 3) * fcn.PIXEL_CLASSES  # of the head and of both skip connections


def test_parameters_are_as_many_as_in_vgg_16_and_three_layers_of_logits():
    image = jax.ShapeDtypeStruct((1, 96, 64, 3), jnp.float32)
    module = fcn.Fcn(norm=False)
    logits, variables = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x), image)
    assert logits.shape == (1, 96, 64, fcn.PIXEL_CLASSES)
    assert count_parameters(variables["params"]) == VGG_16 - LAST_LAYER + TO_CLASSES


@pytest.mark.parametrize("pools", [2, 4])
def test_sides_need_not_be_multiples(pools):
    image = jax.ShapeDtypeStruct((2, 27, 50, 1), jnp.float32)
    module = fcn.Fcn(width=1, pools=pools, head=2)
    logits = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x)[0], image)
    assert (logits.shape, logits.dtype) == ((2, 27, 50, fcn.PIXEL_CLASSES), np.float32)
