"""Make a `Volume` of sorted DICOM slices: the best even grid, and the slices' own positions."""

import numpy as np

from ichjax.dicom.left_out import ROUNDING_MM
from ichjax.scan import volume as volumes
from ichjax.scan.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def make_volume(
    hu: np.ndarray,
    positions_mm: np.ndarray,
    axes: np.ndarray,
    pixel_mm: np.ndarray,
    *,
    thickness_mm: float,
    name: str,
    nominal_spacing: bool = False,
) -> Volume:
    """A volume whose `slice_origins_mm` are the slices' own positions, so that tilt and uneven gaps are preserved.

    Its affine has three axes at right angles, as ITK requires, and the center of the slices; its slice spacing is the
    even gap along the normal (the median if gaps are uneven). For tilted or unevenly spaced slices no such affine is
    exact.

    Args:
      hu: integers [columns, rows, N], the file grid.
      positions_mm: float64 [N, 3] (LPS), ImagePositionPatient from feet to head.
      axes: float64 [2, 3] (LPS), unit vectors of increasing column and row index.
      pixel_mm: [2], between rows, and between columns.
      thickness_mm: of a single slice; not used for several.
      name: the name used in messages.
      nominal_spacing: see `Volume`.
    """
    step = slice_step(positions_mm, axes, thickness_mm)
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ axes[0] * pixel_mm[1]  # PixelSpacing is (between rows, between columns)
    affine[:3, 1] = LPS_TO_RAS @ axes[1] * pixel_mm[0]
    affine[:3, 2] = LPS_TO_RAS @ step
    affine[:3, 3] = LPS_TO_RAS @ (positions_mm.mean(axis=0) - (len(positions_mm) - 1) / 2 * step)
    origins_mm = positions_mm @ LPS_TO_RAS
    return volumes.from_file_grid(hu, affine, name=name, slice_origins_mm=origins_mm, nominal_spacing=nominal_spacing)


def normal_to_head(axes: np.ndarray) -> np.ndarray:
    """float64 [3] (LPS), normal of the slices towards the head, of about unit length."""
    normal = np.cross(*axes)
    return normal if normal[2] > 0 else -normal


def slice_step(positions_mm: np.ndarray, axes: np.ndarray, thickness_mm: float) -> np.ndarray:
    """float64 [3] (LPS), the step from slice to slice along the normal, towards the head.

    If the slices are evenly spaced up to rounding, it is the slope of a line fit, so that errors do not add up over the
    slices; otherwise the median gap. For a single slice it is the slice thickness.
    """
    normal = normal_to_head(axes)
    normal = normal / np.linalg.norm(normal)
    if len(positions_mm) == 1:
        return thickness_mm * normal
    along, index = positions_mm @ normal, np.arange(len(positions_mm))
    slope, start = np.polyfit(index, along, 1)
    even = np.abs(along - (slope * index + start)).max() <= ROUNDING_MM
    return (slope if even else np.median(np.diff(along))) * normal
