"""Slices to probability as one jitted program: windows, patches, network, stitching, on every device."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from ichjax.data.volume import AIR_HU
from ichjax.ops import hu as hu_ops
from ichjax.ops import patches, resample

DEPTH_STEP = 8  # scans are padded to a multiple of this many slices a device, so that few programs are compiled
LARGEST_RATIO = 1.2  # of pixel sizes; beyond it a scan is resampled to the grid of the training


class Geometry(NamedTuple):
    """A slice's matrix and pixel size: pixels, pixels, mm, mm."""

    height: int
    width: int
    row_mm: float
    column_mm: float


def pad_depth(array: np.ndarray | jax.Array, value: float, step: int = DEPTH_STEP):
    """Pads [D, H, W] with slices of `value` to a multiple of `step`."""
    xp = jnp if isinstance(array, jax.Array) else np
    return xp.pad(array, ((0, -len(array) % step), (0, 0), (0, 0)), constant_values=value)


def same_grid(own: Geometry, trained: Geometry) -> bool:
    """Whether a scan can go through the network on its own pixels."""
    ratios = np.array([own.row_mm / trained.row_mm, own.column_mm / trained.column_mm])
    alike = np.all((ratios <= LARGEST_RATIO) & (ratios >= 1 / LARGEST_RATIO))
    return bool(own[:2] == trained[:2] and alike)


class SlicePredictor:
    """Predicts the slices of a scan by overlapping patches, the slices split over the devices.

    Only slices that a scan has are computed: the loop over them runs as often as its depth says, a number that is
    data and not a shape, so one program serves scans of any depth that pad to the same length.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        windows: tuple[tuple[float, float], ...],
        side: int,
        stride: int,
        slices_per_step: int = 1,
        devices: list | None = None,
    ):
        """Args: as in `config.patch` and `config.predict`; `devices` defaults to all there are."""
        devices = jax.devices() if devices is None else devices
        self._mesh = Mesh(np.array(devices), ("data",))
        self._slices_per_step = slices_per_step
        self._model, self._windows, self._side, self._stride = model, windows, side, stride
        self._program = jax.jit(self._predict, static_argnames=("own", "trained"))

    @property
    def slices_at_once(self) -> int:
        """Slices that all devices work on at the same time."""
        return self._slices_per_step * self._mesh.size

    def __call__(self, weights: dict, hu: np.ndarray, own: Geometry, trained: Geometry) -> jax.Array:
        """Predicts a scan.

        Args:
          weights: the network's parameters.
          hu: int16 [D, H, W].
          own: the scan's matrix and pixel size.
          trained: that of the slices the network was trained on.

        Returns:
          float32 [D, H, W], on the device.
        """
        step = int(np.lcm(DEPTH_STEP, self._slices_per_step)) * self._mesh.size
        padded = pad_depth(np.asarray(hu), AIR_HU, step)
        return self.run(weights, padded, len(hu), own, trained)[: len(hu)]

    def run(self, weights, padded: np.ndarray, depth: int, own: Geometry, trained: Geometry) -> jax.Array:
        """As a call, of an already padded scan whose first `depth` slices are wanted; returns the padded length."""
        if same_grid(own, trained):  # the pixel sizes then do not matter, and one program serves them all
            return self._program(weights, padded, depth, own=None, trained=None)
        return self._program(weights, padded, depth, own=own, trained=trained)

    def _predict(self, weights, hu, depth, *, own, trained):
        whole, split = PartitionSpec(), PartitionSpec("data")
        share = functools.partial(self._predict_share, own=own, trained=trained)
        mapped = jax.shard_map(
            share, mesh=self._mesh, in_specs=(whole, split, whole), out_specs=split, check_vma=False
        )
        return mapped(weights, hu, depth)

    def _predict_share(self, weights, hu, depth, *, own, trained):
        """One device's slices, an equal run of the padded scan's."""
        count = self._slices_per_step
        first = jax.lax.axis_index("data") * len(hu)
        steps = -(-jnp.clip(depth - first, 0, len(hu)) // count)

        def step(index, probability):
            slices = jax.lax.dynamic_slice_in_dim(hu, index * count, count)
            return jax.lax.dynamic_update_slice_in_dim(
                probability, self._on_own_grid(weights, slices, own, trained), index * count, axis=0
            )

        return jax.lax.fori_loop(0, steps, step, jnp.zeros(hu.shape, jnp.float32))

    def _on_own_grid(self, weights, slices, own, trained):
        if own is None:
            return self._slices(weights, slices)
        there = [
            resample.line_weights(size, from_mm, to_size, to_mm, size)
            for size, from_mm, to_size, to_mm in zip(own[:2], own[2:], trained[:2], trained[2:], strict=True)
        ]
        back = [
            resample.line_weights(size, from_mm, to_size, to_mm, size, outside="zero")
            for size, from_mm, to_size, to_mm in zip(trained[:2], trained[2:], own[:2], own[2:], strict=True)
        ]
        coarse = resample.resample(slices.astype(jnp.float32), *there)
        return jnp.clip(resample.resample(self._slices(weights, coarse), *back), 0.0, 1.0)

    def _slices(self, weights, slices):
        """HU [N, H, W] to probability [N, H, W], through patches and back."""
        cut = patches.extract(slices, side=self._side, stride=self._stride)
        images = hu_ops.windows(cut.reshape(-1, self._side, self._side), self._windows)
        probability = nn.sigmoid(self._model.apply({"params": weights}, images))
        return patches.stitch(probability.reshape(cut.shape), stride=self._stride)
