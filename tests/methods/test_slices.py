"""Prediction of slices: against a loop over patches, and independent of depth, padding, devices and grids."""

import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax import xla
from ichjax.data.regrid import Geometry, resampled_hu, same_grid
from ichjax.methods import views
from ichjax.methods.sequence_predictor import SequencePredictor
from ichjax.methods.slices import SlicePredictor
from ichjax.models.class_network import ClassNetwork
from ichjax.models.network import Network
from ichjax.scan import midplane

GRID = Geometry(24, 32, 6.0, 6.0)


class Local(nn.Module):
    """A 3 x 3 convolution with zero padding, so that predictions depend on the borders of patches."""

    @nn.compact
    def __call__(self, images):
        return nn.Conv(1, (3, 3), kernel_init=nn.initializers.normal(2.0))(images)[..., 0]


class Brightness(nn.Module):
    """The logit is 20 x (windowed intensity - 1/2)."""

    @nn.compact
    def __call__(self, images):
        return 20.0 * (images[..., 0] - 0.5) + 0.0 * self.param("none", nn.initializers.zeros, ())


@pytest.fixture(scope="module")
def weights():
    return jax.jit(Local().init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]


def predictor_of(module=None, *, devices=1, network=(), **options):
    """A predictor on the first devices; `network`: fields of `Network`."""
    made = Network(module or Local(), ((40.0, 120.0),), **dict(network))
    return SlicePredictor(made, side=16, stride=8, devices=jax.devices()[:devices], **options)


@pytest.fixture(scope="module")
def one():
    return predictor_of()


def hu_of(depth, shape=GRID[:2], seed=0):
    return np.random.default_rng(seed).integers(-40, 130, (depth, *shape)).astype(np.int16)


def loop(hu, weights, *, corner=False, saved=lambda p: p):
    """In NumPy: float64 mean of the `saved` predictions of all patches that cover a pixel."""
    kernel, bias = (np.asarray(weights["Conv_0"][name], np.float64) for name in ("kernel", "bias"))
    total, count = np.zeros(hu.shape), np.zeros(hu.shape)
    for d in range(len(hu)):
        for top in range(0, hu.shape[1] - 15, 8):
            for left in range(0, hu.shape[2] - 15, 8):
                at = np.s_[d, top : top + 16, left : left + 16]
                image = np.clip((hu[at] + 20) / 120, 0, 1)
                image[-1, -1] = 1.0 if corner else image[-1, -1]
                image = np.pad(image, 1)
                view = np.lib.stride_tricks.sliding_window_view(image, (3, 3))
                logit = (view * kernel[:, :, 0, 0]).sum(axis=(2, 3)) + bias[0]
                total[at] += saved(1 / (1 + np.exp(-logit)))
                count[at] += 1
    return total / count


def test_it_equals_a_loop_over_patches(one, weights):
    hu = hu_of(5)
    result = one(weights, hu, GRID, GRID)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, loop(hu, weights), atol=1e-5)


def stretched(p):
    return (p - p.min()) / (p.max() - p.min())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"network": {"corner_pixel": True}}, lambda *a: loop(*a, corner=True)),
        ({"min_max_stretch": True}, lambda *a: loop(*a, saved=stretched)),
        (
            {"network": {"corner_pixel": True}, "min_max_stretch": True},
            lambda *a: loop(*a, corner=True, saved=stretched),
        ),
    ],
    ids=["corner", "stretch", "both"],
)
def test_the_options_of_the_authors_code_equal_a_loop_and_change_the_result(one, weights, fields, expected):
    hu = hu_of(2)
    result = predictor_of(**fields)(weights, hu, GRID, GRID)
    np.testing.assert_allclose(result, expected(hu, weights), atol=1e-5)
    assert float(abs(result - one(weights, hu, GRID, GRID)).max()) > 0.01


def test_8_bit_rounding_lowers_the_result_by_less_than_two_levels(one, weights):
    hu = hu_of(2)
    exact = np.asarray(one(weights, hu, GRID, GRID))
    result = np.asarray(predictor_of(quantize_8bit=True)(weights, hu, GRID, GRID))
    np.testing.assert_array_equal(result * 256, np.floor(result * 256))
    assert (result * 256 <= exact * 255 + 1e-3).all()
    assert (result * 256 > exact * 255 - 2).all()


def test_a_slice_depends_on_neither_depth_nor_padding_and_few_programs_are_compiled(one, weights):
    hu = hu_of(9)
    whole = np.asarray(one(weights, hu, GRID, GRID))
    one(weights, hu[:8], GRID, GRID)
    programs = one._program._cache_size()
    for depth in (1, 3, 8):
        np.testing.assert_array_equal(one(weights, hu[:depth], GRID, GRID), whole[:depth])
    assert one._program._cache_size() == programs
    few = np.asarray(one.predict_first(weights, hu[:8], 2, GRID, GRID))
    np.testing.assert_array_equal(few[:2], whole[:2])
    assert not few[2:].any()


@pytest.mark.parametrize(("devices", "batch_size", "depth"), [(2, 1, 9), (4, 7, 3), (3, 1000, 13)])
def test_devices_and_batches_change_nothing(one, weights, devices, batch_size, depth):
    predictor = predictor_of(batch_size=batch_size, devices=devices)
    hu = hu_of(depth)
    assert predictor.min_slices == devices
    result = predictor(predictor.replicate(weights), hu, GRID, GRID)
    np.testing.assert_allclose(result, one(weights, hu, GRID, GRID), atol=1e-6)
    few = predictor.predict_first(predictor.replicate(weights), hu, 3, GRID, GRID)
    np.testing.assert_allclose(few[:3], result[:3], atol=1e-6)


def test_off_the_cpu_only_the_first_prediction_of_its_kind_is_waited_for(weights, monkeypatch):
    predictor, waits, wait = predictor_of(), [], jax.block_until_ready
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: waits.append(tree) or wait(tree))
    first = predictor(weights, hu_of(5), GRID, GRID)
    predictor(weights, hu_of(6), GRID, GRID)
    assert len(waits) == 2
    monkeypatch.setattr(xla, "platform", lambda: "gpu")  # the program is compiled already
    np.testing.assert_array_equal(predictor(weights, hu_of(5), GRID, GRID), first)
    assert len(waits) == 2
    predictor(weights, hu_of(9), GRID, GRID)
    assert len(waits) == 3


class Counting(nn.Module):
    """`Local`, which appends the size of each batch to `SEEN`."""

    @nn.compact
    def __call__(self, images):
        jax.debug.callback(lambda x: SEEN.append(len(x)), images)
        return nn.Conv(1, (3, 3), name="Conv_0")(images)[..., 0]


SEEN = []


@pytest.mark.parametrize("corner", [False, True])
def test_empty_patches_are_predicted_once(weights, corner):
    hu = hu_of(6)
    hu[1] = -1000  # a slice of air
    hu[:, :, 16:] = -500  # half of each: 2 x 1 of 2 x 3 patches are empty
    SEEN.clear()
    predictor = predictor_of(Counting(), network={"corner_pixel": corner}, batch_size=1)
    result = predictor(weights, hu, GRID, GRID)
    np.testing.assert_allclose(result, loop(hu, weights, corner=corner), atol=1e-5)
    jax.effects_barrier()
    assert len(SEEN) == 5 * 2 * 2 + 1  # of 8 x 6, padding included


@pytest.mark.parametrize("shape", [(24, 32), (23, 30)])
def test_whole_slices_are_patches_of_their_own(weights, shape):
    hu, grid = hu_of(9, shape), Geometry(*shape, 6.0, 6.0)
    hu[4] = -1000
    predictor = predictor_of(network={"side_multiple": 8}, whole_slices=True, devices=2)
    image = np.pad(np.clip((hu + 20) / 120, 0, 1), ((0, 0), (0, -shape[0] % 8), (0, -shape[1] % 8)))
    kernel, bias = (np.asarray(weights["Conv_0"][name], np.float64) for name in ("kernel", "bias"))
    view = np.lib.stride_tricks.sliding_window_view(np.pad(image, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2))
    expected = 1 / (1 + np.exp(-((view * kernel[:, :, 0, 0]).sum(axis=(3, 4)) + bias[0])))
    result = predictor(weights, hu, grid, grid)
    np.testing.assert_allclose(result, expected[:, : shape[0], : shape[1]], atol=1e-5)


@pytest.mark.parametrize(
    ("own", "same"),
    [
        (GRID, True),
        (GRID._replace(row_mm=7.1, column_mm=5.1), True),
        (GRID._replace(row_mm=7.3), False),
        (GRID._replace(column_mm=4.9), False),
        (GRID._replace(height=32), False),
    ],
)
def test_which_scans_are_not_resampled(own, same):
    assert same_grid(own, GRID) is same


@pytest.fixture(scope="module")
def bright():
    """(predictor of brightness, its weights)."""
    predictor = predictor_of(Brightness())
    return predictor, jax.jit(Brightness().init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]


@pytest.mark.parametrize("pixel", [(3.0, 3.0), (2.5, 3.7), (3.0, 4.0)])
def test_a_blob_keeps_its_position_on_another_grid(bright, pixel):
    """Half the pixel size and twice the matrix, and others: the blob's center in mm is the same."""
    predictor, weights = bright
    own = Geometry(48, 64, *pixel)
    y, x = np.mgrid[:48, :64]
    y_mm, x_mm = (y - 23.5) * own.row_mm, (x - 31.5) * own.column_mm
    blob = np.hypot(y_mm - 20, x_mm + 35) < 18
    hu = np.repeat(np.where(blob, 100, -20)[None].astype(np.int16), 3, axis=0)
    hu[1] = -20
    result = np.asarray(predictor(weights, hu, own, GRID))
    assert result.shape == (3, 48, 64)
    assert result.min() >= 0.0
    assert result.max() <= 1.0
    assert result[1].max() < 0.01
    for plane in (result[0], result[2]):
        mask = plane > 0.5
        np.testing.assert_allclose([y_mm[mask].mean(), x_mm[mask].mean()], [20, -35], atol=1.0)
        assert (mask & blob).sum() / (mask | blob).sum() > 0.75


def test_other_pixel_sizes_compile_no_new_program(bright):
    predictor, weights = bright
    hu = hu_of(3, (48, 64))
    predictor(weights, hu, Geometry(48, 64, 3.0, 3.0), GRID)
    programs = predictor._program._cache_size()
    predictor(weights, hu, Geometry(48, 64, 3.3, 2.9), GRID)
    assert predictor._program._cache_size() == programs


def test_nothing_is_predicted_outside_the_trained_grid(bright):
    predictor, weights = bright
    own = Geometry(48, 64, 6.0, 6.0)
    result = np.asarray(predictor(weights, np.full((1, 48, 64), 100, np.int16), own, GRID))[0]
    inside = np.zeros((48, 64), bool)
    inside[12:36, 16:48] = True
    assert (result[inside] > 0.99).all()
    assert not result[~inside].any()


@pytest.mark.parametrize(("row", "column"), [(5, 32), (40, 20), (24, 60), (3, 3)])
def test_a_head_beyond_the_trained_field_of_view_is_predicted(bright, row, column):
    """GRID shows rows 12 to 35 and columns 16 to 47 of this scan; the bone beyond makes it larger."""
    predictor, weights = bright
    own = Geometry(48, 64, 6.0, 6.0)
    hu = np.full((2, 48, 64), -1000, np.int16)
    hu[0, row : row + 3, column : column + 3] = 900
    result = np.asarray(predictor(weights, hu, own, GRID))
    np.testing.assert_allclose(result, np.where(hu > 0, 1.0, 0.0), atol=1e-3)


def test_the_grid_grows_by_whole_strides_and_no_farther_than_a_ct_sees():
    own, hu = Geometry(48, 64, 6.0, 6.0), np.full((1, 48, 64), -1000, np.int16)
    assert views.covering(hu, own, GRID, step=8) == GRID
    hu[0, 12, 16] = hu[0, 35, 47] = 900  # its corners
    assert views.covering(hu, own, GRID, step=8) == GRID
    hu[0, 11, 20] = 900
    assert views.covering(hu, own, GRID, step=8)[:2] == (40, 32)
    assert views.covering(hu, own, GRID, step=8, border=1) == GRID  # one pixel is omitted on purpose
    hu[0, 20, 39 + 24] = 900
    assert views.covering(hu, own, GRID, step=8)[:2] == (40, 64)
    huge = own._replace(column_mm=6000.0)
    assert views.covering(hu, huge, GRID, step=8)[:2] == (40, 128)  # 700 mm are 116.7 pixels of 6 mm


@pytest.mark.parametrize("factor", [1 / 4, 1 / 3, 0.7, 1.0, 1.3])
def test_the_same_field_of_view_in_other_pixels_needs_no_larger_grid(factor):
    """Bone at the very edge; the pixel sizes are rounded as in files."""
    height, width = round(GRID.height / factor), round(GRID.width / factor)
    row_mm, column_mm = np.float32([144.0 / height, 192.0 / width])
    own = Geometry(height, width, float(row_mm), float(column_mm))
    hu = np.full((1, height, width), 900, np.int16)
    assert views.covering(hu, own, GRID, step=8) == GRID
    farther = own._replace(row_mm=own.row_mm * 1.3)  # 3.6 pixels of 6 mm beyond each edge
    assert views.covering(hu, farther, GRID, step=8)[:2] == (40, 32)


@pytest.mark.parametrize(("multiple", "height"), [(1, 20), (4, 24), (16, 48)])
def test_for_networks_of_whole_slices_the_grid_grows_by_an_eighth_of_a_side(multiple, height):
    """Half a pixel of bone beyond the upper edge; for a network of patches it grows by a stride of 16 pixels."""
    predictor = SequencePredictor(types.SimpleNamespace(side_multiple=multiple), side=16, stride=16)
    own, trained = Geometry(36, 32, 1.0, 1.0), Geometry(16, 16, 2.0, 2.0)
    hu = np.full((1, 36, 32), -1000, np.int16)
    hu[0, 1, 16] = 900  # its outer edge is 17 mm from the center
    assert views.covering(hu, own, trained, step=predictor._growth)[:2] == (height, 16)


class Neighbors(nn.Module):
    """The logit is the windowed intensity of the slice below plus twice that of the slice above."""

    @nn.compact
    def __call__(self, images):
        return images[..., 0] + 2.0 * images[..., 2] + 0.0 * self.param("none", nn.initializers.zeros, ())


@pytest.mark.parametrize("depth", [1, 5, 11])
@pytest.mark.parametrize("options", [{}, {"devices": 3}, {"whole_slices": True}, {"mirror": True}])
def test_a_network_that_sees_neighboring_slices(depth, options):
    hu = hu_of(depth)
    predictor = predictor_of(Neighbors(), network={"neighbors": 1}, **options)
    result = predictor(predictor.replicate({"none": jnp.zeros(())}), hu, GRID, GRID)
    bright = np.clip((hu + 20) / 120, 0, 1)
    around = np.concatenate([bright[:1], bright, bright[-1:]])
    np.testing.assert_allclose(result, 1 / (1 + np.exp(-(around[:-2] + 2 * around[2:]))), atol=1e-6)


def test_neighboring_slices_of_a_scan_on_another_grid():
    """Constant slices are the same on every grid."""
    hu = np.repeat(np.array([0, 40, 80, 100], np.int16), 48 * 64).reshape(4, 48, 64)
    predictor = predictor_of(Neighbors(), network={"neighbors": 1})
    result = predictor({"none": jnp.zeros(())}, hu, Geometry(48, 64, 3.0, 3.0), GRID)
    bright = (hu[:, 20, 30] + 20) / 120
    around = np.concatenate([bright[:1], bright, bright[-1:]])
    np.testing.assert_allclose(result[:, 20, 30], 1 / (1 + np.exp(-(around[:-2] + 2 * around[2:]))), atol=1e-5)


class Comparing(nn.Module):
    """The logit is the windowed intensity plus twice that of the mirrored slice, which is the last of `slices` + 1."""

    slices: int

    @nn.compact
    def __call__(self, images):
        return (
            images[..., self.slices // 2] + 2.0 * images[..., -1] + 0.0 * self.param("none", nn.initializers.zeros, ())
        )


@pytest.mark.parametrize("neighbors", [0, 1])
@pytest.mark.parametrize("options", [{}, {"devices": 3}, {"whole_slices": True}, {"mirror": True}])
def test_a_network_that_compares_hemispheres(neighbors, options, monkeypatch):
    """Mirrored about column 11.5 of 32: the image of columns 24 to 31 is beyond the slice, so it is air."""
    monkeypatch.setattr(views, "column_sum", lambda hu: 23)
    hu = hu_of(5)
    network = {"neighbors": neighbors, "mirrored_channel": True}
    predictor = predictor_of(Comparing(2 * neighbors + 1), network=network, **options)
    result = predictor(predictor.replicate({"none": jnp.zeros(())}), hu, GRID, GRID)
    bright = np.clip((hu + 20) / 120, 0, 1)
    other = np.concatenate([bright[..., :24][..., ::-1], np.zeros((5, 24, 8))], axis=-1)
    np.testing.assert_allclose(result, 1 / (1 + np.exp(-(bright + 2 * other))), atol=1e-6)


def test_the_mid_plane_is_that_of_the_scan_on_the_trained_grid():
    """As the reader of training patches, which sees resampled scans alone."""
    hu, own = np.full((3, 48, 64), -1000, np.int16), Geometry(48, 64, 3.0, 3.0)
    hu[:, 10:30, 12:16], hu[:, 10:30, 38:42] = 900, 900  # walls about 26.5 of 64 columns, so about 13 of 32
    trained = resampled_hu(hu, own, GRID)
    assert trained.shape == (3, 24, 32)
    view = views.of_scan(hu, own, GRID, mirrored=True)
    assert int(view.column_sum) == midplane.column_sum(trained) == 26
    assert views.of_scan(hu, GRID, GRID, mirrored=False) == (None, None)
    predictor = predictor_of(Comparing(1), network={"mirrored_channel": True})
    result = np.asarray(predictor({"none": jnp.zeros(())}, hu, own, GRID))
    assert result[1, 12:28, [13, 14, 39, 40]].min() > 0.8  # each wall sees itself and the other; alone it has 0.73


class Scoring(nn.Module):
    """The logit of `Local`, and scores from the mean intensity of a patch and that of its left half."""

    @nn.compact
    def __call__(self, images, *, with_slices=False):
        logits = nn.Conv(1, (3, 3), name="Conv_0")(images)[..., 0]
        means = jnp.stack([images.mean(axis=(1, 2, 3)), images[:, :, : images.shape[2] // 2].mean(axis=(1, 2, 3))])
        slices = 10.0 * means.T[:, jnp.array([0, 1, 0, 1, 0, 1])] - 5.0
        return (logits, slices) if with_slices else logits


@pytest.mark.parametrize(("devices", "mirror", "whole_slices"), [(1, False, False), (4, True, False), (2, True, True)])
def test_the_score_of_a_slice_is_the_highest_of_its_patches_and_the_mean_of_mirrored_copies(
    weights, devices, mirror, whole_slices
):
    hu = hu_of(9)
    hu[2], hu[5, :, :16] = -1000, -1000  # a slice of air, whose score is 0, and empty patches
    options = {"mirror": mirror, "whole_slices": whole_slices, "batch_size": 4}
    predictor = predictor_of(Scoring(), devices=devices, network={"slice_head_weight": 1.0}, **options)
    result = predictor.predict_inside(predictor.replicate(weights), hu, GRID, GRID, slice_mm=5.0)
    plain = predictor_of(devices=devices, **options)
    np.testing.assert_allclose(result.probability, plain(plain.replicate(weights), hu, GRID, GRID), atol=1e-6)
    assert result.scores.shape == (9, 6)

    def scores_of(image):
        if not image.any():
            return np.zeros(6)
        logits = 10 * np.array([image.mean(), image[:, : image.shape[1] // 2].mean()] * 3) - 5
        return 1 / (1 + np.exp(-logits))

    image = np.clip((hu + 20.0) / 120, 0, 1)
    copies = [image, image[:, :, ::-1]] if mirror else [image]
    tops, lefts, (height, width) = ([0], [0], GRID[:2]) if whole_slices else ([0, 8], [0, 8, 16], (16, 16))
    corners = [(top, left) for top in tops for left in lefts]
    cut = [[[one[top : top + height, left : left + width] for top, left in corners] for one in copy] for copy in copies]
    expected = [[np.max([scores_of(patch) for patch in patches], axis=0) for patches in copy] for copy in cut]
    np.testing.assert_allclose(result.scores, np.mean(expected, axis=0), atol=1e-5)
    assert (result.scores[2] == 0).all()


def test_scores_of_a_scan_on_another_grid_are_not_resampled(weights):
    """Of pixels of half the size: the same slices."""
    hu, own = hu_of(3).repeat(2, axis=1).repeat(2, axis=2), Geometry(48, 64, 3.0, 3.0)
    predictor = predictor_of(Scoring(), network={"slice_head_weight": 1.0})
    finer = predictor.predict_inside(weights, hu, own, GRID, slice_mm=5.0)
    assert (finer.probability.shape, finer.scores.shape) == ((3, 48, 64), (3, 6))
    coarser = predictor.predict_inside(weights, hu_of(3), GRID, GRID, slice_mm=5.0)
    np.testing.assert_allclose(finer.scores, coarser.scores, atol=0.1)


class SubtypesOfBrightness(nn.Module):
    """Logits of six classes from the intensity and, where there is one, the prior of a pixel."""

    @nn.compact
    def __call__(self, images):
        brightness, prior = images[..., 0], images[..., -1]
        slopes = jnp.array([1.0, 3.0, -2.0, 0.5, 0.0, -1.0])[None, None, None]
        return slopes * brightness[..., None] + slopes[..., ::-1] * prior[..., None]


@pytest.mark.parametrize(
    ("devices", "mirror", "whole_slices", "stitching"),
    [(1, False, False, "flat"), (4, True, False, "gaussian"), (2, True, True, "flat")],
)
def test_sub_types_of_every_pixel_from_its_hu_and_prior(weights, devices, mirror, whole_slices, stitching):
    """The module treats each pixel on its own, so patches and mirrored copies all agree."""
    network = ClassNetwork(SubtypesOfBrightness(), ((40.0, 120.0),))
    options = {"mirror": mirror, "whole_slices": whole_slices, "stitching": stitching, "batch_size": 4}
    predictor = SlicePredictor(network, side=16, stride=8, devices=jax.devices()[:devices], **options)
    hu, prior = hu_of(9), np.random.default_rng(1).integers(0, 1001, (9, *GRID[:2])).astype(np.int16)
    result = predictor.predict_inside({}, hu, GRID, GRID, slice_mm=5.0, prior=jnp.asarray(prior))
    slopes = np.array([1.0, 3.0, -2.0, 0.5, 0.0, -1.0])
    logits = slopes * np.clip((hu + 20.0) / 120, 0, 1)[..., None] + slopes[::-1] * prior[..., None] / 1000
    logits[..., 0] += np.log(5) + 4
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(result.class_probability, expected, atol=1e-5)
    np.testing.assert_allclose(result.probability, 1 - expected[..., 0], atol=1e-5)
    assert result.unrestricted is result.scores is None


def test_sub_types_on_another_grid_sum_to_one_and_are_background_beyond_it():
    network = ClassNetwork(SubtypesOfBrightness(), ((40.0, 120.0),))
    predictor = SlicePredictor(network, side=16, stride=8, devices=jax.devices()[:1])
    hu, own = hu_of(3, (40, 40)), Geometry(40, 40, 6.0, 6.0)
    result = predictor.predict_inside({}, hu, own, GRID, slice_mm=5.0)
    assert result.class_probability.shape == (3, 40, 40, 6)
    np.testing.assert_allclose(result.class_probability.sum(axis=-1), 1, atol=1e-6)
    assert (np.asarray(result.class_probability)[:, :7] == np.eye(6)[0]).all()
    assert (np.asarray(result.class_probability)[:, 10:30, 6:34, 1:] > 0).all()
