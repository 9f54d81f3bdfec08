"""The Keras reference, network and host side, computes the same as ichjax.

Set KERAS_BACKEND=jax or torch to test another backend than TensorFlow.
"""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import keras_pipeline as host
from ichjax import config as configs
from ichjax.data import dataset as datasets
from ichjax.data import regrid, scan_cache
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.methods.slices import SlicePredictor
from ichjax.metrics import overlap
from ichjax.ops import augment, metrics, patches
from ichjax.scan import nifti
from ichjax.train import state as states

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def network_of(reference, ours, *, side=32, dropout=0.0):
    network = reference.unet(width=ours.config.model.base_width, side=side, dropout=dropout)
    reference.load_ours(network, ours.params)
    return network


def parameters(network):
    """{layer: {'kernel', 'bias'}} of a Keras model."""
    arrays = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    return {name: {"kernel": kernel, "bias": bias} for name, (kernel, bias) in arrays.items()}


def test_outputs_agree(keras_reference, ours):
    network = network_of(keras_reference, ours, dropout=0.5)
    result = np.asarray(network.predict(ours.images, verbose=0))[..., 0]
    assert ours.probability.std() > 0.01  # not constant
    np.testing.assert_allclose(result, ours.probability, rtol=0, atol=1e-5)


def test_gradients_of_a_training_step_agree(keras_reference, ours):
    """From Keras' own training step: in gradient descent the change of a parameter is its gradient times the rate,
    which is so large that rounding the parameter loses nothing of the gradient."""
    network, rate = network_of(keras_reference, ours), 2.0**14
    network.compile(keras_reference.keras.optimizers.SGD(rate), "binary_crossentropy")
    np.testing.assert_allclose(network.train_on_batch(ours.images, ours.masks), ours.loss, rtol=1e-5)
    after = parameters(network)
    ours.assert_same_gradient(jax.tree.map(lambda was, now: (was - now) / rate, ours.params, after))


def test_the_measured_training_step_equals_ours(keras_reference, ours):
    network = network_of(keras_reference, ours)
    keras_reference.compile_training(network)
    network.train_on_batch(ours.images, ours.masks)
    ours.assert_same_first_update(parameters(network))


def test_size_and_learning_rate_equal_the_authors(keras_reference):
    network = keras_reference.unet()
    assert network.count_params() == 31_031_685
    assert sum(isinstance(layer, keras_reference.layers.Conv2D) for layer in network.layers) == 24
    assert [layer.rate for layer in network.layers if isinstance(layer, keras_reference.layers.Dropout)] == [0.5, 0.5]
    keras_reference.compile_training(network)
    expected = states.make_schedule(configs.default(), 1000)
    for step in (0, 1, 10**6):
        np.testing.assert_allclose(float(network.optimizer._learning_rate(step)), expected(step), rtol=1e-6)


def test_other_layers_are_refused(keras_reference, ours):
    params = {name: layer for name, layer in ours.params.items() if name != "head"}
    with pytest.raises(ValueError, match=r"expected .*head"):
        keras_reference.load_ours(keras_reference.unet(width=4, side=32), params)


def test_prediction_of_a_scan_agrees(keras_reference, ours, tiny_root):
    """From a file to probability: our prediction, and Keras patch by patch and all at once."""
    volume = nifti.read_nifti(tiny_root / "ct_scans" / "049.nii")
    read = host.read_scan(tiny_root / "ct_scans" / "049.nii")
    np.testing.assert_array_equal(read.hu, volume.hu)
    np.testing.assert_allclose(read.voxel_ml, volume.pixel_ml, rtol=1e-6)
    sizes, grid = {"side": 16, "stride": 8}, regrid.own_grid(volume)
    predictor = SlicePredictor(ours.network, devices=jax.devices()[:1], **sizes)
    expected = predictor(ours.params, volume.hu, grid, grid)
    network = network_of(keras_reference, ours, side=16)
    for one_at_a_time in (False, True):
        predict = lambda images: network.predict(images, batch_size=16, verbose=0)  # noqa: E731
        result = host.probabilities(predict, read.hu, one_at_a_time=one_at_a_time, **sizes)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("eight_bit", [False, True])
def test_stitching_agrees(eight_bit):
    probability = np.random.default_rng(0).random((2, 3, 5, 8, 8), np.float32)
    stitch = patches.stitch_8bit if eight_bit else patches.stitch
    result = [host.stitch(own.reshape(15, 8, 8), 16, 24, side=8, stride=4, eight_bit=eight_bit) for own in probability]
    np.testing.assert_allclose(result, stitch(probability, stride=4), atol=1e-6)


def test_cutting_agrees():
    planes = np.random.default_rng(0).random((2, 16, 24), np.float32)
    result = np.stack([host.cut(plane, side=8, stride=4) for plane in planes])
    np.testing.assert_array_equal(result, patches.extract(planes, side=8, stride=4).reshape(2, 15, 8, 8))


def test_cleaning_and_scores_agree():
    rng = np.random.default_rng(0)
    noise = jax.scipy.signal.convolve(rng.normal(size=(4, 64, 64)), jnp.ones((1, 9, 9)), mode="same")
    probability, truth = np.asarray(jax.nn.sigmoid(noise), np.float32), np.asarray(noise) > 4.0
    truth[1] = False
    expected = metrics.masks_at(probability, jnp.float32([0.5]), closing=10, opening=5)[0]
    mask = host.mask_of(probability, threshold=0.5)
    np.testing.assert_array_equal(mask, expected)
    assert 0 < mask.mean() < 1
    counts = [np.count_nonzero(each, axis=(1, 2)) for each in (truth, expected, truth & expected)]
    has, result = truth.any(axis=(1, 2)), host.scores(mask, truth)
    for name, score in overlap.SCORES.items():
        np.testing.assert_allclose(result[name], score(*counts, empty=np.nan)[has].mean(), rtol=1e-12)
    assert result["accuracy"] == np.mean((np.asarray(counts[1]) > 400) == has)


def test_warping_agrees():
    image = np.random.default_rng(0).random((20, 20), np.float32)
    for seed in range(20):
        transform = host.draw_affine(np.random.default_rng(seed), 20)
        expected = augment.warp(image[None, ..., None], jnp.float32(transform[None, :2]))[0, ..., 0]
        np.testing.assert_allclose(host.warp(image, transform), expected, atol=2e-5)


def test_sampled_transforms_fill_the_authors_ranges():
    """Recovers angle and zooms from sampled matrices, whose linear part is rotation times shear times zoom."""
    drawn = np.stack([host.draw_affine(np.random.default_rng(seed), 100) for seed in range(400)])
    angle = np.rad2deg(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]))
    rows = np.linalg.norm(drawn[:, :2, 0], axis=1)
    columns = np.linalg.det(drawn[:, :2, :2]) / rows
    turned_back = np.deg2rad(angle)
    down = np.cos(turned_back) * drawn[:, 0, 2] + np.sin(turned_back) * drawn[:, 1, 2]
    for values, low, high in ((angle, -20, 20), (rows, 0.8, 1.2), (columns, 0.8, 1.2), (down, -10, 10)):
        width = high - low
        assert low - 1e-3 <= values.min() < low + 0.05 * width
        assert high - 0.05 * width < values.max() <= high + 1e-3


def test_positive_patches_on_disk_equal_ours(tiny_root):
    """The same patches as one of our epochs without negatives, up to 8-bit rounding."""
    scans, _ = scan_cache.open_scans(datasets.read_dataset(tiny_root).subjects)
    table = patch_table(scans, side=16, stride=8)
    rows = np.sort(Epochs(table, "none", 0, 0).order(0))
    files = host.write_positive_patches(str(tiny_root), side=16, stride=8)
    assert len(files) == len(rows)
    for row, (image, mask) in zip(rows, files, strict=True):
        scan, (top, left) = scans[table.scan[row]], (table.row[row], table.column[row])
        own = np.s_[table.slice[row], top : top + 16, left : left + 16]
        grey = np.clip((scan.volume.hu[own].astype(float) + 20) / 120 * 255, 0, 255)
        assert np.abs(cv2.imread(image, cv2.IMREAD_GRAYSCALE) - grey).max() <= 0.501
        np.testing.assert_array_equal(cv2.imread(mask, cv2.IMREAD_GRAYSCALE), scan.mask[own] * 255)
