"""Prediction of slices by a network, as one jitted program over all devices: windows, patches, network, stitching."""

import copy
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ichjax import xla
from ichjax.data.regrid import Geometry
from ichjax.methods import views
from ichjax.methods.scan_prediction import ScanPrediction, broadcastable, restrict, with_classes
from ichjax.methods.views import View
from ichjax.models.network import Network
from ichjax.models.slice_head import LABEL_WEIGHTS
from ichjax.ops import patches, resample, skull
from ichjax.scan.volume import AIR_HU

DEPTH_STEP = 8  # slices that a device processes together; scans are padded to a multiple of it

SLICE_MM = 5.0  # slice spacing where it is not known

Predicted = tuple[jax.Array, jax.Array | None]  # probability [N, H, W]; scores of a second head [N, 6], or None
Array = TypeVar("Array", np.ndarray, jax.Array)
Part = TypeVar("Part")
Weights = dict[str, Any]


def pad_depth(array: Array, value: float, step: int = DEPTH_STEP) -> Array:
    """Pads [D, H, W] or [D, H, W, C] with slices of `value` to a multiple of `step`."""
    xp: Any = jnp if isinstance(array, jax.Array) else np
    return xp.pad(array, ((0, -len(array) % step), *[(0, 0)] * (array.ndim - 1)), constant_values=value)


class SlicePredictor:
    """Predicts the slices of a scan from overlapping patches, with slices distributed over the devices.

    Empty patches (air, in every window) all have the same prediction, so the network sees only one of them. Their
    number is data and not a shape, as is the scan's depth, so one program serves scans of any depth that pad to the
    same length. Pixel sizes are data too: one more program serves all scans of a matrix that must be resampled.
    """

    def __init__(
        self,
        network: Network,
        *,
        side: int,
        stride: int,
        batch_size: int = 32,
        whole_slices: bool = False,
        min_max_stretch: bool = False,
        quantize_8bit: bool = False,
        stitching: str = "flat",
        mirror: bool = False,
        inside_skull: bool = False,
        border: int = 0,
        devices: list[jax.Device] | None = None,
    ):
        """Arguments as in `config.patch`, `config.predict` and `config.grid`; `devices` defaults to all local ones."""
        devices = jax.local_devices() if devices is None else devices
        self._mesh = Mesh(np.array(devices), ("data",))
        self._network, self._side, self._stride, self._whole = network, side, stride, whole_slices
        self._batch_size, self._border = 1 if whole_slices else batch_size, border
        self._stretch, self._quantize = min_max_stretch, quantize_8bit
        self._gaussian, self._mirror, self._inside_skull = stitching == "gaussian", mirror, inside_skull
        self._program = xla.jit(self._predict)
        self._fits = set[tuple]()  # kinds of scans with which the program has run

    @property
    def min_slices(self) -> int:
        """The number of slices that keeps every device busy."""
        return self._mesh.size

    @property
    def _growth(self) -> int:
        """Pixels by which each edge of the trained grid can move out; a compiled program for each size."""
        return self._stride

    def __call__(self, weights: Weights, hu: np.ndarray, own: Geometry, trained: Geometry) -> jax.Array:
        """Predicts a scan; 0 beyond the trained grid, which is enlarged to hold all bone (`views.covering`).

        Args:
          weights: the network's parameters, preferably from `replicate`.
          hu: int16 [D, H, W].
          own: the scan's matrix and pixel size.
          trained: matrix and pixel size of the training slices.

        Returns:
          float32 [D, H, W], on the device.
        """
        return self.predict_first(weights, hu, len(hu), own, trained)[: len(hu)]

    def predict_inside(
        self,
        weights: Weights,
        hu: np.ndarray,
        own: Geometry,
        trained: Geometry,
        *,
        slice_mm: float,
        prior: jax.Array | None = None,
    ) -> ScanPrediction:
        """As a call, with the slice spacing, and with all that there is besides the probability.

        `prior`: int16 [D, H, W], an earlier network's probability x 1000, for a network that reads one.
        """
        return self._run(weights, hu, len(hu), own, trained, slice_mm, prior).first(len(hu))

    def predict_first(
        self, weights: Weights, hu: np.ndarray, depth: int, own: Geometry, trained: Geometry
    ) -> jax.Array:
        """As a call, by the same program, but predicts the first `depth` slices only; the others and padding are 0."""
        return self._run(weights, hu, depth, own, trained, SLICE_MM).probability

    def _run(
        self,
        weights: Weights,
        hu: np.ndarray,
        depth: int,
        own: Geometry,
        trained: Geometry,
        slice_mm: float,
        prior: jax.Array | None = None,
    ) -> ScanPrediction:
        padded = pad_depth(np.asarray(hu), AIR_HU, DEPTH_STEP * self._mesh.size)
        if self._network.priors:
            prior = jnp.zeros(padded.shape, jnp.int16) if prior is None else pad_depth(prior, 0, len(padded))
        spacing_mm = np.array([slice_mm, own.row_mm, own.column_mm], np.float32)
        trained = views.covering(hu, own, trained, step=self._growth, border=self._border)
        view = views.of_scan(hu, own, trained, mirrored=self._network.mirrored_channel)
        arguments = (weights, padded, depth, view, spacing_mm, prior)
        how = "of whole slices" if self._whole else f"by {self._batch_size} patches at a time"
        with xla.explain_out_of_memory(f"a prediction {how}", lambda: self._smaller_batch(*arguments)):
            predicted = self._program(*arguments)
            # Only a first run is waited for, as memory runs out then or never: the host prepares the next fold while a
            # GPU or TPU computes. A CPU would compute several folds at once, each in memory of its own.
            kind = (padded.shape, trained, view.maps is None)
            if xla.platform() == "cpu" or kind not in self._fits:
                jax.block_until_ready(predicted)
                self._fits.add(kind)
            return predicted

    def _smaller_batch(self, *arguments: Any) -> str:
        """The setting with which a prediction fits, for an error message."""

        def compiled(batch_size: int) -> jax.stages.Compiled:
            smaller = copy.copy(self)
            smaller._batch_size = batch_size
            return jax.jit(smaller._predict, compiler_options=xla.options()).lower(*arguments).compile()

        if self._whole:
            return "config.predict.whole_slices=False"
        halves = [self._batch_size >> k for k in range(1, self._batch_size.bit_length())]
        batch_size = xla.first_that_fits(halves, compiled)
        return f"config.predict.batch_size={batch_size}" if batch_size else "a smaller config.model.base_width"

    def predict_traced(self, weights: Weights, hu: jax.Array, own: Geometry, trained: Geometry) -> jax.Array:
        """As a call, but on few slices and as part of a larger program: int16 [N, H, W] to float32 [N, H, W]."""
        return self._predict_on_own_grid(weights, hu, View(views.grid_maps(own, trained)))[0]

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """The lowered program, to inspect it or to compile it for other hardware.

        `arguments`: shapes and dtypes of parameters, HU, depth, view, spacing, and the prior if there is one.
        """
        program: Any = self._program
        return program.lower(*arguments)

    def replicate(self, weights: Weights) -> Weights:
        """Copies parameters to every device."""
        return jax.device_put(weights, NamedSharding(self._mesh, PartitionSpec()))

    def _predict(
        self,
        weights: Weights,
        hu: jax.Array,
        depth: int,
        view: View,
        spacing_mm: jax.Array,
        prior: jax.Array | None = None,
    ) -> ScanPrediction:
        replicated, sharded = PartitionSpec(), PartitionSpec("data")
        predict_share = jax.shard_map(
            self._predict_share,
            mesh=self._mesh,
            in_specs=(replicated, sharded, replicated, replicated),
            out_specs=sharded,
            check_vma=False,
        )
        # Device k of n gets slices k, k + n, ..., so that padding leaves no device idle.
        devices, length = self._mesh.size, len(hu)
        stacked = self._stack_neighbors(hu, depth)
        if prior is not None:
            stacked = jnp.concatenate([stacked.reshape(*hu.shape, -1), prior[..., None]], axis=-1)
        interleaved = stacked.reshape(-1, devices, *stacked.shape[1:]).swapaxes(0, 1).reshape(stacked.shape)
        probability, scores = predict_share(weights, interleaved, depth, view)
        by_device = probability.reshape(devices, length // devices, *probability.shape[1:])
        probability = by_device.swapaxes(0, 1).reshape(probability.shape)
        if scores is not None:
            scores = scores.reshape(devices, length // devices, -1).swapaxes(0, 1).reshape(scores.shape)
        predicted = ScanPrediction(probability, None, None, scores)
        if self._inside_skull:
            # What treats each slice on its own stays on its device; only the tracking from slice to slice does not.
            spread = jax.lax.with_sharding_constraint(hu, NamedSharding(self._mesh, sharded))
            predicted = restrict(predicted, *skull.inside_skull(spread, spacing_mm))
        return with_classes(predicted) if self._network.subtypes else predicted

    def _stack_neighbors(self, hu: jax.Array, depth: int) -> jax.Array:
        """[L, H, W] as [L, H, W, S] if the network sees neighboring slices; the scan's end slices are repeated."""
        if not self._network.neighbors:
            return hu
        offsets = jnp.arange(-self._network.neighbors, self._network.neighbors + 1)
        indices = jnp.clip(jnp.arange(len(hu))[:, None] + offsets[None], 0, depth - 1)
        return jnp.moveaxis(hu.at[indices].get(mode="promise_in_bounds"), 1, -1)

    def _predict_share(self, weights: Weights, hu: jax.Array, depth: int, view: View) -> Predicted:
        """One device's slices, `DEPTH_STEP` at a time; padding comes last and is not predicted."""
        count = jnp.maximum(-((jax.lax.axis_index("data") - depth) // self._mesh.size), 0)
        real = jnp.arange(len(hu)) < count
        hu = jnp.where(real.reshape(-1, *[1] * (hu.ndim - 1)), hu, jnp.int16(AIR_HU))

        def step(index: jax.Array, predicted: Predicted) -> Predicted:
            first = index * DEPTH_STEP
            slices = jax.lax.dynamic_slice_in_dim(hu, first, DEPTH_STEP)
            new, counts = self._predict_on_own_grid(weights, slices, view), first + jnp.arange(DEPTH_STEP) < count
            # Here and not after the loop, where it would copy the whole prediction.
            return update_part(
                predicted, jax.tree.map(lambda x: jnp.where(broadcastable(counts, x), x, 0.0), new), first
            )

        return jax.lax.fori_loop(0, -(-count // DEPTH_STEP), step, self._zeros(*hu.shape[:3]))

    def _zeros(self, count: int, *plane: int) -> Predicted:
        """The prediction of `count` slices or patches, to be filled."""
        scores = jnp.zeros((count, len(LABEL_WEIGHTS)), jnp.float32) if self._network.slice_head_weight else None
        classes = (self._network.subtypes,) if self._network.subtypes else ()
        return jnp.zeros((count, *plane, *classes), jnp.float32), scores

    def _each(self, function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
        """A function of probabilities that treats each sub-type, if there are any, on its own."""
        return jax.vmap(function, in_axes=-1, out_axes=-1) if self._network.subtypes else function

    def _predict_on_own_grid(self, weights: Weights, slices: jax.Array, view: View) -> Predicted:
        """HU [N, H, W] or [N, H, W, S] to their prediction; resampled to the trained grid and back by `view.maps`."""
        seen = views.add_mirrored(views.to_trained(slices, view), view, self._network.priors)
        return self._to_own(self._predict_slices(weights, seen), view)

    def _to_own(self, predicted: Predicted, view: View) -> Predicted:
        """A prediction on the trained grid on the scan's own."""
        if view.maps is None:
            return predicted
        probability, scores = predicted
        resampled = self._each(lambda x: resample.resample(x, *cast(views.Maps, view.maps)[1]))(probability)
        return jnp.clip(resampled, 0.0, 1.0), scores

    def _predict_slices(self, weights: Weights, slices: jax.Array) -> Predicted:
        """HU [N, H, W] or [N, H, W, S] to their prediction; with `mirror`, averaged over the mirrored slices."""
        predict = self._predict_whole if self._whole else self._predict_by_patches
        if not self._mirror:
            return predict(weights, slices)
        both = jnp.stack([slices, slices[:, :, ::-1]])
        (plain, mirrored), scores = jax.lax.map(lambda hu: predict(weights, hu), both)
        return (plain + mirrored[:, :, ::-1]) / 2, None if scores is None else scores.mean(axis=0)

    def _predict_by_patches(self, weights: Weights, slices: jax.Array) -> Predicted:
        """HU to their prediction through overlapping patches: a mean of probabilities, the highest of scores."""
        cut = patches.extract(slices, side=self._side, stride=self._stride)
        probability, scores = self._predict_patches(weights, cut.reshape(-1, *cut.shape[3:]))
        probability = probability.reshape(*cut.shape[:5], *probability.shape[3:])
        if scores is not None:
            scores = scores.reshape(len(slices), -1, scores.shape[-1]).max(axis=1)
        if self._stretch:
            probability = patches.min_max_stretch(probability)
        if self._quantize:
            return patches.stitch_8bit(probability, stride=self._stride), scores
        stitch = functools.partial(patches.stitch, stride=self._stride, gaussian=self._gaussian)
        return self._each(stitch)(probability), scores

    def _predict_whole(self, weights: Weights, slices: jax.Array) -> Predicted:
        """HU to their prediction, each slice as one patch, padded with air to a multiple of `side_multiple`."""
        _, height, width, *rest = slices.shape
        multiple = self._network.side_multiple
        padding = ((0, 0), (0, -height % multiple), (0, -width % multiple), *[(0, 0)] * len(rest))
        padded = jnp.pad(slices, padding, constant_values=AIR_HU)
        probability, scores = self._predict_patches(weights, padded)
        probability = probability[:, :height, :width]
        if self._stretch:
            probability = patches.min_max_stretch(probability)
        return jnp.floor(probability * 255.0) / 256.0 if self._quantize else probability, scores

    def _predict_patches(self, weights: Weights, hu: jax.Array) -> Predicted:
        """HU of patches [M, P, Q] to their prediction; only non-empty patches and one empty one are batched.

        Empty patches, which training hardly has, score 0.
        """
        count, *shape = hu.shape[:3]
        size = min(self._batch_size, count)
        images = self._network.images(hu)
        nonempty = (images != 0).any(axis=(1, 2, 3))
        # Non-empty patches first; the empty patch after them stands for all empty ones.
        order = jnp.pad(jnp.argsort(~nonempty, stable=True), (0, -count % size), constant_values=count - 1)
        position = jnp.where(nonempty, jnp.cumsum(nonempty) - 1, nonempty.sum())
        images = self._network.mark_corner(images)

        def step(index: jax.Array, predicted: Predicted) -> Predicted:
            rows = jax.lax.dynamic_slice_in_dim(order, index * size, size)
            batch = images.at[rows].get(mode="promise_in_bounds")
            return update_part(predicted, self._network.predict(weights, batch), index * size)

        steps = -(-jnp.minimum(nonempty.sum() + 1, count) // size)
        probability, scores = jax.lax.fori_loop(0, steps, step, self._zeros(len(order), *shape))
        if scores is not None:
            scores = jnp.where(nonempty[:, None], scores.at[position].get(mode="promise_in_bounds"), 0.0)
        return probability.at[position].get(mode="promise_in_bounds"), scores


def update_part(whole: Part, part: Part, start: jax.Array) -> Part:
    """A tree of arrays with a part of each, from the slice or patch `start`, replaced."""
    return jax.tree.map(lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new, start, axis=0), whole, part)
