"""Where a NIfTI header says that the voxels lie: sform, qform, pixdim and units are compared before one is believed.

The sform is believed first, then the qform, then the voxel sizes alone, as in nibabel; viewers may differ.
"""

import itertools

import nibabel as nib
import numpy as np
from nibabel.quaternions import quat2mat
from nibabel.volumeutils import shape_zoom_affine

from ichjax.errors import InputError
from ichjax.scan.volume import PLAUSIBLE_MM, check_affine

MAX_CORNER_MM = 1.0  # between a corner of the volume by the sform and by the qform
MAX_SIZE_DIFFERENCE = 0.01  # between a voxel size by pixdim and by the sform, as a share of the latter
MAX_QUATERNION_EXCESS = 1e-3  # of its squared length over 1: rounding to four decimals gives 2e-4
UNITS = {1: ("meters", 1000.0), 3: ("microns", 0.001)}  # by the low bits of xyzt_units: name, length in mm
UNIT_BITS = 0b111
PAIRS = dict(zip("LRPAIS", np.repeat(["left and right", "front and back", "head and feet"], 2), strict=True))


@np.errstate(invalid="ignore", over="ignore")  # a header may hold any bits, signaling NaN among them
def read_geometry(header: nib.Nifti1Header, shape: tuple[int, ...], name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The affine to believe.

    Args:
      header: as stored; its dimensions are valid.
      shape: (I, J, K).
      name: the name used in error messages.

    Returns:
      (float64 [4, 4], maps (i, j, k, 1) to RAS+ mm; warnings about what the header contradicts, one sentence each).

    Raises:
      InputError: nothing in the header gives usable positions.
    """
    sizes = np.asarray(header["pixdim"][1:4], np.float64)
    sform = _sform(header) if int(header["sform_code"]) > 0 else None
    sizes_are_bad = not (np.isfinite(sizes).all() and (sizes > 0).all())
    qform, qform_problem = None, ""
    if int(header["qform_code"]) > 0 and not sizes_are_bad:
        qform, qform_problem = _qform(header, sizes)
    notes = []
    if sform is not None and _is_usable(sform):
        affine = sform
        if qform_problem:
            notes.append(f"{qform_problem}: the sform is used")
    elif qform is not None:
        affine = qform
        if sform is not None:
            notes.append("the header's sform is singular or not finite: the qform is used")
    elif sform is not None:
        affine = sform  # rejected below
    elif sizes_are_bad:
        raise InputError(f"{name}: the voxel sizes are {sizes.tolist()} mm; expected lengths above 0")
    elif qform_problem:
        raise InputError(f"{name}: {qform_problem}; expected a position and a unit quaternion")
    else:
        affine = shape_zoom_affine(shape, sizes, x_flip=True)
        notes.append("the header gives no orientation (sform and qform codes are 0): left and right are a guess")
    check_affine(affine, name)
    factor, unit_notes = _unit(header, affine)
    scale = np.diag([factor, factor, factor, 1.0])
    if affine is sform:
        notes += _contradictions(scale @ sform, None if qform is None else scale @ qform, factor * sizes, shape)
    return scale @ affine, (*notes, *unit_notes)


def without_shear(affine: np.ndarray) -> np.ndarray:
    """The nearest affine without shear: a qform cannot represent shear."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(affine[:3, :3] / lengths)
    rigid = affine.copy()
    rigid[:3, :3] = (u @ vt) * lengths
    return rigid


def _sform(header: nib.Nifti1Header) -> np.ndarray:
    rows = [np.asarray(header[field], np.float64) for field in ("srow_x", "srow_y", "srow_z")]
    return np.vstack([*rows, [0.0, 0.0, 0.0, 1.0]])


def _qform(header: nib.Nifti1Header, sizes: np.ndarray) -> tuple[np.ndarray | None, str]:
    """(affine of the qform, ''), or (None, what is wrong). A quaternion that rounding made too long is scaled."""
    vector = np.array([float(header[f"quatern_{part}"]) for part in "bcd"])
    squared = float(vector @ vector)
    if not squared <= 1 + MAX_QUATERNION_EXCESS:  # also true for NaN
        return None, f"the quaternion of the header's qform has the length {np.sqrt(squared):.4g}"
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([np.sqrt(max(1 - squared, 0.0)), *vector]) * sizes  # quat2mat normalizes
    if float(header["pixdim"][0]) < 0:
        affine[:3, 2] *= -1
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return (affine, "") if _is_usable(affine) else (None, "the header's qform is singular or not finite")


def _is_usable(affine: np.ndarray) -> bool:
    try:
        check_affine(affine, "")
    except InputError:
        return False
    return True


def _unit(header: nib.Nifti1Header, affine: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """(length of the header's unit in mm, a warning if it is not mm).

    Some programs store mm and call them meters or microns: a unit that no head CT could have is not believed.
    """
    unit, factor = UNITS.get(int(header["xyzt_units"]) & UNIT_BITS, ("mm", 1.0))
    if factor == 1.0:
        return factor, ()
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if _are_plausible(lengths) and not _are_plausible(factor * lengths):
        return 1.0, (f"the header calls its lengths {unit}, which no head CT could have: they are read as mm",)
    return factor, (f"the header's lengths are in {unit}: they were converted to mm, here and in the results",)


def _are_plausible(lengths: np.ndarray) -> bool:
    """Whether lengths [3] in mm can be those of a head CT's voxels, the longest of them between slices."""
    limits = np.array([PLAUSIBLE_MM["pixels"], PLAUSIBLE_MM["pixels"], PLAUSIBLE_MM["slices"]])
    return bool(((np.sort(lengths) >= limits[:, 0]) & (np.sort(lengths) <= limits[:, 1])).all())


def _contradictions(
    sform: np.ndarray, qform: np.ndarray | None, sizes: np.ndarray, shape: tuple[int, ...]
) -> tuple[str, ...]:
    """A sentence if the qform or the voxel sizes of pixdim contradict the sform; all in mm."""
    used = np.linalg.norm(sform[:3, :3], axis=0)
    if qform is not None:
        # A qform without the shear of a tilted gantry is as close to the sform as a qform can be.
        apart = min(_corner_distance(one, qform, shape) for one in (sform, without_shear(sform)))
        if apart > MAX_CORNER_MM:
            return (
                f"the header's sform ({_axes(sform)}, voxels of {_mm(used)}) and qform ({_axes(qform)}, {_mm(sizes)}) "
                f"disagree{_disagreement(sform, qform)}: they place a corner of the volume {apart:.4g} mm apart, the "
                f"sform is used for sides and mL, and a viewer may use the qform",
            )
    if not (np.abs(sizes - used) <= MAX_SIZE_DIFFERENCE * used).all():  # also true for NaN
        return (f"the header's voxel sizes (pixdim) are {_mm(sizes)}, but {_mm(used)} by its sform, which is used",)
    return ()


def _corner_distance(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """The largest distance in mm between the positions of a corner of the volume by two affines."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*[(-0.5, size - 0.5) for size in shape])])
    return float(np.linalg.norm(corners @ (one - other)[:3].T, axis=1).max())


def _axes(affine: np.ndarray) -> str:
    """The directions of the three axes, as 'LAS'."""
    return "".join(nib.aff2axcodes(affine))


def _disagreement(sform: np.ndarray, qform: np.ndarray) -> str:
    """' about left and right', or what else the directions of the axes differ in; '' if they are the same."""
    directions = list(zip(_axes(sform), _axes(qform), strict=True))
    if any(PAIRS[a] != PAIRS[b] for a, b in directions):
        mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
        return " about the order of the axes" + (" and about left and right" if mirrored else "")
    opposite = [PAIRS[a] for a, b in directions if a != b]
    return " about " + " and about ".join(opposite) if opposite else ""


def _mm(lengths: np.ndarray) -> str:
    """'0.838 x 0.838 x 10 mm'."""
    return " x ".join(f"{length:.4g}" for length in lengths) + " mm"
