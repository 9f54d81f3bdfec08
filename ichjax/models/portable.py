"""Trace networks in a form that converters and other runtimes handle."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax

from ichjax import xla
from ichjax.models.convolution import xla_convolutions_only
from ichjax.models.unet import GroupNorm


@contextlib.contextmanager
def portable_form() -> Iterator[None]:
    """Networks traced inside use plain convolutions, no custom calls, and normalizations in two passes.

    In one pass the variance is a difference of two means. Of a channel that is constant, as in a patch of air, only
    rounding is left of it, which the normalization magnifies by up to 1000. XLA's sums round so little that this does
    no harm; those of onnxruntime changed the probability of a patch of air by 2e-3 in a trained network.
    """
    with xla_convolutions_only(), xla.compile_for("cpu"), nn.intercept_methods(_normalize_in_two_passes):
        yield


def _normalize_in_two_passes(
    layer: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: nn.module.InterceptorContext
) -> Any:
    """Calls a layer, or `GroupNorm.in_two_passes` in place of a normalization."""
    if isinstance(context.module, GroupNorm) and context.method_name == "__call__":
        x: jax.Array = args[0]
        return context.module.in_two_passes(x)
    return layer(*args, **kwargs)
