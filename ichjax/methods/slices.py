"""Slices to probability as one jitted program: windows, patches, network, stitching, on every device."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ichjax import xla
from ichjax.data.regrid import Geometry, same_grid
from ichjax.models.network import Network
from ichjax.ops import patches, resample
from ichjax.scan.volume import AIR_HU

DEPTH_STEP = 8  # slices a device that are worked on together: scans are padded to a multiple of it


def pad_depth(array: np.ndarray | jax.Array, value: float, step: int = DEPTH_STEP):
    """Pads [D, H, W] with slices of `value` to a multiple of `step`."""
    xp = jnp if isinstance(array, jax.Array) else np
    return xp.pad(array, ((0, -len(array) % step), (0, 0), (0, 0)), constant_values=value)


def _maps(source: Geometry, target: Geometry, outside: str) -> tuple[jax.Array, jax.Array]:
    """Weights that resample rows and columns from one grid to another."""
    pairs = zip(source[:2], source[2:], target[:2], target[2:], strict=True)
    return tuple(
        _line_weights(size, from_mm, to_size, to_mm, size, outside=outside) for size, from_mm, to_size, to_mm in pairs
    )


_line_weights = jax.jit(resample.line_weights, static_argnums=(2, 4), static_argnames="outside")


class SlicePredictor:
    """Predicts the slices of a scan by overlapping patches, the slices dealt out to the devices in turn.

    Patches that show nothing (air, in every window) all get the same answer, so the network sees one of them,
    and only the others are put together to batches: how many there are is data and not a shape, as is the scan's depth,
    so one program serves scans of any depth that pad to the same length. Pixel sizes are data too: one more program
    serves all scans of a matrix that must be resampled.
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
        """Args: as in `config.patch` and `config.predict`; `devices` defaults to all that this process has."""
        devices = jax.local_devices() if devices is None else devices
        self._mesh = Mesh(np.array(devices), ("data",))
        self._network, self._side, self._stride, self._whole = network, side, stride, whole_slices
        self._batch_size = 1 if whole_slices else batch_size
        self._stretch, self._quantize = min_max_stretch, quantize_8bit
        self._gaussian, self._mirror = stitching == "gaussian", mirror
        self._program = xla.jit(self._predict)

    @property
    def slices_at_once(self) -> int:
        """Slices below which a device has nothing to do."""
        return self._mesh.size

    def __call__(self, weights: dict, hu: np.ndarray, own: Geometry, trained: Geometry) -> jax.Array:
        """Predicts a scan.

        Args:
          weights: the network's parameters, best put on the devices by `place` once.
          hu: int16 [D, H, W].
          own: the scan's matrix and pixel size.
          trained: that of the slices the network was trained on.

        Returns:
          float32 [D, H, W], on the device.
        """
        return self.first_slices(weights, hu, len(hu), own, trained)[: len(hu)]

    def first_slices(self, weights, hu: np.ndarray, depth: int, own: Geometry, trained: Geometry) -> jax.Array:
        """As a call, by the same program, but of the first `depth` slices only; the others, and the padding that
        follows them, are 0."""
        padded = pad_depth(np.asarray(hu), AIR_HU, DEPTH_STEP * self._mesh.size)
        maps = None if same_grid(own, trained) else (_maps(own, trained, "edge"), _maps(trained, own, "zero"))
        arguments = (weights, padded, depth, maps)
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
        """As a call, of a few slices at once, as part of a larger program: int16 [N, H, W] to float32 [N, H, W]."""
        maps = None if same_grid(own, trained) else (_maps(own, trained, "edge"), _maps(trained, own, "zero"))
        return self._on_own_grid(weights, hu, maps)

    def place(self, weights: dict) -> dict:
        """Puts parameters on every device."""
        return jax.device_put(weights, NamedSharding(self._mesh, PartitionSpec()))

    def _predict(self, weights, hu, depth, maps):
        whole, split = PartitionSpec(), PartitionSpec("data")
        mapped = jax.shard_map(
            self._predict_share,
            mesh=self._mesh,
            in_specs=(whole, split, whole, whole),
            out_specs=split,
            check_vma=False,
        )
        # Device k of n gets slices k, k + n, ...: dealt out like this, padding never leaves a device idle.
        devices, (length, *plane) = self._mesh.size, hu.shape
        seen = self._with_neighbors(hu, depth)
        dealt = seen.reshape(-1, devices, *seen.shape[1:]).swapaxes(0, 1).reshape(seen.shape)
        probability = mapped(weights, dealt, depth, maps)
        return probability.reshape(devices, length // devices, *plane).swapaxes(0, 1).reshape(hu.shape)

    def _with_neighbors(self, hu, depth):
        """[L, H, W] as [L, H, W, S] where the network sees neighboring slices; the scan's end slices are repeated."""
        if not self._network.neighbors:
            return hu
        around = jnp.arange(-self._network.neighbors, self._network.neighbors + 1)
        places = jnp.clip(jnp.arange(len(hu))[:, None] + around[None], 0, depth - 1)
        return jnp.moveaxis(hu.at[places].get(mode="promise_in_bounds"), 1, -1)

    def _predict_share(self, weights, hu, depth, maps):
        """One device's slices, `DEPTH_STEP` at a time; those that the scan has come first."""
        mine = jnp.maximum(-((jax.lax.axis_index("data") - depth) // self._mesh.size), 0)
        there = jnp.arange(len(hu)) < mine
        hu = jnp.where(there.reshape(-1, *[1] * (hu.ndim - 1)), hu, jnp.int16(AIR_HU))

        def step(index, probability):
            slices = jax.lax.dynamic_slice_in_dim(hu, index * DEPTH_STEP, DEPTH_STEP)
            found = self._on_own_grid(weights, slices, maps)
            return jax.lax.dynamic_update_slice_in_dim(probability, found, index * DEPTH_STEP, axis=0)

        probability = jax.lax.fori_loop(0, -(-mine // DEPTH_STEP), step, jnp.zeros(hu.shape[:3], jnp.float32))
        return jnp.where(there[:, None, None], probability, 0.0)

    def _on_own_grid(self, weights, slices, maps):
        if maps is None:
            return self._slices(weights, slices)
        there, back = maps
        stacked = slices if slices.ndim == 3 else jnp.moveaxis(slices, -1, 1).reshape(-1, *slices.shape[1:3])
        coarse = resample.resample(stacked.astype(jnp.float32), *there)
        if slices.ndim == 4:
            coarse = jnp.moveaxis(coarse.reshape(len(slices), -1, *coarse.shape[1:]), 1, -1)
        return jnp.clip(resample.resample(self._slices(weights, coarse), *back), 0.0, 1.0)

    def _slices(self, weights, slices):
        """HU [N, H, W], or [N, H, W, S] with neighbors, to probability [N, H, W]; with `mirror` the mean of the slices'
        and of their mirror images'."""
        if not self._mirror:
            return self._one_way(weights, slices)
        as_is, mirrored = jax.lax.map(lambda hu: self._one_way(weights, hu), jnp.stack([slices, slices[:, :, ::-1]]))
        return (as_is + mirrored[:, :, ::-1]) / 2

    def _one_way(self, weights, slices):
        """HU to probability [N, H, W], through patches and back."""
        if self._whole:
            return self._whole_slices(weights, slices)
        cut = patches.extract(slices, side=self._side, stride=self._stride)
        probability = self._of_patches(weights, cut.reshape(-1, *cut.shape[3:])).reshape(cut.shape[:5])
        if self._stretch:
            probability = patches.min_max_stretch(probability)
        if self._quantize:
            return patches.stitch_8bit(probability, stride=self._stride)
        return patches.stitch(probability, stride=self._stride, gaussian=self._gaussian)

    def _whole_slices(self, weights, slices):
        """Each slice as a patch of its own, with air below and to the right where its side is not a multiple."""
        _, height, width, *rest = slices.shape
        multiple = self._network.side_multiple
        air = ((0, 0), (0, -height % multiple), (0, -width % multiple), *[(0, 0)] * len(rest))
        probability = self._of_patches(weights, jnp.pad(slices, air, constant_values=AIR_HU))[:, :height, :width]
        if self._stretch:
            probability = patches.min_max_stretch(probability)
        return jnp.floor(probability * 255.0) / 256.0 if self._quantize else probability

    def _of_patches(self, weights, hu):
        """HU of patches to probability [M, P, Q]: the network on the patches that show something, batch by batch."""
        count, *shape = hu.shape[:3]
        size = min(self._batch_size, count)
        images = self._network.images(hu)
        shows = (images != 0).any(axis=(1, 2, 3))
        # Those that show something first, and after them one that shows nothing and speaks for all of its kind.
        order = jnp.pad(jnp.argsort(~shows, stable=True), (0, -count % size), constant_values=count - 1)
        place = jnp.where(shows, jnp.cumsum(shows) - 1, shows.sum())
        images = self._network.mark_corner(images)

        def step(index, found):
            chosen = jax.lax.dynamic_slice_in_dim(order, index * size, size)
            batch = images.at[chosen].get(mode="promise_in_bounds")
            probability = self._network.probability(weights, batch)
            return jax.lax.dynamic_update_slice_in_dim(found, probability, index * size, axis=0)

        steps = -(-jnp.minimum(shows.sum() + 1, count) // size)
        found = jax.lax.fori_loop(0, steps, step, jnp.zeros((len(order), *shape), jnp.float32))
        return found.at[place].get(mode="promise_in_bounds")
