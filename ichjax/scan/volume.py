"""A CT scan in memory: HU in one fixed orientation, and the true place of every slice."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from nibabel import orientations

from ichjax.errors import InputError

# Axis 0 grows to the head (S), axis 1 to the back (P), axis 2 to the patient's left (L): slices stack upwards,
# and `hu[d]` drawn as an image is what a radiologist sees, the patient's right on the left of the screen.
AXES = ("S", "P", "L")
AIR_HU = -1024  # the lowest HU a CT number can mean; padding below it is clamped, and scans are padded with it
HU_RANGE = (AIR_HU, 32767)  # what a file of HU can hold; the 8-bit jpeg release holds `BRAIN_WINDOW_HU`
BRAIN_WINDOW_HU = (-20, 100)  # black and white: level 40, width 120 (paper, section 3.1)
BONE_WINDOW_HU = (-900, 2300)  # level 700, width 3200
PLAUSIBLE_MM = {"pixels": (0.05, 20.0), "slices": (0.05, 100.0)}  # sides; heights that slices stand for
MAX_SKEW_COSINE = 1e-2  # cosine of the angle between rows and columns up to which it is one
FARTHEST_MM = 1e5  # from the scanner's origin
LARGEST_MM = 1e9  # in an affine, so that products of its values stay numbers
GRID_TOLERANCE = 0.25  # of the smallest voxel side; beyond this a mask lies on other voxels than its scan


@dataclasses.dataclass(frozen=True, eq=False)
class Volume:
    """One scan.

    Attributes:
      hu: int16 [D, H, W], Hounsfield units; axes to the head, the back and the patient's left.
      affine: float64 [4, 4], maps (d, h, w, 1) to RAS+ millimetres; exact where slices are evenly spaced and
        straight, else the best even grid (`slice_origins_mm` stays exact).
      slice_origins_mm: float64 [D, 3], RAS+ position of the centre of pixel (0, 0) of each slice.
      file_shape: the shape of the array on disk, in its own axis order.
      file_affine: float64 [4, 4] of that array.
      file_orientation: float [3, 2], nibabel's orientation of the file's axes.
      name: what to call it in messages: a file or folder name, never a patient's.
      hu_range: the lowest and highest HU that the file can hold.
      nominal_spacing: whether the spacing is only what the source is said to have: every mm and mL is nominal.
      notes: what is odd about its header, one sentence each.
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
        return tuple(float(np.linalg.norm(self.affine[:3, axis])) for axis in (1, 2))

    @property
    def normal(self) -> np.ndarray:
        """float64 [3], unit normal of the slices in RAS+, pointing to the head side."""
        normal = np.cross(self.affine[:3, 1], self.affine[:3, 2])
        normal /= np.linalg.norm(normal)
        return normal if normal @ self.affine[:3, 0] >= 0 else -normal

    @property
    def positions_mm(self) -> np.ndarray:
        """float64 [D], position of each slice along the slice normal, increasing."""
        return self.slice_origins_mm @ self.normal

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(median slice gap along the normal, row distance, column distance), in mm."""
        gap = np.median(np.diff(self.positions_mm)) if len(self.hu) > 1 else self._single_gap_mm()
        return (float(gap), *self.pixel_mm)

    def _single_gap_mm(self) -> float:
        return float(abs(self.affine[:3, 0] @ self.normal))

    @property
    def extent_mm(self) -> np.ndarray:
        """float64 [D], the height that each slice stands for: half the gap to each neighbour along the normal,
        the full gap at the ends; never the slice thickness."""
        if len(self.hu) == 1:
            return np.array([self._single_gap_mm()])
        gaps = np.diff(self.positions_mm)
        return (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2

    @property
    def pixel_ml(self) -> np.ndarray:
        """float64 [D], the volume in mL that one pixel of each slice stands for."""
        row_mm, column_mm = self.pixel_mm
        return self.extent_mm * row_mm * column_mm / 1000.0

    def to_file_index(self, index: Sequence[float]) -> np.ndarray:
        """float64 [3], the index (i, j, k) in the file's array of an index (d, h, w) of this scan."""
        return (np.linalg.inv(self.file_affine) @ self.affine @ [*index, 1.0])[:3]

    def file_origins_mm(self) -> np.ndarray:
        """float64 [D, 3], RAS mm of the pixel that the file calls (0, 0) of each slice, from the feet to the head."""
        corner = (np.linalg.inv(self.affine) @ self.file_affine)[:3, 3]
        return self.slice_origins_mm + self.affine[:3, 1:3] @ corner[1:3]

    def to_file_grid(self, array: np.ndarray) -> np.ndarray:
        """Turns an array [D, H, W] of this scan back to the axis order and directions of the file."""
        if array.shape != self.shape:
            raise ValueError(f"array of shape {array.shape} does not lie on {self.name}, which is {self.shape}")
        from_file = self.file_orientation
        to_file = orientations.ornt_transform(orientations.axcodes2ornt(AXES), from_file)
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
    """Makes a `Volume` of an array of HU in any axis order.

    Args:
      array: integer or float [I, J, K], HU.
      affine: float [4, 4], maps (i, j, k, 1) to RAS+ mm; axes may be permuted, flipped, oblique or sheared.
      name: what to call it in messages.
      hu_range: what the file can hold.
      slice_origins_mm: float [K', 3], the RAS+ position of index (0, 0) of each slice along the file's slice
        axis, where the affine cannot say it (uneven spacing); None takes it from the affine.
      nominal_spacing: whether the affine's lengths are nominal, not of this very scan.

    Raises:
      InputError: the affine is not finite or is singular.
    """
    affine = np.asarray(affine, dtype=np.float64)
    check_affine(affine, name)
    file_orientation = orientations.io_orientation(affine)
    to_ours = orientations.ornt_transform(file_orientation, orientations.axcodes2ornt(AXES))
    ours = np.ascontiguousarray(orientations.apply_orientation(array, to_ours))
    ours_affine = affine @ orientations.inv_ornt_aff(to_ours, array.shape)
    if slice_origins_mm is None:
        origins = ours_affine[:3, 3] + np.arange(ours.shape[0])[:, None] * ours_affine[:3, 0]
    else:
        # The file's in-plane axes may be flipped: move from its corner to ours, slice by slice.
        slice_axis = int(np.flatnonzero(to_ours[:, 0] == 0)[0])
        corner = np.linalg.inv(affine) @ ours_affine @ np.array([0.0, 0.0, 0.0, 1.0])
        corner[slice_axis] = 0.0
        shift = affine[:3, :3] @ corner[:3]
        origins = np.asarray(slice_origins_mm, dtype=np.float64) + shift
        if to_ours[slice_axis, 1] < 0:
            origins = origins[::-1]
    return Volume(
        hu=to_hu16(ours),
        affine=ours_affine,
        slice_origins_mm=origins,
        file_shape=tuple(array.shape),
        file_affine=affine,
        file_orientation=file_orientation,
        name=name,
        hu_range=tuple(hu_range),
        nominal_spacing=nominal_spacing,
    )


def to_hu16(values: np.ndarray) -> np.ndarray:
    """Rounds HU to int16, clamping padding to `AIR_HU`."""
    if np.issubdtype(values.dtype, np.integer):
        return np.clip(values, *HU_RANGE).astype(np.int16)
    return np.rint(np.clip(values, *HU_RANGE)).astype(np.int16)


def hu_digest(volume: Volume) -> str:
    """32 hex digits that tell scans apart by their HU alone, in whatever file they lie."""
    head = repr(volume.shape).encode()
    return hashlib.blake2b(head + np.ascontiguousarray(volume.hu).tobytes(), digest_size=16).hexdigest()


def scan_digest(volume: Volume) -> str:
    """32 hex digits that tell scans apart by their HU and the place of every slice, never by a header."""
    found = hashlib.blake2b(np.ascontiguousarray(volume.hu), digest_size=16)
    found.update(np.round(volume.slice_origins_mm, 2).tobytes() + np.round(volume.affine, 4).tobytes())
    return found.hexdigest()


def check_affine(affine: np.ndarray, name: str) -> None:
    """Raises InputError unless the affine is finite and has three independent axes."""
    if not (np.abs(affine) < LARGEST_MM).all():  # nor is NaN
        raise InputError(f"{name}: the affine holds values that are not finite or beyond reason; expected millimetres")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths <= 0).any() or abs(np.linalg.det(affine[:3, :3] / np.where(lengths > 0, lengths, 1))) < 1e-3:
        raise InputError(f"{name}: the affine is singular (axis lengths {lengths.round(4).tolist()} mm)")


def check_lengths(volume: Volume) -> Volume:
    """Raises InputError unless the scan's lengths can be a head's, and its rows and columns are at right angles (slices
    may be shifted against each other, as a tilted gantry does); returns the volume."""
    rows, columns = volume.affine[:3, 1] / volume.pixel_mm[0], volume.affine[:3, 2] / volume.pixel_mm[1]
    if abs(rows @ columns) > MAX_SKEW_COSINE:
        degrees = np.degrees(np.arccos(np.clip(rows @ columns, -1, 1)))
        raise InputError(f"{volume.name}: rows and columns are at {degrees:.1f} degrees; expected a right angle")
    for what, lengths in (("pixels", volume.pixel_mm), ("slices", volume.extent_mm)):
        low, high = PLAUSIBLE_MM[what]
        shortest, longest = float(np.min(lengths)), float(np.max(lengths))
        if not low <= shortest <= longest <= high:
            raise InputError(
                f"{volume.name}: {what} of {shortest:.4g} to {longest:.4g} mm; expected {low:g} to {high:g} mm"
            )
    farthest = float(np.abs(volume.slice_origins_mm).max())
    if not farthest <= FARTHEST_MM:
        raise InputError(f"{volume.name}: lies {farthest:.4g} mm from the origin; expected at most {FARTHEST_MM:g}")
    return volume


def check_hu(volume: Volume) -> Volume:
    """Raises InputError unless the values can be the HU of a head CT; returns the volume.

    A head CT in HU holds air (below -200) and bone (above 200). A file whose `hu_range` cannot hold both (the
    jpeg release) is only held to its own range.
    """
    low, high = int(volume.hu.min()), int(volume.hu.max())
    if low == high:
        raise InputError(f"{volume.name}: every voxel is {low}; expected a head CT in HU")
    if volume.hu_range[0] <= -200 and volume.hu_range[1] >= 200:
        if low > -200 or high < 200:
            guesses = ((10, "a mask?"), (255, "an 8-bit image?"))
            other = "without the offset of -1024, Cormack units, or MR?"
            hint = f" ({next((guess for limit, guess in guesses if high <= limit), other)})"
            hint = hint if low >= 0 else ""
            raise InputError(
                f"{volume.name}: values lie in {low} to {high}{hint}; expected HU with air below -200 and "
                f"bone above 200"
            )
    elif low < volume.hu_range[0] or high > volume.hu_range[1]:
        raise InputError(f"{volume.name}: values lie in {low} to {high}; this source holds {volume.hu_range} HU")
    return volume


def check_same_grid(mask: Volume, scan: Volume) -> None:
    """Raises InputError unless a mask, read as a `Volume`, lies on its scan's voxels (to a quarter of a voxel)."""
    if mask.shape != scan.shape:
        raise InputError(
            f"{mask.name}: the mask's shape is {mask.file_shape}, its scan's {scan.file_shape}; expected the same"
        )
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in scan.shape], [1])).reshape(4, -1)
    apart = np.linalg.norm(((mask.affine - scan.affine) @ corners)[:3], axis=0).max()
    allowed = GRID_TOLERANCE * np.linalg.norm(scan.affine[:3, :3], axis=0).min()
    if apart > allowed:
        raise InputError(
            f"{mask.name}: lies up to {apart:.2f} mm away from its scan by the affines; expected the same grid "
            f"(within {allowed:.2f} mm)"
        )
