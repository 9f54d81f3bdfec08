"""Predicts the slices of a scan in one jitted program: windows, patches, network, stitching, on all devices."""

import copy
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ichjax import xla
from ichjax.data.regrid import Geometry, same_grid
from ichjax.models.network import Network
from ichjax.ops import patches, resample
from ichjax.scan.volume import AIR_HU

DEPTH_STEP = 8  # slices that a device processes together; scans are padded to a multiple of it

Maps = tuple[jax.Array, jax.Array]  # weights that resample rows, and columns
GridMaps = tuple[Maps, Maps] | None  # to the network's grid and back; None where the grids are the same
Array = TypeVar("Array", np.ndarray, jax.Array)


def pad_depth(array: Array, value: float, step: int = DEPTH_STEP) -> Array:
    """Pads [D, H, W] with slices of `value` to a multiple of `step`."""
    xp: Any = jnp if isinstance(array, jax.Array) else np
    return xp.pad(array, ((0, -len(array) % step), (0, 0), (0, 0)), constant_values=value)


def _maps(source: Geometry, target: Geometry, outside: str) -> Maps:
    """Weights that resample rows and columns from one grid to another."""
    rows, columns = (
        _line_weights(size, from_mm, to_size, to_mm, size, outside=outside)
        for size, from_mm, to_size, to_mm in zip(source[:2], source[2:], target[:2], target[2:], strict=True)
    )
    return rows, columns


def _grid_maps(own: Geometry, trained: Geometry) -> GridMaps:
    """The maps from a scan's own grid to the network's and back."""
    return None if same_grid(own, trained) else (_maps(own, trained, "edge"), _maps(trained, own, "zero"))


_line_weights = jax.jit(resample.line_weights, static_argnums=(2, 4), static_argnames="outside")


class SlicePredictor:
    """Predicts the slices of a scan by overlapping patches, with the slices distributed over the devices in turn.

    Patches that show only air (in every window) all have the same probability, so the network runs on one of them, and
    batches are made of the others. Their number is data, not a shape, and so is the scan's depth: one program serves
    all scans of a padded depth. Pixel sizes are data as well: one more program serves all scans of one matrix that must
    be resampled.
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
        devices: list | None = None,
    ):
        """Args: as in `config.patch` and `config.predict`; `devices` defaults to all of this process."""
        devices = jax.local_devices() if devices is None else devices
        self._mesh = Mesh(np.array(devices), ("data",))
        self._network, self._side, self._stride, self._whole = network, side, stride, whole_slices
        self._batch_size = 1 if whole_slices else batch_size
        self._stretch, self._quantize = min_max_stretch, quantize_8bit
        self._gaussian, self._mirror = stitching == "gaussian", mirror
        self._program = xla.jit(self._predict)

    @property
    def slices_at_once(self) -> int:
        """The fewest slices that occupy all devices."""
        return self._mesh.size

    def __call__(self, weights: dict, hu: np.ndarray, own: Geometry, trained: Geometry) -> jax.Array:
        """Predicts a scan.

        Args:
          weights: the network's parameters, best put on the devices once, by `replicate`.
          hu: int16 [D, H, W].
          own: the scan's matrix and pixel size.
          trained: those of the slices that the network was trained on.

        Returns:
          float32 [D, H, W], on the device.
        """
        return self.first_slices(weights, hu, len(hu), own, trained)[: len(hu)]

    def first_slices(self, weights: dict, hu: np.ndarray, depth: int, own: Geometry, trained: Geometry) -> jax.Array:
        """Predicts the first `depth` slices by the same program; the other slices, and the padding, are 0."""
        padded = pad_depth(np.asarray(hu), AIR_HU, DEPTH_STEP * self._mesh.size)
        arguments = (weights, padded, depth, _grid_maps(own, trained))
        what = (
            "a prediction of whole slices" if self._whole else f"a prediction by {self._batch_size} patches at a time"
        )
        with xla.explain_out_of_memory(what, lambda: self._smaller_batch(*arguments)):
            return jax.block_until_ready(self._program(*arguments))

    def _smaller_batch(self, *arguments: Any) -> str:
        """What to set so that a prediction fits, for an error message."""

        def compiled(batch_size: int) -> jax.stages.Compiled:
            smaller = copy.copy(self)
            smaller._batch_size = batch_size
            return jax.jit(smaller._predict, compiler_options=xla.options()).lower(*arguments).compile()

        if self._whole:
            return "config.predict.whole_slices=False"
        halves = [self._batch_size >> k for k in range(1, self._batch_size.bit_length())]
        batch_size = xla.first_that_fits(halves, compiled)
        return f"config.predict.batch_size={batch_size}" if batch_size else "a smaller config.model.base_width"

    def traced(self, weights: dict, hu: jax.Array, own: Geometry, trained: Geometry) -> jax.Array:
        """Predicts a few slices as part of a larger program: int16 [N, H, W] to float32 [N, H, W]."""
        return self._on_own_grid(weights, hu, _grid_maps(own, trained))

    def replicate(self, weights: dict) -> dict:
        """Puts parameters on every device."""
        return jax.device_put(weights, NamedSharding(self._mesh, PartitionSpec()))

    def _predict(self, weights: dict, hu: jax.Array, depth: jax.Array, maps: GridMaps) -> jax.Array:
        whole, split = PartitionSpec(), PartitionSpec("data")
        mapped = jax.shard_map(
            self._predict_share,
            mesh=self._mesh,
            in_specs=(whole, split, whole, whole),
            out_specs=split,
            check_vma=False,
        )
        # Device k of n gets slices k, k + n, ..., so that padding never leaves a device idle.
        devices, (length, *plane) = self._mesh.size, hu.shape
        seen = self._with_neighbors(hu, depth)
        dealt = seen.reshape(-1, devices, *seen.shape[1:]).swapaxes(0, 1).reshape(seen.shape)
        probability = mapped(weights, dealt, depth, maps)
        return probability.reshape(devices, length // devices, *plane).swapaxes(0, 1).reshape(hu.shape)

    def _with_neighbors(self, hu: jax.Array, depth: jax.Array) -> jax.Array:
        """[L, H, W] as [L, H, W, S] if the network sees neighboring slices; the scan's end slices are repeated."""
        if not self._network.neighbors:
            return hu
        around = jnp.arange(-self._network.neighbors, self._network.neighbors + 1)
        indices = jnp.clip(jnp.arange(len(hu))[:, None] + around[None], 0, depth - 1)
        return jnp.moveaxis(hu.at[indices].get(mode="promise_in_bounds"), 1, -1)

    def _predict_share(self, weights: dict, hu: jax.Array, depth: jax.Array, maps: GridMaps) -> jax.Array:
        """One device's slices, `DEPTH_STEP` at a time; the scan's slices come before the padding."""
        count = jnp.maximum(-((jax.lax.axis_index("data") - depth) // self._mesh.size), 0)
        is_real = jnp.arange(len(hu)) < count
        hu = jnp.where(is_real.reshape(-1, *[1] * (hu.ndim - 1)), hu, jnp.int16(AIR_HU))

        def step(index: jax.Array, probability: jax.Array) -> jax.Array:
            slices = jax.lax.dynamic_slice_in_dim(hu, index * DEPTH_STEP, DEPTH_STEP)
            predicted = self._on_own_grid(weights, slices, maps)
            return jax.lax.dynamic_update_slice_in_dim(probability, predicted, index * DEPTH_STEP, axis=0)

        probability = jax.lax.fori_loop(0, -(-count // DEPTH_STEP), step, jnp.zeros(hu.shape[:3], jnp.float32))
        return jnp.where(is_real[:, None, None], probability, 0.0)

    def _on_own_grid(self, weights: dict, slices: jax.Array, maps: GridMaps) -> jax.Array:
        """HU on the scan's own grid to probability on it, resampled to the network's grid and back."""
        if maps is None:
            return self._slices(weights, slices)
        forward, back = maps
        stacked = slices if slices.ndim == 3 else jnp.moveaxis(slices, -1, 1).reshape(-1, *slices.shape[1:3])
        coarse = resample.resample(stacked.astype(jnp.float32), *forward)
        if slices.ndim == 4:
            coarse = jnp.moveaxis(coarse.reshape(len(slices), -1, *coarse.shape[1:]), 1, -1)
        return jnp.clip(resample.resample(self._slices(weights, coarse), *back), 0.0, 1.0)

    def _slices(self, weights: dict, slices: jax.Array) -> jax.Array:
        """HU [N, H, W], or [N, H, W, S] with neighbors, to probability [N, H, W], averaged with the mirrored slices' if
        `mirror` is set."""
        if not self._mirror:
            return self._one_way(weights, slices)
        as_is, mirrored = jax.lax.map(lambda hu: self._one_way(weights, hu), jnp.stack([slices, slices[:, :, ::-1]]))
        return (as_is + mirrored[:, :, ::-1]) / 2

    def _one_way(self, weights: dict, slices: jax.Array) -> jax.Array:
        """HU to probability [N, H, W], by patches that are stitched."""
        if self._whole:
            return self._whole_slices(weights, slices)
        cut = patches.extract(slices, side=self._side, stride=self._stride)
        probability = self._of_patches(weights, cut.reshape(-1, *cut.shape[3:])).reshape(cut.shape[:5])
        if self._stretch:
            probability = patches.min_max_stretch(probability)
        if self._quantize:
            return patches.stitch_8bit(probability, stride=self._stride)
        return patches.stitch(probability, stride=self._stride, gaussian=self._gaussian)

    def _whole_slices(self, weights: dict, slices: jax.Array) -> jax.Array:
        """Each slice as one patch, padded with air below and to the right to a multiple of `side_multiple`."""
        _, height, width, *rest = slices.shape
        multiple = self._network.side_multiple
        air = ((0, 0), (0, -height % multiple), (0, -width % multiple), *[(0, 0)] * len(rest))
        probability = self._of_patches(weights, jnp.pad(slices, air, constant_values=AIR_HU))[:, :height, :width]
        if self._stretch:
            probability = patches.min_max_stretch(probability)
        return jnp.floor(probability * 255.0) / 256.0 if self._quantize else probability

    def _of_patches(self, weights: dict, hu: jax.Array) -> jax.Array:
        """HU of patches to probability [M, P, Q]; the network runs on the patches that are not air, batch by batch."""
        count, *shape = hu.shape[:3]
        size = min(self._batch_size, count)
        images = self._network.images(hu)
        is_shown = (images != 0).any(axis=(1, 2, 3))
        # The patches that are not air come first, then one air patch on behalf of all others.
        order = jnp.pad(jnp.argsort(~is_shown, stable=True), (0, -count % size), constant_values=count - 1)
        rank = jnp.where(is_shown, jnp.cumsum(is_shown) - 1, is_shown.sum())
        images = self._network.mark_corner(images)

        def step(index: jax.Array, probability: jax.Array) -> jax.Array:
            chosen = jax.lax.dynamic_slice_in_dim(order, index * size, size)
            batch = images.at[chosen].get(mode="promise_in_bounds")
            predicted = self._network.probability(weights, batch)
            return jax.lax.dynamic_update_slice_in_dim(probability, predicted, index * size, axis=0)

        steps = -(-jnp.minimum(is_shown.sum() + 1, count) // size)
        probability = jax.lax.fori_loop(0, steps, step, jnp.zeros((len(order), *shape), jnp.float32))
        return probability.at[rank].get(mode="promise_in_bounds")
