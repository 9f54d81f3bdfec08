"""Operations and bytes of the roofline benchmark, by hand and from the programs' shapes, and the limiting ceiling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from benchmarks import roofline
from benchmarks.flops import count_flops
from benchmarks.our_work import paper_config
from ichjax import config as configs
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.unet import layer_table


def small_config():
    return paper_config(width=16, side=48, batch=2)


@pytest.mark.parametrize(("side", "gflop"), [(160, 42.66), (128, 27.30)])
def test_flops_of_the_papers_network_by_hand(side, gflop):
    config = configs.default()
    config.patch.side, config.train.batch_size = side, 1
    assert roofline.forward_flops(config, borders=True) / 1e9 == pytest.approx(gflop, abs=0.005)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_one_convolution_by_hand_and_from_its_shapes(side):
    layer = nn.Conv(5, (side, side), use_bias=False)
    image = jnp.ones((2, 7, 9, 3))
    params = layer.init(jax.random.key(0), image)
    traced = jax.jit(layer.apply).trace(params, image)
    taps = (side * 7 - (side - 1)) * (side * 9 - (side - 1))
    assert count_flops(traced.jaxpr) == 2 * 3 * 5 * 2 * taps
    moved = roofline.bytes_moved(traced.lower().compile())
    assert moved >= 4 * (image.size + side * side * 3 * 5 + 2 * 7 * 9 * 5)


def our_layer_flops(config, *, padded):
    """Yields the operations of each layer as we compute it on a CPU, by hand: an up-convolution is four convolutions of
    the map before upsampling, of 1, 2, 2 and 4 taps, and the kernel of a head with two channels is padded to 16."""
    for layer in layer_table(config):
        height, width, channels = layer["output_shape"]
        side = int(layer["kernel"].split()[0])
        weights = (layer["parameters"] - channels) // side**2
        if padded and layer["name"] == "head":
            weights *= 16 // channels
        taps = [3 * n // 2 - 1 if layer["name"].startswith("up") else side * n - side + 1 for n in (height, width)]
        yield 2 * weights * taps[0] * taps[1] * config.train.batch_size


def test_our_layers_by_hand_and_from_their_shapes():
    config = small_config()
    config.model.depth = 2
    with xla_convolutions_only():
        prediction, step = (
            count_flops(trace(config)[0].jaxpr) for trace in (roofline.trace_prediction, roofline.trace_training_step)
        )
    forward, layers = sum(our_layer_flops(config, padded=True)), list(our_layer_flops(config, padded=False))
    assert prediction == forward
    # Two gradients of each layer, none of the image; and products of the small matrices that rotate the image.
    assert 0 <= step - (forward + 2 * sum(layers) - layers[0]) < 1000


@pytest.mark.peers  # compiles for a minute
@pytest.mark.parametrize(
    ("trace", "make", "by_hand"),
    [
        (roofline.trace_prediction, roofline.make_prediction, roofline.forward_flops),
        (roofline.trace_training_step, roofline.make_training_step, roofline.training_flops),
    ],
)
def test_the_network_by_hand_and_from_its_shapes(trace, make, by_hand):
    config = small_config()
    with xla_convolutions_only():
        flops = count_flops(trace(config)[0].jaxpr)
    # At most a tenth less, because a convolution of an upsampled map needs fewer products; a little more for the head's
    # padded channels.
    assert 0.9 < flops / by_hand(config) < 1.05
    run, program = make(config)
    run()
    run()  # the state is donated: the second step must use the first one's result
    assert roofline.bytes_moved(program) > 4 * sum(layer["parameters"] for layer in layer_table(config))


def test_matrix_product_by_hand_and_from_its_shapes():
    run, flops = roofline.make_matrix_product(64, "float32")
    assert run().shape == (64, 64)
    one = jnp.ones((64, 64))
    assert count_flops(jax.jit(jnp.matmul).trace(one, one).jaxpr) == flops


def test_the_lower_ceiling_is_the_limit():
    machine = {"flops_a_second": 100.0, "bytes_a_second": 10.0}
    assert roofline.roofline(4.0, 200.0, 10.0, **machine) == (0.5, "matrix")
    assert roofline.roofline(4.0, 200.0, 30.0, **machine) == (0.75, "memory")
