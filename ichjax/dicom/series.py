"""A folder of DICOM files -> its axial CT series -> `Volume`, with the true position of every slice."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pydicom.misc

from ichjax.dicom import grouping, ranking
from ichjax.dicom.frame import Frame
from ichjax.dicom.pixels import decode, to_hu
from ichjax.dicom.ranking import Traits
from ichjax.errors import InputError
from ichjax.scan import volume as volumes
from ichjax.scan.nifti_header import MAX_FILE_VOXELS
from ichjax.scan.volume import Volume
from ichjax.walk import files_below

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
SAME_DIRECTION = 1e-3  # of direction cosines: 0.25 mm across a head
SAME_PLACE_MM = 0.01
ROUNDING_MM = 0.06  # positions may be written to 0.1 mm
LARGEST_SIDE = 2048  # pixels


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """An axial CT series of a folder.

    Attributes:
      label: what to call it: its rank, its slices, its pixels and what speaks against it; nothing that identifies a
        patient.
      traits: what its rank was decided by.
    """

    label: str
    traits: Traits
    _frames: tuple[Frame, ...] = dataclasses.field(repr=False)

    @property
    def first_file(self) -> str:
        """By which series are put in a fixed order."""
        return str(min(frame.path for frame in self._frames))


def is_dicom(path: pathlib.Path) -> bool:
    """Whether a file says of itself that it is DICOM (part 10); False where it cannot be read."""
    try:
        return pydicom.misc.is_dicom(path)
    except OSError:
        return False


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """The axial CT series of one study of one patient.

    Attributes:
      folder: the deepest one that holds all of its files.
      series: the one that is read for a bleed first (`ranking.preference`).
      problem: what is wrong with a file beside its own, one sentence, or ''.
    """

    folder: pathlib.Path
    series: tuple[Series, ...]
    problem: str = ""


def find_studies(folder: pathlib.Path) -> tuple[list[Study], list[str]]:
    """Finds the CT studies in a folder and in those below it, however its files are named and mixed.

    Studies are told apart as `grouping.group` says. A damaged file may be a slice of any series that
    has files in its folder: the studies of these get a `problem`, others do not.

    Returns:
      (studies by folder, [a line for each kind of file that was skipped, and for damaged ones that lie alone]).
    """
    found = grouping.group(path for path in files_below(folder) if path.is_file())
    by_study: dict[tuple[str, ...], list[list[Frame]]] = {}
    for series in found.series:
        by_study.setdefault(series.study, []).append(series.frames)
    studies, told = [], set()
    for groups in by_study.values():
        places = {frame.path.parent for frames in groups for frame in frames}
        damaged = [place for place in found.damaged if place in places]
        told.update(damaged)
        common = pathlib.Path(os.path.commonpath(places))
        studies.append(Study(common, tuple(_ranked(groups)), found.damaged[damaged[0]] if damaged else ""))
    studies.sort(key=lambda study: (str(study.folder), study.series[0].first_file))
    skipped = [f"{count} {'file' if count == 1 else 'files'} {why}" for why, count in found.left_out.items()]
    return studies, skipped + [text for place, text in found.damaged.items() if place not in told]


def _ranked(groups: Sequence[Sequence[Frame]]) -> list[Series]:
    """The series of a study, the one to take first."""
    known = [(ranking.traits(frames), frames) for frames in groups]
    longest_mm = max(traits.extent_mm for traits, _ in known)

    def rank(one: tuple[Traits, Sequence[Frame]]) -> tuple:
        traits, frames = one
        return (*ranking.preference(traits, len(frames), longest_mm), min(frame.path for frame in frames))

    return [_series(number, *one) for number, one in enumerate(sorted(known, key=rank), start=1)]


def read_series(folder: pathlib.Path, series: Series) -> Volume:
    """Reads a series of a study in HU, named after the study's folder.

    Slices are sorted along their normal, towards the head. The volume's `slice_origins_mm` are the files' own
    positions, so tilt and uneven gaps are kept. Its affine has three axes at right angles, as ITK demands, along the
    normal the even gap (the median where gaps are uneven), and the slices' middle in common with them: where slices
    are tilted or unevenly spaced no such grid is exact. Its file grid is [columns, rows,
    slices].

    Raises:
      InputError: as `check_hu` says, or the slices do not make one scan: a missing tag, mixed sizes, orientations or
        pixel spacings, two slices at one position, pixel data that is missing, truncated or compressed in a way that
        needs a decoder that is not installed.
    """
    frames = series._frames
    for frame in frames:
        if not frame.has_pixels:
            raise InputError(f"{frame.path.name}: has no pixel data (truncated?); expected an image in every file")
    size = _one_for_all(frames, _size, "the size", 0)
    _check_size(frames, size)
    axes = _one_for_all(frames, Frame.orientation, "the orientation", SAME_DIRECTION)
    spacing = _one_for_all(frames, lambda frame: frame.numbers("PixelSpacing", 2), "the PixelSpacing", 1e-4)
    if spacing.min() <= 0:
        raise InputError(f"{frames[0].path.name}: PixelSpacing is {spacing.tolist()}; expected two lengths in mm")
    frames, positions = _sorted_by_position(frames, axes)
    hu = _read_hu(frames, rows=int(size[0]), columns=int(size[1]))
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ axes[0] * spacing[1]  # PixelSpacing is (between rows, between columns)
    affine[:3, 1] = LPS_TO_RAS @ axes[1] * spacing[0]
    step = _slice_step(frames, positions, axes)
    affine[:3, 2] = LPS_TO_RAS @ step
    affine[:3, 3] = LPS_TO_RAS @ (positions.mean(axis=0) - (len(frames) - 1) / 2 * step)
    volume = volumes.from_file_grid(hu, affine, name=folder.resolve().name, slice_origins_mm=positions @ LPS_TO_RAS)
    return volumes.check_hu(volumes.check_geometry(volume))


def slices_of(series: Series) -> list[Frame]:
    """The files and frames of a series in the order of the slices of its `Volume`, from the feet to the head."""
    axes = series._frames[0].orientation()
    return _sorted_by_position(series._frames, axes)[0]


def _series(rank: int, traits: Traits, frames: Sequence[Frame]) -> Series:
    try:
        pixel_mm = float(frames[0].numbers("PixelSpacing", 2)[1])
    except InputError:
        pixel_mm = np.nan  # told when it is read
    said = ", ".join([f"{len(frames)} slices", f"{pixel_mm:.3f} mm", *traits.remarks()])
    return Series(f"series {rank} ({said})", traits, tuple(frames))


def _size(frame: Frame) -> np.ndarray:
    return np.concatenate([frame.numbers(tag, 1) for tag in ("Rows", "Columns")])


def _check_size(frames: Sequence[Frame], size: np.ndarray) -> None:
    """Raises InputError where a series, or a whole multi-frame file of it, is too large to be a head CT's."""
    most = max(len(frames), *(int(frame.get("NumberOfFrames") or 1) for frame in frames))
    if size.min() < 1 or size.max() > LARGEST_SIDE or size.prod() * most > MAX_FILE_VOXELS:
        raise InputError(
            f"{frames[0].path.name}: {most} slices of {size[0]:g} x {size[1]:g} pixels; expected at most "
            f"{LARGEST_SIDE} along a side and {MAX_FILE_VOXELS} in all"
        )


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
    """float64 [3] (LPS), the step from slice to slice along the normal, to the head.

    Where the slices are even but for rounding it is their best line's, which keeps the last slice as near as the
    first; else the median gap. A single slice stands for its thickness.
    """
    normal = np.cross(*axes)
    normal /= np.linalg.norm(normal)
    normal = normal if normal[2] > 0 else -normal
    if len(frames) > 1:
        along, index = positions @ normal, np.arange(len(frames))
        slope, start = np.polyfit(index, along, 1)
        even = np.abs(along - (slope * index + start)).max() <= ROUNDING_MM
        return (slope if even else np.median(np.diff(along))) * normal
    thickness = frames[0].numbers("SliceThickness", 1)[0]
    if thickness <= 0:
        raise InputError(f"{frames[0].path.name}: SliceThickness is {thickness}; expected a length in mm")
    return thickness * normal


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
