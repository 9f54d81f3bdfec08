"""A folder of DICOM files -> its axial CT series -> `Volume`, with the true position of every slice."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pydicom.misc

from ichjax.data import volume as volumes
from ichjax.data.dicom_frames import Frame, decode, frames_of, to_hu
from ichjax.data.volume import Volume
from ichjax.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
SAME_DIRECTION = 1e-3  # of direction cosines: 0.25 mm across a head
SAME_PLACE_MM = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """An axial CT series of a folder.

    Attributes:
      label: what to call it: its rank, its slices and its pixels; nothing that identifies a patient.
      slices: their number.
      pixel_mm: distance between columns.
    """

    label: str
    slices: int
    pixel_mm: float
    _frames: tuple[Frame, ...] = dataclasses.field(repr=False)


def is_dicom(path: pathlib.Path) -> bool:
    """Whether a file says of itself that it is DICOM (part 10); False where it cannot be read."""
    try:
        return pydicom.misc.is_dicom(path)
    except OSError:
        return False


def find_series(folder: pathlib.Path, *, recursive: bool = False) -> list[Series]:
    """Finds the axial CT series of a folder, the one with the most slices first.

    Decided by SOP class and by orientation: localizers, dose sheets and whatever is no CT image are left out, and
    so are files that are not DICOM. Where two series have as many slices, the one shown through the narrower
    window comes first: scans are often reconstructed a second time for the bones.

    Args:
      folder: where the files lie, under any names.
      recursive: look into the folders below, too.

    Returns:
      at least one series.

    Raises:
      InputError: the folder is missing, holds no axial CT series, or holds a DICOM file that cannot be read.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with the DICOM files of a CT series")
    groups: dict[str, list[Frame]] = {}
    left_out: dict[str, int] = {}
    for path in _files(folder, recursive):
        frames, why = frames_of(path)
        for frame in frames:
            groups.setdefault(str(frame.header.get("SeriesInstanceUID", "")), []).append(frame)
        if why:
            left_out[why] = left_out.get(why, 0) + 1
    usable = [frames for frames in groups.values() if any(f.has_pixels and f.is_axial() for f in frames)]
    if not usable:
        for frames in groups.values():
            why = "without pixel data or orientation"
            left_out[why] = left_out.get(why, 0) + len({frame.path for frame in frames})
        found = ", ".join(f"{count} {why}" for why, count in left_out.items()) or "no files"
        if not recursive and any(path.is_dir() for path in folder.iterdir()):
            found += "; the folders below were not looked into"
        raise InputError(f"{_name(folder)}: holds no axial CT series (DICOM); found {found}")
    usable.sort(key=lambda frames: (-len(frames), _window_width(frames), min(frame.path for frame in frames)))
    return [_series(rank, frames) for rank, frames in enumerate(usable, start=1)]


def read_series(folder: pathlib.Path, series: Series | None = None, *, recursive: bool = False) -> Volume:
    """Reads one CT series in HU, named after its folder.

    Slices are sorted along their normal, towards the head. The volume's `slice_origins_mm` are the files' own
    positions, so tilt and uneven gaps are kept; its affine is the even grid from the first to the last slice.
    Its file grid is [columns, rows, slices].

    Args:
      folder: where the files lie.
      series: one of `find_series(folder)`; None takes the first.
      recursive: as for `find_series`.

    Raises:
      InputError: as `find_series` and `check_hu` say, or the slices do not make one scan: a missing tag, mixed
        sizes, orientations or pixel spacings, two slices at one position, pixel data that is missing, truncated
        or compressed in a way that needs a decoder that is not installed.
    """
    folder = pathlib.Path(folder)
    if series is None:
        series = find_series(folder, recursive=recursive)[0]
    frames = series._frames
    for frame in frames:
        if not frame.has_pixels:
            raise InputError(f"{frame.path.name}: has no pixel data (truncated?); expected an image in every file")
    size = _one_for_all(frames, _size, "the size", 0)
    axes = _one_for_all(frames, Frame.orientation, "the orientation", SAME_DIRECTION)
    spacing = _one_for_all(frames, lambda frame: frame.numbers("PixelSpacing", 2), "the PixelSpacing", 1e-4)
    if spacing.min() <= 0:
        raise InputError(f"{frames[0].path.name}: PixelSpacing is {spacing.tolist()}; expected two lengths in mm")
    frames, positions = _sorted_by_position(frames, axes)
    hu = _read_hu(frames, rows=int(size[0]), columns=int(size[1]))
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ axes[0] * spacing[1]  # PixelSpacing is (between rows, between columns)
    affine[:3, 1] = LPS_TO_RAS @ axes[1] * spacing[0]
    affine[:3, 2] = LPS_TO_RAS @ _slice_step(frames, positions, axes)
    affine[:3, 3] = LPS_TO_RAS @ positions[0]
    volume = volumes.from_file_grid(hu, affine, name=_name(folder), slice_origins_mm=positions @ LPS_TO_RAS)
    return volumes.check_hu(volume)


def _name(folder: pathlib.Path) -> str:
    return folder.resolve().name or "the folder"


def _files(folder: pathlib.Path, recursive: bool) -> Iterator[pathlib.Path]:
    paths = folder.rglob("*") if recursive else folder.iterdir()
    return (path for path in sorted(paths) if path.is_file() and not path.name.startswith("."))


def _window_width(frames: Sequence[Frame]) -> float:
    try:
        return float(np.ravel(np.array(frames[0].get("WindowWidth"), dtype=np.float64))[0])
    except (TypeError, ValueError, IndexError):
        return np.inf


def _series(rank: int, frames: Sequence[Frame]) -> Series:
    try:
        pixel_mm = float(frames[0].numbers("PixelSpacing", 2)[1])
    except InputError:
        pixel_mm = np.nan  # told when it is read
    return Series(f"series {rank} ({len(frames)} slices, {pixel_mm:.3f} mm)", len(frames), pixel_mm, tuple(frames))


def _size(frame: Frame) -> np.ndarray:
    return np.concatenate([frame.numbers(tag, 1) for tag in ("Rows", "Columns")])


def _one_for_all(
    frames: Sequence[Frame], value: Callable[[Frame], Sequence[float]], what: str, tolerance: float
) -> np.ndarray:
    """The value that all frames share, within `tolerance`; InputError where one differs."""
    first = np.asarray(value(frames[0]))
    for frame in frames[1:]:
        other = np.asarray(value(frame))
        if np.abs(other - first).max() > tolerance:
            raise InputError(
                f"{frame.path.name}: {what} is {other.ravel().tolist()}, but {first.ravel().tolist()} in "
                f"{frames[0].path.name}; expected one for the whole series"
            )
    return first


def _sorted_by_position(frames: Sequence[Frame], axes: np.ndarray) -> tuple[list[Frame], np.ndarray]:
    """Frames from the feet to the head, and their positions (LPS) float64 [N, 3]."""
    positions = np.stack([frame.numbers("ImagePositionPatient", 3) for frame in frames])
    normal = np.cross(*axes)
    along = positions @ (normal if normal[2] > 0 else -normal)
    order = np.argsort(along, kind="stable")
    for i in np.flatnonzero(np.diff(along[order]) < SAME_PLACE_MM):
        one, other = (frames[order[k]].path.name for k in (i, i + 1))
        raise InputError(f"{one} and {other} lie at the same position along the slice normal; expected each slice once")
    return [frames[i] for i in order], positions[order]


def _slice_step(frames: Sequence[Frame], positions: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """float64 [3] (LPS), the mean step from slice to slice; a single slice stands for its thickness."""
    if len(frames) > 1:
        return (positions[-1] - positions[0]) / (len(frames) - 1)
    thickness = frames[0].numbers("SliceThickness", 1)[0]
    if thickness <= 0:
        raise InputError(f"{frames[0].path.name}: SliceThickness is {thickness}; expected a length in mm")
    normal = np.cross(*axes)
    return thickness * (normal if normal[2] > 0 else -normal)


def _read_hu(frames: Sequence[Frame], *, rows: int, columns: int) -> np.ndarray:
    """int16 [columns, rows, slices], HU."""
    hu = np.empty((columns, rows, len(frames)), np.int16)
    of_file: dict[pathlib.Path, list[int]] = {}
    for place, frame in enumerate(frames):
        of_file.setdefault(frame.path, []).append(place)
    for path, places in of_file.items():
        pixels = decode(path)
        pixels = pixels[None] if pixels.ndim == 2 else pixels
        if pixels.shape[1:] != (rows, columns) or len(pixels) <= max(frames[place].index for place in places):
            raise InputError(f"{path.name}: the pixel data has the shape {pixels.shape}; expected {rows} x {columns}")
        for place in places:
            hu[:, :, place] = to_hu(pixels[frames[place].index], frames[place]).T
    return hu
