"""Slices to probability as one jitted program: windows, patches, network, stitching, on every device."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ichjax.data.regrid import Geometry, same_grid
from ichjax.data.volume import AIR_HU
from ichjax.ops import hu as hu_ops
from ichjax.ops import patches, resample

DEPTH_STEP = 8  # scans are padded to a multiple of this many slices a device, so that few programs are compiled


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

    Only slices that a scan has are computed: the loop over them runs as often as its depth says, a number that is
    data and not a shape, so one program serves scans of any depth that pad to the same length. Pixel sizes are data
    too: one more program serves all scans of a matrix that must be resampled.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        windows: tuple[tuple[float, float], ...],
        side: int,
        stride: int,
        slices_per_step: int = 1,
        corner_pixel: bool = False,
        min_max_stretch: bool = False,
        quantize_8bit: bool = False,
        devices: list | None = None,
    ):
        """Args: as in `config.patch` and `config.predict`; `devices` defaults to all that this process has."""
        devices = jax.local_devices() if devices is None else devices
        self._mesh = Mesh(np.array(devices), ("data",))
        self._slices_per_step = slices_per_step
        self._model, self._windows, self._side, self._stride = model, windows, side, stride
        self._corner_pixel, self._stretch, self._quantize = corner_pixel, min_max_stretch, quantize_8bit
        self._program = jax.jit(self._predict)

    @property
    def slices_at_once(self) -> int:
        """Slices that all devices work on at the same time."""
        return self._slices_per_step * self._mesh.size

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
        step = int(np.lcm(DEPTH_STEP, self._slices_per_step)) * self._mesh.size
        padded = pad_depth(np.asarray(hu), AIR_HU, step)
        maps = None if same_grid(own, trained) else (_maps(own, trained, "edge"), _maps(trained, own, "zero"))
        return self._program(weights, padded, depth, maps)

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
        dealt = hu.reshape(-1, devices, *plane).swapaxes(0, 1).reshape(hu.shape)
        probability = mapped(weights, dealt, depth, maps)
        return probability.reshape(devices, length // devices, *plane).swapaxes(0, 1).reshape(hu.shape)

    def _predict_share(self, weights, hu, depth, maps):
        """One device's slices; those that the scan has come first."""
        count = self._slices_per_step
        mine = -((jax.lax.axis_index("data") - depth) // self._mesh.size)
        steps = -(-jnp.maximum(mine, 0) // count)

        def step(index, probability):
            slices = jax.lax.dynamic_slice_in_dim(hu, index * count, count)
            return jax.lax.dynamic_update_slice_in_dim(
                probability, self._on_own_grid(weights, slices, maps), index * count, axis=0
            )

        return jax.lax.fori_loop(0, steps, step, jnp.zeros(hu.shape, jnp.float32))

    def _on_own_grid(self, weights, slices, maps):
        if maps is None:
            return self._slices(weights, slices)
        there, back = maps
        coarse = resample.resample(slices.astype(jnp.float32), *there)
        return jnp.clip(resample.resample(self._slices(weights, coarse), *back), 0.0, 1.0)

    def _slices(self, weights, slices):
        """HU [N, H, W] to probability [N, H, W], through patches and back."""
        cut = patches.extract(slices, side=self._side, stride=self._stride)
        images = hu_ops.windows(cut.reshape(-1, self._side, self._side), self._windows)
        if self._corner_pixel:
            images = hu_ops.mark_corner(images)
        probability = nn.sigmoid(self._model.apply({"params": weights}, images)).reshape(cut.shape)
        if self._stretch:
            probability = patches.min_max_stretch(probability)
        stitch = patches.stitch_8bit if self._quantize else patches.stitch
        return stitch(probability, stride=self._stride)
