"""The gates that a lesion must pass to be reported, from post-processing to the arguments of a device program."""

from typing import Any

import jax
import numpy as np

from ichjax.methods.base import PostProcess
from ichjax.methods.slices import DEPTH_STEP
from ichjax.ops import components

Gates = dict[str, Any]  # arrays


def arguments(post: PostProcess, pixel_ml: np.ndarray) -> Gates | None:
    """The arguments of `ops.components.gate` on a scan padded by `pad_depth`; None if no gate is in use.

    None and a dict are different structures to jit, so a program without gates is the same as before.

    Args:
      pixel_ml: float [D], volume of a pixel of each slice.
    """
    if not post.gates:
        return None
    return {
        "slice_pixel_ml": pad_pixel_ml(pixel_ml),
        "low": np.float32(post.threshold),
        "high": np.float32(post.find_threshold),
        "min_ml": np.float32(post.min_lesion_ml),
        "min_slices": np.int32(post.min_lesion_slices),
    }


def pad_pixel_ml(pixel_ml: np.ndarray) -> np.ndarray:
    """float32 [D], padded with 0 as `pad_depth` pads the scan."""
    return np.pad(np.asarray(pixel_ml, np.float32), (0, -len(pixel_ml) % DEPTH_STEP))


def apply(probability: jax.Array, gates: Gates | None) -> jax.Array:
    """The probability [D, H, W] with the lesions that fail a gate lowered to the threshold; traceable."""
    return probability if gates is None else components.gate(probability, **gates)
