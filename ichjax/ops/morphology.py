"""Morphology with square kernels, of masks and of whole numbers; equal to OpenCV's bit for bit, even kernels included.

OpenCV anchors a kernel of side k at k // 2, does not mirror it, and ignores what lies outside the image (a dilation
sees the lowest value there, an erosion the highest). With an even kernel a closing therefore moves its result by one
pixel to the lower right; the authors' 10 x 10 closing does so too, and parity keeps it.

A maximum over k neighbours is taken by doubling (1, 2, 4, ... neighbours), about log2(k) passes along each axis.
"""

import jax
import jax.numpy as jnp


def dilate(mask: jax.Array, *, side: int) -> jax.Array:
    """Dilation of bool or integer [..., H, W] by `side` x `side` ones: each pixel becomes the highest value under the
    kernel; `side` 0 or 1 changes nothing."""
    return _both_axes(mask, side, jnp.maximum, outside=_extremes(mask.dtype)[0])


def erode(mask: jax.Array, *, side: int) -> jax.Array:
    """Erosion of bool or integer [..., H, W] by `side` x `side` ones: each pixel becomes the lowest value under the
    kernel; `side` 0 or 1 changes nothing."""
    return _both_axes(mask, side, jnp.minimum, outside=_extremes(mask.dtype)[1])


def close(mask: jax.Array, *, side: int) -> jax.Array:
    """Closing (fills gaps) of bool or integer [..., H, W]: a dilation, then an erosion."""
    return erode(dilate(mask, side=side), side=side)


def open(mask: jax.Array, *, side: int) -> jax.Array:  # the field's name for it
    """Opening (removes specks) of bool or integer [..., H, W]: an erosion, then a dilation."""
    return dilate(erode(mask, side=side), side=side)


def clean(mask: jax.Array, *, closing: int, opening: int) -> jax.Array:
    """The paper's post-processing (section 3.2): closing, then opening; the sides in pixels, 0 for none."""
    return open(close(mask, side=closing), side=opening)


def _extremes(dtype):
    if dtype == jnp.bool_:
        return False, True
    limits = jnp.iinfo(dtype)
    return limits.min, limits.max


def _both_axes(mask, side, combine, *, outside):
    if side < 0:
        raise ValueError(f"kernel side {side}; expected 0 or more pixels")
    if side <= 1:
        return mask
    return _running(_running(mask, side, combine, -1, outside), side, combine, -2, outside)


def _running(mask, side, combine, axis, outside):
    """Combines each pixel with its neighbours from -(side // 2) to side - 1 - side // 2 along one axis."""
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
