"""Binary and grey-level morphology with square kernels and disks, bit-identical to OpenCV, even kernel sides included.

OpenCV anchors a kernel of side k at k // 2, does not mirror it, and ignores pixels outside the image (a dilation pads
with the lowest value, an erosion with the highest). With an even kernel a closing therefore shifts its result by one
pixel to the lower right; the authors' 10 x 10 closing does so too, and is reproduced here.

The maximum over k neighbors is computed by doubling (1, 2, 4, ... neighbors): about log2(k) passes along each axis.
A disk is a stack of rows: the maximum along the columns for each width of a row, then the maximum over its rows.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Combine = Callable[[jax.Array, jax.Array], jax.Array]  # minimum or maximum


def dilate(mask: jax.Array, *, side: int) -> jax.Array:
    """Dilates bool or integer [..., H, W] by `side` x `side` ones: the maximum under the kernel; 0 or 1: no change."""
    return _separable(mask, side, jnp.maximum, outside=_limits(mask)[0])


def erode(mask: jax.Array, *, side: int) -> jax.Array:
    """Erodes bool or integer [..., H, W] by `side` x `side` ones: the minimum under the kernel; 0 or 1: no change."""
    return _separable(mask, side, jnp.minimum, outside=_limits(mask)[1])


def close(mask: jax.Array, *, side: int) -> jax.Array:
    """Closes bool or integer [..., H, W] (fills gaps): dilation, then erosion."""
    return erode(dilate(mask, side=side), side=side)


def open(mask: jax.Array, *, side: int) -> jax.Array:  # shadows the builtin: the standard term
    """Opens bool or integer [..., H, W] (removes specks): erosion, then dilation."""
    return dilate(erode(mask, side=side), side=side)


def clean(mask: jax.Array, *, closing: int, opening: int) -> jax.Array:
    """The paper's post-processing (section 3.2): closing, then opening; kernel sides in pixels, 0 for none."""
    return open(close(mask, side=closing), side=opening)


def erode_disk(image: jax.Array, *, radius: float) -> jax.Array:
    """Erodes [..., H, W] by a disk, the pixels within `radius` (0 or more, in pixels) of its center: the minimum."""
    return _under_disk(image, radius, jnp.minimum, outside=_limits(image)[1])


def dilate_disk(image: jax.Array, *, radius: float) -> jax.Array:
    """Dilates [..., H, W] by a disk of `radius` pixels, 0 or more: the maximum under it."""
    return _under_disk(image, radius, jnp.maximum, outside=_limits(image)[0])


def open_disk(image: jax.Array, *, radius: float) -> jax.Array:
    """Opens [..., H, W] by a disk: removes what is bright and does not contain it."""
    return dilate_disk(erode_disk(image, radius=radius), radius=radius)


def white_top_hat(image: jax.Array, *, radius: float) -> jax.Array:
    """What an opening by a disk removes: the height of bright spots and lines over their surroundings.

    Args:
      image: float or integer [..., H, W], no bool.
      radius: of the disk, in pixels.

    Returns:
      [..., H, W], 0 or more.
    """
    return image - open_disk(image, radius=radius)


def _limits(mask: jax.Array) -> tuple[float, float]:
    """Lowest and highest value of the dtype."""
    if mask.dtype == jnp.bool_:
        return False, True
    if jnp.issubdtype(mask.dtype, jnp.floating):
        return -math.inf, math.inf
    limits = jnp.iinfo(mask.dtype)
    return limits.min, limits.max


def _separable(mask: jax.Array, side: int, combine: Combine, *, outside: float) -> jax.Array:
    """Combines the neighbors under a square kernel, first along columns, then along rows."""
    if side < 0:
        raise ValueError(f"kernel side {side}; expected 0 or more pixels")
    if side <= 1:
        return mask
    return _combine_along(_combine_along(mask, side, combine, -1, outside), side, combine, -2, outside)


def _combine_along(mask: jax.Array, side: int, combine: Combine, axis: int, outside: float) -> jax.Array:
    """Combines each pixel with its neighbors at -(side // 2) to side - 1 - side // 2 along one axis."""
    axis %= mask.ndim
    length = mask.shape[axis]
    before = side // 2
    pad = [(0, 0)] * mask.ndim
    pad[axis] = (before, side - 1 - before)
    run = jnp.pad(mask, pad, constant_values=outside)
    reach = 1  # run[i] combines the padded pixels i to i + reach - 1
    while reach < side:
        step = min(reach, side - reach)
        stop = run.shape[axis] - step
        run = combine(
            jax.lax.slice_in_dim(run, 0, stop, axis=axis),
            jax.lax.slice_in_dim(run, step, stop + step, axis=axis),
        )
        reach += step
    return jax.lax.slice_in_dim(run, 0, length, axis=axis)


def _under_disk(image: jax.Array, radius: float, combine: Combine, *, outside: float) -> jax.Array:
    """Combines the neighbors under a disk, row by row; rows of the same width share the pass along the columns."""
    if radius < 0:
        raise ValueError(f"disk of radius {radius}; expected 0 or more pixels")
    reach = math.floor(radius)
    reach_of_row = [math.floor(math.sqrt(radius**2 - row**2)) for row in range(reach + 1)]
    rows, height, combined = image.ndim - 2, image.shape[-2], image
    pad = [(0, 0)] * rows + [(reach, reach), (0, 0)]
    for half_width in sorted(set(reach_of_row)):
        run = _combine_along(image, 2 * half_width + 1, combine, -1, outside)
        run = jax.lax.optimization_barrier(jnp.pad(run, pad, constant_values=outside))  # or each row computes it again
        for row in (row for row, half in enumerate(reach_of_row) if half == half_width):
            for start in {reach - row, reach + row}:
                combined = combine(combined, jax.lax.slice_in_dim(run, start, start + height, axis=rows))
    return combined
