"""How a network sees a scan: on the grid of its training slices, and with which mid-plane."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ichjax.data.regrid import Geometry, resampled_hu, same_grid
from ichjax.ops import midplane, resample
from ichjax.scan.midplane import column_sum
from ichjax.scan.skull import MIN_BONE_HU
from ichjax.scan.volume import AIR_HU

MAX_FIELD_MM = 700.0  # of a CT; a larger image has wrong pixel sizes
ROUNDING_PX = 0.01  # of a field of view that is the same but for rounded pixel sizes

Maps = tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]  # weights (rows, columns) to the trained grid, and back


class View(NamedTuple):
    """Data of a prediction besides HU.

    Attributes:
      maps: to the trained grid and back; None where both are the same.
      column_sum: int32 [], the head's mid-plane on the trained grid (`scan.midplane`); None for no mirrored slice.
    """

    maps: Maps | None
    column_sum: jax.Array | None = None


def of_scan(hu: np.ndarray, own: Geometry, trained: Geometry, *, mirrored: bool) -> View:
    """The view of int16 [D, H, W]; the mid-plane is that of the resampled scan, as in training."""
    plane = jnp.int32(column_sum(resampled_hu(hu, own, trained))) if mirrored else None
    return View(grid_maps(own, trained), plane)


def covering(hu: np.ndarray, own: Geometry, trained: Geometry, *, step: int, border: int = 0) -> Geometry:
    """The trained grid, or a larger one with the same pixels and center: nothing is predicted beyond the grid, so it
    must hold the skull of a scan with a large field of view, wherever the head lies in it.

    Args:
      hu: int16 [D, H, W].
      own: the scan's matrix and pixel size.
      trained: those of the training slices.
      step: pixels by which each edge can move out.
      border: pixels beyond the trained grid that it omits on purpose, also of training slices.
    """
    if same_grid(own, trained):
        return trained
    bone = np.nonzero(hu > MIN_BONE_HU)
    sizes = []
    for axis in (0, 1):
        # To outer edges of pixels: the centers of small pixels at the edge lie beyond those of large ones.
        from_center = np.abs(bone[1 + axis] - (hu.shape[1 + axis] - 1) / 2).max(initial=-0.5) + 0.5
        from_center_mm = min(float(from_center * own[2 + axis]), MAX_FIELD_MM / 2)
        beyond_px = from_center_mm / trained[2 + axis] - trained[axis] / 2
        steps = int(np.ceil(beyond_px / step)) if beyond_px > border + ROUNDING_PX else 0
        sizes.append(int(trained[axis]) + 2 * step * steps)
    return trained._replace(height=sizes[0], width=sizes[1])


def to_trained(slices: jax.Array, view: View) -> jax.Array:
    """HU [N, H, W] or [N, H, W, S] on the trained grid: float32, or as they are where that is the scan's own."""
    if view.maps is None:
        return slices
    planes = slices if slices.ndim == 3 else jnp.moveaxis(slices, -1, 1).reshape(-1, *slices.shape[1:3])
    resampled = resample.resample(planes.astype(jnp.float32), *view.maps[0])
    if slices.ndim == 3:
        return resampled
    return jnp.moveaxis(resampled.reshape(len(slices), -1, *resampled.shape[1:]), 1, -1)


def add_mirrored(slices: jax.Array, view: View, priors: int = 0) -> jax.Array:
    """Adds the mirrored slice, if the network sees it, after the slices and before the priors.

    Args:
      slices: HU [N, H, W], or [N, H, W, C] with neighboring slices and priors, on the trained grid.
      view: of the scan.
      priors: number of last channels that are priors.
    """
    if view.column_sum is None:
        return slices
    channels = slices.reshape(*slices.shape[:3], -1)
    hu, rest = jnp.split(channels, [channels.shape[-1] - priors], axis=-1)
    return jnp.concatenate([midplane.with_mirrored(hu, view.column_sum, outside=AIR_HU), rest], axis=-1)


def grid_maps(own: Geometry, trained: Geometry) -> Maps | None:
    """The maps to the trained grid and back; None where both are the same."""
    return None if same_grid(own, trained) else (_maps(own, trained, "edge"), _maps(trained, own, "zero"))


def _maps(source: Geometry, target: Geometry, outside: str) -> tuple[jax.Array, ...]:
    """Weights (rows, columns) that resample from one grid to another."""
    pairs = zip(source[:2], source[2:], target[:2], target[2:], strict=True)
    return tuple(
        _line_weights(size, from_mm, to_size, to_mm, size, outside=outside) for size, from_mm, to_size, to_mm in pairs
    )


_line_weights = jax.jit(resample.line_weights, static_argnums=(2, 4), static_argnames="outside")
