"""Find the axial CT series in a folder of DICOM files, and read one as a `Volume` with true slice positions."""

import dataclasses
import filecmp
import os
import pathlib
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import pydicom.misc

from ichjax.dicom import grouping, left_out, selection
from ichjax.dicom.frame import Frame
from ichjax.dicom.patients import Patient
from ichjax.dicom.pixels import check_size, decode, size, to_hu
from ichjax.dicom.ranking import Reference, Traits
from ichjax.dicom.stack_volume import make_volume, normal_to_head
from ichjax.dicom.stacks import SeriesFrames
from ichjax.errors import InputError
from ichjax.scan import volume as volumes
from ichjax.scan.hu_check import check_hu, read_padding_as_air
from ichjax.scan.volume import Volume
from ichjax.walk import files_below

DIRECTION_TOLERANCE = 1e-3  # of direction cosines: 0.25 mm across a head


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """An axial CT series of a study.

    Attributes:
      label: its rank, number of slices, pixel size and drawbacks, for messages; does not identify a patient.
      traits: the properties that decide its rank.
      rank: among the series of its study, from 1.
      problem: why it must not be read, one sentence, or ''.
    """

    label: str
    traits: Traits
    rank: int
    problem: str
    _frames: tuple[Frame, ...] = dataclasses.field(repr=False)
    _left_out: tuple[Frame, ...] = dataclasses.field(repr=False)  # not slices
    _notes: tuple[str, ...] = dataclasses.field(repr=False)  # of `grouping.group_files`
    patient: Patient = dataclasses.field(repr=False)  # hashes

    @property
    def first_file(self) -> str:
        """The first path of its files: sorts series in a fixed order."""
        return str(self._first.path)

    @property
    def file_number(self) -> int:
        """The number of its first file among those of the folder that was searched, from 1."""
        return self._first.number

    @property
    def uid(self) -> str:
        """The SeriesInstanceUID of its first slice; '' if it is missing. It could identify the patient."""
        return self._frames[0].uid("SeriesInstanceUID")

    @property
    def study_uid(self) -> str:
        """The StudyInstanceUID of its first slice; '' if it is missing. It could identify the patient."""
        return self._frames[0].uid("StudyInstanceUID")

    def has_same_files(self, other: "Series") -> bool:
        """Whether another series is a copy of this one: the same files, byte by byte, somewhere else."""
        mine, others = (sorted({frame.path for frame in (*one._frames, *one._left_out)}) for one in (self, other))
        return len(mine) == len(others) and all(
            filecmp.cmp(one, two, shallow=False) for one, two in zip(mine, others, strict=True)
        )

    @property
    def _first(self) -> Frame:
        return min(self._frames, key=lambda frame: frame.path)


def is_dicom(path: pathlib.Path) -> bool:
    """Whether a file has the DICOM preamble (part 10); False if it cannot be read."""
    try:
        return pydicom.misc.is_dicom(path)
    except OSError:
        return False


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """The axial CT series of one study of one patient.

    Attributes:
      folder: the deepest folder that contains all of its files.
      series: the preferred one for hemorrhage detection first (`selection.rank`).
      reference: what the plain series cover, to which the others are compared.
    """

    folder: pathlib.Path
    series: tuple[Series, ...]
    reference: Reference


def find_studies(folder: pathlib.Path) -> tuple[list[Study], list[str]]:
    """Finds the CT studies in a folder and its subfolders, however their files are named and mixed.

    Studies are distinguished by `grouping.group_files`. A damaged file could be a slice of any series with files in its
    folder: all these series get a `problem`.

    Returns:
      (studies sorted by folder, a line for each kind of skipped file and for damaged files in folders without a study).
    """
    groups = grouping.group_files(files_below(folder))
    by_study: dict[tuple[Hashable, ...], list[SeriesFrames]] = {}
    for series in groups.series:
        by_study.setdefault(series.study, []).append(series)
    studies: list[Study] = []
    reported: set[pathlib.Path] = set()
    for all_series in by_study.values():
        folders = {frame.path.parent for series in all_series for frame in series.frames}
        reported.update(folders)
        common = pathlib.Path(os.path.commonpath(folders))
        order, reference = selection.rank(all_series)
        ranked = tuple(_series(rank, *one, groups.damaged) for rank, one in enumerate(order, start=1))
        studies.append(Study(common, ranked, reference))
    studies.sort(key=lambda study: (str(study.folder), study.series[0].first_file))
    skipped = [f"{count} {'file' if count == 1 else 'files'} {reason}" for reason, count in groups.skipped.items()]
    return studies, skipped + [error for path, error in groups.damaged.items() if path not in reported]


def read_series(folder: pathlib.Path, series: Series, *, with_names: bool = False) -> Volume:
    """Reads a series of a study in HU, named after the study's folder.

    Slices are sorted along their normal, towards the head. The volume's `slice_origins_mm` are the files' own
    positions, and its affine the best even grid (`make_volume`). Its file grid is [columns, rows, slices]. Its `notes`
    give the files that are left out: captures (`left_out.split_captures`), other files that are not CT images, and
    copies of slices. They give the names of these files if `with_names`, else their numbers among the files of the
    input.

    Raises:
      InputError: see `check_hu` and `check_geometry`, or the slices do not form one scan: a missing tag, mixed sizes,
        orientations or pixel spacings, two different slices at one position, or pixel data that is missing, truncated
        or compressed without an installed decoder.
    """
    first = series._frames[0]
    for frame in series._frames:
        if not frame.has_pixels:
            raise InputError(f"{frame.path.name}: has no pixel data (truncated?); expected an image in every file")
        frame.numbers("PixelRepresentation", 1)  # a missing one is never guessed: either sign may give plausible HU
    rows, columns = _common_value(series._frames, size, "the size", 0)
    check_size(series._frames, rows, columns)
    axes = _common_value(series._frames, Frame.orientation, "the orientation", DIRECTION_TOLERANCE)
    spacing = _common_value(series._frames, lambda frame: frame.numbers("PixelSpacing", 2), "the PixelSpacing", 1e-4)
    if spacing.min() <= 0:
        raise InputError(f"{first.path.name}: PixelSpacing is {spacing.tolist()}; expected two lengths in mm")
    frames, positions, copies = _sort_by_position(series._frames, axes)
    for copy, original in copies:
        if not left_out.is_copy(copy, original):
            names = f"{original.path.name} and {copy.path.name}"
            raise InputError(
                f"{names} lie at the same position along the slice normal, but differ; expected each slice once"
            )
    hu = _read_hu(frames, rows=int(rows), columns=int(columns))
    thickness_mm = _thickness_mm(frames[0]) if len(frames) == 1 else np.nan
    volume = make_volume(hu, positions, axes, spacing, thickness_mm=thickness_mm, name=folder.resolve().name)
    notes = list(series._notes)
    notes += left_out.sentence(series._left_out, left_out.NOT_A_SLICE, with_names=with_names)
    notes += left_out.sentence([copy for copy, _ in copies], left_out.COPY, with_names=with_names)
    volume = dataclasses.replace(volume, notes=tuple(notes))
    return check_hu(read_padding_as_air(volumes.check_geometry(volume)))


def sorted_frames(series: Series) -> list[Frame]:
    """The frames of a series in the order of the slices of its `Volume`, from feet to head."""
    return _sort_by_position(series._frames, series._frames[0].orientation())[0]


def _series(rank: int, traits: Traits, of_series: SeriesFrames, damaged: Mapping[pathlib.Path, str]) -> Series:
    """A series with its problem; `damaged` has the error of the first damaged file of each folder."""
    folders = {frame.path.parent for frame in of_series.frames}
    problem = next((error for folder, error in damaged.items() if folder in folders), of_series.problem)
    try:
        pixel_mm = float(of_series.frames[0].numbers("PixelSpacing", 2)[1])
    except InputError:
        pixel_mm = np.nan  # reported when the series is read
    details = ", ".join([f"{traits.slices} slices", f"{pixel_mm:.3f} mm", *traits.drawbacks()])
    frames, others = tuple(of_series.frames), tuple(of_series.left_out)
    label = f"series {rank} ({details})"
    return Series(label, traits, rank, problem, frames, others, of_series.notes, of_series.patient)


def _common_value(
    frames: Sequence[Frame], value: Callable[[Frame], np.ndarray], what: str, tolerance: float
) -> np.ndarray:
    """The value that all frames share, within `tolerance`; InputError if one differs."""
    first = value(frames[0])
    for frame in frames[1:]:
        other = value(frame)
        if np.abs(other - first).max() > tolerance:
            raise InputError(
                f"{frame.path.name}: {what} is {other.ravel().tolist()}, but {first.ravel().tolist()} in "
                f"{frames[0].path.name}; expected one for the whole series"
            )
    return first


def _sort_by_position(
    frames: Sequence[Frame], axes: np.ndarray
) -> tuple[list[Frame], np.ndarray, list[tuple[Frame, Frame]]]:
    """(frames from feet to head; their positions (LPS), float64 [N, 3]; (frame, the one at its position) of the rest).

    The pixels of frames at one position are not compared.
    """
    positions = np.stack([frame.numbers("ImagePositionPatient", 3) for frame in frames])
    kept, others = left_out.split_copies(frames, positions @ normal_to_head(axes))
    return [frames[i] for i in kept], positions[kept], [(frames[i], frames[first]) for i, first in others]


def _thickness_mm(frame: Frame) -> float:
    """The thickness of a single slice; InputError unless it is a length."""
    thickness = frame.numbers("SliceThickness", 1)[0]
    if thickness <= 0:
        raise InputError(f"{frame.path.name}: SliceThickness is {thickness}; expected a length in mm")
    return float(thickness)


def _read_hu(frames: Sequence[Frame], *, rows: int, columns: int) -> np.ndarray:
    """int16 [columns, rows, slices], HU."""
    hu = np.empty((columns, rows, len(frames)), np.int16)
    slices_of_file: dict[pathlib.Path, list[int]] = {}
    for k, frame in enumerate(frames):
        slices_of_file.setdefault(frame.path, []).append(k)
    for path, slices in slices_of_file.items():
        pixels = decode(path)
        pixels = pixels[None] if pixels.ndim == 2 else pixels
        if pixels.shape[1:] != (rows, columns) or len(pixels) <= max(frames[k].index for k in slices):
            raise InputError(f"{path.name}: the pixel data has the shape {pixels.shape}; expected {rows} x {columns}")
        for k in slices:
            hu[:, :, k] = to_hu(pixels[frames[k].index], frames[k]).T
    return hu
