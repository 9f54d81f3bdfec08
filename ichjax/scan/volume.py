"""`Volume`: a CT scan in memory, in HU and a fixed orientation, with the true position of every slice."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from nibabel import orientations

from ichjax.errors import InputError

# Axis 0 points to the head (S), axis 1 to the back (P), axis 2 to the patient's left (L): slices stack upwards, and
# `hu[d]` shown as an image is the radiological view, the patient's right on the left of the screen.
AXES = ("S", "P", "L")
AIR_HU = -1024  # the lowest valid HU: lower padding values are clamped to it, and scans are padded with it
HU_RANGE = (AIR_HU, 32767)  # of files in HU; the 8-bit jpeg release only covers `BRAIN_WINDOW_HU`
BRAIN_WINDOW_HU = (-20, 100)  # level 40, width 120 (paper, section 3.1)
BONE_WINDOW_HU = (-900, 2300)  # level 700, width 3200
PLAUSIBLE_MM = {"pixels": (0.05, 20.0), "slices": (0.05, 100.0)}  # pixel sizes; `Volume.extent_mm`
MAX_SKEW_COSINE = 1e-2  # cosine of the angle between rows and columns; above it they are not at right angles
MAX_ORIGIN_MM = 1e5  # coordinates of the slice origins
MAX_AFFINE_VALUE = 1e9  # keeps products of affine values finite
GRID_TOLERANCE = 0.25  # of the smallest voxel side; a mask farther off lies on other voxels than its scan


@dataclasses.dataclass(frozen=True, eq=False)
class Volume:
    """One scan.

    Attributes:
      hu: int16 [D, H, W], Hounsfield units; axes point to the head, the back and the patient's left.
      affine: float64 [4, 4], maps (d, h, w, 1) to RAS+ mm; exact if the slices are evenly spaced and not tilted, else
        the best even grid (`slice_origins_mm` is always exact).
      slice_origins_mm: float64 [D, 3], RAS+ position of the center of pixel (0, 0) of each slice.
      file_shape: shape of the array on disk, in its own axis order.
      file_affine: float64 [4, 4] of that array.
      file_orientation: float [3, 2], nibabel's orientation of the file's axes.
      name: a file or folder name for messages, never a patient's name.
      hu_range: the lowest and highest HU that the source can represent.
      nominal_spacing: whether the spacing is a nominal one of the source, so that every mm and mL is nominal.
      notes: warnings about the header, one sentence each.
    """

    hu: np.ndarray
    affine: np.ndarray
    slice_origins_mm: np.ndarray
    file_shape: tuple[int, int, int]
    file_affine: np.ndarray
    file_orientation: np.ndarray
    name: str
    hu_range: tuple[int, int] = HU_RANGE
    nominal_spacing: bool = False
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return self.hu.shape

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """In-plane distance between rows and between columns, in mm."""
        return float(np.linalg.norm(self.affine[:3, 1])), float(np.linalg.norm(self.affine[:3, 2]))

    @property
    def normal(self) -> np.ndarray:
        """float64 [3], unit normal of the slices in RAS+, pointing towards the head."""
        normal = np.cross(self.affine[:3, 1], self.affine[:3, 2])
        normal /= np.linalg.norm(normal)
        return normal if normal @ self.affine[:3, 0] >= 0 else -normal

    @property
    def positions_mm(self) -> np.ndarray:
        """float64 [D], position of each slice along the slice normal, increasing."""
        return self.slice_origins_mm @ self.normal

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(median slice spacing along the normal, row spacing, column spacing), in mm."""
        spacing = np.median(np.diff(self.positions_mm)) if len(self.hu) > 1 else self._single_slice_mm()
        return (float(spacing), *self.pixel_mm)

    def _single_slice_mm(self) -> float:
        return float(abs(self.affine[:3, 0] @ self.normal))

    @property
    def extent_mm(self) -> np.ndarray:
        """float64 [D], extent of each slice along the normal: half the gap to each neighbor, the full gap at the ends;
        never the slice thickness."""
        if len(self.hu) == 1:
            return np.array([self._single_slice_mm()])
        gaps = np.diff(self.positions_mm)
        return (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2

    @property
    def pixel_ml(self) -> np.ndarray:
        """float64 [D], volume of one pixel of each slice in mL."""
        row_mm, column_mm = self.pixel_mm
        return self.extent_mm * row_mm * column_mm / 1000.0

    def to_file_index(self, index: Sequence[float]) -> np.ndarray:
        """float64 [3], converts an index (d, h, w) of this scan to the index (i, j, k) of the file's array."""
        return (np.linalg.inv(self.file_affine) @ self.affine @ [*index, 1.0])[:3]

    def file_origins_mm(self) -> np.ndarray:
        """float64 [D, 3], RAS+ position in mm of the file's pixel (0, 0) of each slice, from feet to head."""
        corner = (np.linalg.inv(self.affine) @ self.file_affine)[:3, 3]
        return self.slice_origins_mm + self.affine[:3, 1:3] @ corner[1:3]

    def to_file_grid(self, array: np.ndarray) -> np.ndarray:
        """Reorders an array [D, H, W] of this scan to the axis order and directions of the file."""
        if array.shape != self.shape:
            raise ValueError(f"{self.name}: the array has the shape {array.shape}; expected {self.shape}")
        to_file = orientations.ornt_transform(orientations.axcodes2ornt(AXES), self.file_orientation)
        return orientations.apply_orientation(array, to_file)


def from_file_grid(
    array: np.ndarray,
    affine: np.ndarray,
    *,
    name: str,
    hu_range: tuple[int, int] = HU_RANGE,
    slice_origins_mm: np.ndarray | None = None,
    nominal_spacing: bool = False,
) -> Volume:
    """Makes a `Volume` from an array of HU in any axis order.

    Args:
      array: integer or float [I, J, K], HU.
      affine: float [4, 4], maps (i, j, k, 1) to RAS+ mm; axes may be permuted, flipped, oblique or sheared.
      name: the name used in messages.
      hu_range: the HU range that the source can represent.
      slice_origins_mm: float [K', 3], RAS+ position of pixel (0, 0) of each slice along the file's slice axis, if the
        affine does not describe it (uneven spacing); None derives it from the affine.
      nominal_spacing: whether the affine holds nominal lengths instead of this scan's own.

    Raises:
      InputError: the affine is not finite or is singular.
    """
    affine = np.asarray(affine, dtype=np.float64)
    check_affine(affine, name)
    file_orientation = orientations.io_orientation(affine)
    to_volume = orientations.ornt_transform(file_orientation, orientations.axcodes2ornt(AXES))
    hu = np.ascontiguousarray(orientations.apply_orientation(array, to_volume))
    volume_affine = affine @ orientations.inv_ornt_aff(to_volume, array.shape)
    if slice_origins_mm is None:
        origins = volume_affine[:3, 3] + np.arange(hu.shape[0])[:, None] * volume_affine[:3, 0]
    else:
        # The file's in-plane axes may be flipped: shift each slice's origin from the file's corner to the volume's.
        slice_axis = int(np.flatnonzero(to_volume[:, 0] == 0)[0])
        corner = np.linalg.inv(affine) @ volume_affine @ np.array([0.0, 0.0, 0.0, 1.0])
        corner[slice_axis] = 0.0
        shift = affine[:3, :3] @ corner[:3]
        origins = np.asarray(slice_origins_mm, dtype=np.float64) + shift
        if to_volume[slice_axis, 1] < 0:
            origins = origins[::-1]
    return Volume(
        hu=to_hu16(hu),
        affine=volume_affine,
        slice_origins_mm=origins,
        file_shape=tuple(array.shape),
        file_affine=affine,
        file_orientation=file_orientation,
        name=name,
        hu_range=hu_range,
        nominal_spacing=nominal_spacing,
    )


def to_hu16(values: np.ndarray) -> np.ndarray:
    """Rounds HU to int16 and clamps lower padding values to `AIR_HU`."""
    if np.issubdtype(values.dtype, np.integer):
        return np.clip(values, *HU_RANGE).astype(np.int16)
    return np.rint(np.clip(values, *HU_RANGE)).astype(np.int16)


def hu_digest(volume: Volume) -> str:
    """32 hex digits that identify a scan by its HU alone, whatever its file format."""
    head = repr(volume.shape).encode()
    return hashlib.blake2b(head + np.ascontiguousarray(volume.hu).tobytes(), digest_size=16).hexdigest()


def scan_digest(volume: Volume) -> str:
    """32 hex digits that identify a scan by its HU and slice positions, never by a header."""
    digest = hashlib.blake2b(np.ascontiguousarray(volume.hu).data, digest_size=16)
    digest.update(np.round(volume.slice_origins_mm, 2).tobytes() + np.round(volume.affine, 4).tobytes())
    return digest.hexdigest()


def check_affine(affine: np.ndarray, name: str) -> None:
    """Raises InputError unless the affine is finite and has three independent axes."""
    if not (np.abs(affine) < MAX_AFFINE_VALUE).all():  # also true for NaN
        raise InputError(f"{name}: the affine holds values that are not finite or too large; expected millimeters")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths <= 0).any() or abs(np.linalg.det(affine[:3, :3] / np.where(lengths > 0, lengths, 1))) < 1e-3:
        lengths_mm = lengths.round(4).tolist()
        raise InputError(f"{name}: the affine is singular (axis lengths {lengths_mm} mm); expected independent axes")


def check_geometry(volume: Volume) -> Volume:
    """Returns the volume; raises InputError unless its lengths are plausible for a head CT and its rows and columns are
    at right angles (slices may be sheared against each other, as with a tilted gantry)."""
    rows, columns = volume.affine[:3, 1] / volume.pixel_mm[0], volume.affine[:3, 2] / volume.pixel_mm[1]
    if abs(rows @ columns) > MAX_SKEW_COSINE:
        degrees = np.degrees(np.arccos(np.clip(rows @ columns, -1, 1)))
        raise InputError(f"{volume.name}: rows and columns are at {degrees:.1f} degrees; expected a right angle")
    for what, lengths in (("pixels", volume.pixel_mm), ("slices", volume.extent_mm)):
        low, high = PLAUSIBLE_MM[what]
        smallest, largest = float(np.min(lengths)), float(np.max(lengths))
        if not low <= smallest <= largest <= high:
            raise InputError(
                f"{volume.name}: {what} of {smallest:.4g} to {largest:.4g} mm; expected {low:g} to {high:g} mm"
            )
    distance = float(np.abs(volume.slice_origins_mm).max())
    if not distance <= MAX_ORIGIN_MM:
        raise InputError(f"{volume.name}: lies {distance:.4g} mm from the origin; expected at most {MAX_ORIGIN_MM:g}")
    return volume


def check_same_grid(mask: Volume, scan: Volume) -> None:
    """Raises InputError unless a mask, read as a `Volume`, lies on its scan's voxels (within a quarter of a voxel)."""
    if mask.shape != scan.shape:
        raise InputError(
            f"{mask.name}: the mask's shape is {mask.file_shape}, its scan's {scan.file_shape}; expected the same"
        )
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in scan.shape], [1])).reshape(4, -1)
    offset = np.linalg.norm(((mask.affine - scan.affine) @ corners)[:3], axis=0).max()
    allowed = GRID_TOLERANCE * np.linalg.norm(scan.affine[:3, :3], axis=0).min()
    if offset > allowed:
        raise InputError(
            f"{mask.name}: lies up to {offset:.2f} mm away from its scan by the affines; expected the same grid "
            f"(within {allowed:.2f} mm)"
        )
