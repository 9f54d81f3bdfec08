"""The geometry of a CT series as a stack of slices, and whether two stacks complete each other."""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from ichjax.dicom.frame import Frame
from ichjax.dicom.header_traits import read_traits
from ichjax.dicom.left_out import MIN_SLICE_DISTANCE_MM
from ichjax.dicom.patients import Patient
from ichjax.dicom.ranking import Traits
from ichjax.errors import InputError

Item = TypeVar("Item")
TOLERANCE = 0.1  # of a distance between slices, relative
MAX_OFFSET_MM = 0.5  # of a slice's origin from the line through the others


@dataclasses.dataclass(frozen=True, eq=False)
class SeriesFrames:
    """The images of a series, or of several series that are one scan.

    Attributes:
      study: the key of its study.
      patient: as completed by `patients.unite`.
      frames: its slices.
      left_out: images and other files with its UID that are not slices.
      problem: why it must not be read, one sentence, or ''.
      notes: what to know before trusting it, one sentence each.
    """

    study: tuple[Hashable, ...]
    patient: Patient
    frames: list[Frame]
    left_out: list[Frame]
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """A series with its geometry.

    Attributes:
      series: the series.
      series_uid, study_uid, frame_of_reference: of its first image, '' if missing.
      reconstruction: equal for series with the same matrix, pixel spacing and reconstruction.
      axes: direction cosines of rows and columns.
      origins_mm: float64 [N, 3] (LPS), of the slices at different positions, from feet to head.
      along_mm: float64 [N], their positions along the normal.
      step_mm: the median distance between slices; of a single one the thickness.
      thickness_mm: of the first slice; nan if it is unknown.
      traits: what the headers say.
    """

    series: SeriesFrames
    series_uid: str
    study_uid: str
    frame_of_reference: str
    reconstruction: tuple[Hashable, ...]
    axes: tuple[float, ...]
    origins_mm: np.ndarray
    along_mm: np.ndarray
    step_mm: float
    thickness_mm: float
    traits: Traits

    @property
    def is_single(self) -> bool:
        """Whether it has one position."""
        return len(self.along_mm) == 1

    def with_fields(self, *, problem: str = "", notes: tuple[str, ...] = ()) -> "Stack":
        """The same with a problem or with more notes."""
        series = self.series
        changed = dataclasses.replace(series, problem=problem or series.problem, notes=(*series.notes, *notes))
        return dataclasses.replace(self, series=changed)


def read_stack(series: SeriesFrames) -> Stack | None:
    """Reads the geometry of a series; None if a tag that it needs cannot be read (reported when the series is read)."""
    first = series.frames[0]
    try:
        axes = first.orientation()
        origins_mm = np.stack([frame.numbers("ImagePositionPatient", 3) for frame in series.frames])
        tags = (("PixelSpacing", 2), ("Rows", 1), ("Columns", 1))
        pixels = np.concatenate([first.numbers(tag, count) for tag, count in tags])
        image_type = tuple(np.ravel(first.get("ImageType") or first.get("FrameType") or "")[:3].tolist())
    except InputError:
        return None
    normal = np.cross(*axes)
    along_mm = origins_mm @ (normal if normal[2] > 0 else -normal)
    order = np.argsort(along_mm, kind="stable")
    order = order[np.diff(along_mm[order], prepend=-np.inf) >= MIN_SLICE_DISTANCE_MM]  # without copies
    thickness_mm = _thickness_mm(first)
    traits = read_traits(series.frames)
    reconstruction = (traits.kernel, traits.contrast, traits.computed, image_type, traits.names_other_part)
    return Stack(
        series=series,
        series_uid=first.uid("SeriesInstanceUID"),
        study_uid=first.uid("StudyInstanceUID"),
        frame_of_reference=first.uid("FrameOfReferenceUID"),
        reconstruction=(*np.round(pixels, 3).tolist(), *reconstruction),
        axes=tuple((np.round(axes, 3) + 0.0).ravel().tolist()),
        origins_mm=origins_mm[order],
        along_mm=along_mm[order],
        step_mm=float(np.median(np.diff(along_mm[order]))) if len(order) > 1 else thickness_mm,
        thickness_mm=thickness_mm,
        traits=traits,
    )


def complete_each_other(stacks: Sequence[Stack]) -> bool:
    """Whether stacks of one orientation fit together: no slices overlap where they meet, none is missing, all in line.

    A slice is as high as its thickness, or as the distance to its neighbors if that is smaller. Slices overlap if they
    are closer than the mean of their heights. Some are missing if the distance exceeds this mean and the distances
    between slices in both stacks.
    """
    along = np.concatenate([stack.along_mm for stack in stacks])
    order = np.argsort(along, kind="stable")
    along, owner = along[order], np.repeat(np.arange(len(stacks)), [len(stack.along_mm) for stack in stacks])[order]
    step = np.array([stack.step_mm for stack in stacks])[owner]
    height = np.array([np.fmin(stack.thickness_mm, stack.step_mm) for stack in stacks])[owner]
    joints = np.flatnonzero(owner[1:] != owner[:-1])
    distance, heights = along[joints + 1] - along[joints], (height[joints] + height[joints + 1]) / 2
    farthest = np.max([heights, step[joints], step[joints + 1]], axis=0)
    apart = (distance >= (1 - TOLERANCE) * heights) & (distance >= MIN_SLICE_DISTANCE_MM)
    if not (apart & (distance <= (1 + TOLERANCE) * farthest)).all():  # also if a height is nan
        return False
    origins_mm = np.concatenate([stack.origins_mm for stack in stacks])[order]
    line = np.polynomial.polynomial.polyfit(along, origins_mm, 1)  # tilted gantries shift each slice in its plane
    return bool(np.abs(line[0] + along[:, None] * line[1] - origins_mm).max() <= MAX_OFFSET_MM)


def interleave(one: Stack, other: Stack) -> bool:
    """Whether a slice of one of two stacks lies between slices of the other."""
    return bool(max(one.along_mm[0], other.along_mm[0]) <= min(one.along_mm[-1], other.along_mm[-1]))


def shows_more(one: Stack, other: Stack) -> bool:
    """Whether a stack has a slice that overlaps no slice of another one."""
    distance = np.abs(one.along_mm[:, None] - other.along_mm).min(axis=1)
    heights = np.nan_to_num([np.fmin(stack.thickness_mm, stack.step_mm) for stack in (one, other)])
    if np.isnan(one.thickness_mm) or np.isnan(other.thickness_mm):
        heights = np.zeros(2)
    return bool((distance >= max((1 - TOLERANCE) * heights.mean(), MIN_SLICE_DISTANCE_MM)).any())


def group_by(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Groups items with equal keys, in the order of their first ones."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def _thickness_mm(frame: Frame) -> float:
    try:
        thickness_mm = float(frame.numbers("SliceThickness", 1)[0])
    except InputError:
        return np.nan
    return thickness_mm if thickness_mm > 0 else np.nan
