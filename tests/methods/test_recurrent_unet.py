"""The U-Net with a recurrent layer: it starts as the U-Net, and padding changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.data.regrid import Geometry
from ichjax.errors import InputError
from ichjax.methods.recurrent_unet import RecurrentUNetMethod
from ichjax.methods.sequence_predictor import SequencePredictor
from ichjax.models.recurrent_unet import RecurrentUNet
from ichjax.models.residual_unet import ResidualUNet
from ichjax.models.sequence_network import SequenceNetwork
from ichjax.ops.augment import AffineRange
from ichjax.train import augmentation
from ichjax.train import state as states
from ichjax.train import step as steps

pytestmark = pytest.mark.methods

GRID = Geometry(16, 16, 6.0, 6.0)
WINDOWS = ((40.0, 120.0),)


def network_of(kind="gru", stack=4, **fields):
    unet = ResidualUNet(4, 8, 1, (1, 1))
    return SequenceNetwork(RecurrentUNet(unet, kind, 3), WINDOWS, side_multiple=2, stack=stack, **fields)


@functools.cache
def initial(kind, seed=0):
    return jax.jit(lambda key: network_of(kind).init(key, 16))(jax.random.key(seed))


def weights_of(kind="gru"):
    """Parameters whose recurrent layer has an effect, which it has not at the start."""
    params = dict(initial(kind))
    if kind != "none":
        kernel = params["recurrence_out"]["kernel"]
        params["recurrence_out"] = {"kernel": jax.random.normal(jax.random.key(1), kernel.shape)}
    return params


def hu_of(depth, side=16, seed=0):
    return np.random.default_rng(seed).integers(-40, 130, (depth, side, side)).astype(np.int16)


def predictor_of(devices=1, network=None):
    return SequencePredictor(network or network_of(), side=16, stride=16, devices=jax.devices()[:devices])


def probability_of(network, params, hu, count):
    """float32 [1, H, W, L] of a stack of `count` real slices, by the network as it is trained."""
    masks = jnp.zeros((1, *hu.shape[1:], len(hu)))

    @jax.jit
    def run(params, stack):
        return network.validate(params, network.images(stack), masks, slices=jnp.array([count]))[1]

    return np.asarray(run(params, stack_of(hu)))


def stack_of(hu):
    """int16 [1, H, W, L], as the loader gives it."""
    return jnp.asarray(np.moveaxis(hu, 0, -1)[None])


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_it_starts_as_the_unet_and_takes_its_weights(kind):
    network, plain = network_of(kind), network_of("none")
    params, alone = initial(kind), initial("none", 1)
    assert set(params) - set(alone) == {"recurrence", "recurrence_out"}
    assert not set(alone) - set(params)
    outputs = [probability_of(n, p, hu_of(4), 4) for n, p in ((network, params | alone), (plain, alone))]
    np.testing.assert_allclose(*outputs, atol=1e-6)
    unet = ResidualUNet(4, 8, 1, (1, 1))
    logits = unet.apply({"params": alone}, plain.slice_images(jnp.asarray(hu_of(4))))
    np.testing.assert_allclose(outputs[1][0], np.moveaxis(np.asarray(jax.nn.sigmoid(logits)), 0, -1), atol=1e-5)


def test_prediction_is_that_of_the_stack_in_training_on_any_number_of_devices():
    network, params = network_of(stack=13), weights_of()
    hu = hu_of(13)
    expected = probability_of(network, params, hu, 13)
    for devices in (1, 4):
        got = predictor_of(devices)(params, hu, GRID, GRID)
        np.testing.assert_allclose(got, np.moveaxis(expected[0], -1, 0), atol=1e-5)
    # The time of a scan is estimated from so many slices: a device predicts eight in the time of one.
    assert [predictor_of(devices).min_slices for devices in (1, 4)] == [8, 32]


def test_padding_and_other_scans_of_a_batch_change_nothing():
    network, params = network_of(stack=6), weights_of()
    hu = hu_of(6)
    whole = probability_of(network, params, hu, 4)
    hu[4:] = 60
    np.testing.assert_array_equal(whole, probability_of(network, params, hu, 4))
    assert not whole[..., 4:].any()
    assert whole[..., :4].all()


def test_a_slice_far_away_has_an_effect_and_one_slice_and_600_are_predicted():
    params, predictor = weights_of("lstm"), predictor_of(network=network_of("lstm"))
    one = predictor(params, hu_of(1), GRID, GRID)
    assert one.shape == (1, 16, 16)
    hu = hu_of(600)
    before = np.asarray(predictor(params, hu, GRID, GRID))
    assert before.shape == hu.shape
    assert np.isfinite(before).all()
    hu[300] = 200
    changed = np.abs(np.asarray(predictor(params, hu, GRID, GRID)) - before).max(axis=(1, 2))
    assert changed[299] > 1e-6
    assert changed[301] > 1e-6
    assert changed[0] < changed[299]


def test_resampled_and_padded_slices():
    """A scan on other pixels, and of an odd side."""
    probability = predictor_of()(weights_of(), hu_of(3, side=21), Geometry(21, 21, 4.5, 4.5), GRID)
    assert probability.shape == (3, 21, 21)
    odd = Geometry(15, 15, 6.0, 6.0)
    assert predictor_of()(weights_of(), hu_of(3, side=15), odd, odd).shape == (3, 15, 15)


def test_the_loss_is_a_mean_over_real_slices_and_reaches_every_weight():
    network, params = network_of(), weights_of()
    hu = stack_of(hu_of(4))
    masks = (hu > 90).astype(jnp.float32)
    keys = jax.random.split(jax.random.key(2), 1)

    @jax.jit
    def loss(params, slices):
        return network.loss(params, network.images(hu), masks, dropout_keys=keys, slices=slices)[0]

    gradient = jax.grad(loss)(params, jnp.array([4]))
    assert min(jax.tree.leaves(jax.tree.map(lambda g: float(jnp.abs(g).max()), gradient))) > 0
    plain, alone = network_of("none"), weights_of("none")
    of_first = jax.jit(lambda n: plain.loss(alone, plain.images(hu), masks, dropout_keys=keys, slices=n[None])[0] * n)
    each = [of_first(count) for count in jnp.arange(1, 5)]
    logits = ResidualUNet(4, 8, 1, (1, 1)).apply({"params": alone}, plain.slice_images(jnp.asarray(hu_of(4))))
    own = np.asarray(plain.loss_of_logits(logits, jnp.moveaxis(masks[0], -1, 0)))
    np.testing.assert_allclose(np.diff([0.0, *map(float, each)]), own, rtol=1e-5)


class _Sees(SequenceNetwork):
    """Its loss is the share of pixels whose mask is not where the image is bright."""

    def loss(self, params, images, masks, *, dropout_keys, slices, classes=None):
        return ((images >= 0.5) != (masks > 0)).mean(axis=(1, 2, 3)) + 0.0 * params["none"]


@pytest.mark.parametrize("transform", ["affine", "mirror", ""])
def test_masks_of_all_slices_move_with_the_image(tiny_config, transform):
    config = tiny_config(**({f"transforms.{transform}_probability": 1.0} if transform else {}))
    ranges = AffineRange(0.0, 0.0, 0.0, 0.0) if transform else AffineRange(20.0, 0.1, 0.0, 0.2)
    mask = np.zeros((2, 16, 16, 3), np.uint8)
    mask[:, 3:9, 2:7, 0] = mask[:, 8:14, 5:13, 2] = 1
    batch = {"image": np.where(mask, 90, -20).astype(np.int16), "mask": mask, "slices": np.full(2, 3, np.int32)}
    batch |= {"index": np.arange(2, dtype=np.int32), "weight": np.ones(2, np.float32)}
    network = _Sees(RecurrentUNet(ResidualUNet(1, 1, 1, (1, 1)), "none", 1), WINDOWS, stack=3)
    optimizer = states.make_optimizer(states.make_schedule(config, 10))
    params = {"none": jnp.zeros(())}
    state = states.TrainState(jnp.int32(0), jnp.int32(0), params, optimizer.init(params))
    settings = steps.StepSettings(ranges, 0, recipe=augmentation.from_config(config))
    _, metrics = jax.jit(steps.make_train_step(network, optimizer, settings))(state, batch)
    assert float(metrics["loss"].max()) < 0.02  # rounding at edges


def test_one_and_four_devices_train_alike(tiny_config, after_steps):
    config = tiny_config()
    network = network_of()
    optimizer = optax.sgd(0.1)  # Adam would magnify the rounding of small gradients
    settings = steps.StepSettings(AffineRange(**config.augment), 0)
    params = weights_of()
    start = jax.device_get(states.TrainState(jnp.int32(0), jnp.int32(0), params, optimizer.init(params)))
    batches = []
    for seed in range(3):
        image = np.moveaxis(hu_of(16, seed=seed).reshape(4, 4, 16, 16), 1, -1)
        batch = {"image": image, "mask": (image > 90).astype(np.uint8), "slices": np.array([4, 2, 3, 1], np.int32)}
        batches.append(batch | {"index": np.arange(4, dtype=np.int32), "weight": np.ones(4, np.float32)})
    one, four = (
        jax.device_get(after_steps(start, batches, network, optimizer, settings, mode=mode, devices=devices).params)
        for mode, devices in (("jit", 1), ("shard_map", 4))
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=5e-5), one, four)
    assert max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), one, start.params))) > 1e-3


@pytest.fixture(scope="module")
def fitted(tiny_config, tiny_root, tmp_path_factory):
    """(the method, its parameters, the folder, its scans) of a short training."""
    config = tiny_config(
        **{
            "grid.side": 32,
            "model.encoder": "residual",
            "model.blocks": (1, 1),
            "model.depth": 1,
            "model.base_width": 2,
        }
    )
    small = {"grid": {"side": 32}, "train": {"epochs": 4, "batch_size": 4}}
    config.options.recurrent_unet = {"hidden": 2, "stack": 3, **small}
    scans, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)
    method, folder = RecurrentUNetMethod(config), tmp_path_factory.mktemp("fold")
    return method, method.fit(scans[:6], scans[6:], workdir=folder, fold=0), folder, scans


def test_a_finished_fold_is_only_read_and_predicts(fitted):
    method, params, folder, scans = fitted
    again = method.load(folder)
    assert method.fingerprint(again) == method.fingerprint(params)
    assert method.fit([], [], workdir=folder, fold=0).chosen == params.chosen
    prediction = method.predict(again, scans[0].volume)
    assert prediction.probability.shape == scans[0].volume.hu.shape
    assert method.slice_program(again, GRID) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"options.recurrent_unet.grid": {"side": 0}}, r"config\.grid\.side is 0; expected the side"),
        ({"train.hard_negatives": 0.5}, r"config\.train\.hard_negatives is 0\.5; expected 0 where an example is"),
        ({"train.resident": True}, r"config\.train\.resident is True; expected False"),
        ({"options.recurrent_unet.hiden": 3}, r"recurrent_unet\.hiden is unknown to this method; expected one of hid"),
        ({"options.recurrent_unet.hidden": "3"}, r"recurrent_unet\.hidden is '3'; expected a int"),
        ({"options.recurrent_unet.train": {"epoch": 1}}, r"train\.epoch is 1, but there is no such field"),
    ],
)
def test_what_it_cannot_do_is_refused(tiny_config, fields, words):
    config = tiny_config(**{"grid.side": 32})
    for name, value in fields.items():
        if name.startswith("options."):
            config.options.recurrent_unet = {name.split(".")[2]: value}
        else:
            config.update_from_flattened_dict({name: value})
    with pytest.raises(InputError, match=words):
        RecurrentUNetMethod(config)
