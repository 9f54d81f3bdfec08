"""Which of many DICOM files belong together: by series and study, so that patients never mix."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from ichjax.data.dicom_frames import Frame, frames_of
from ichjax.errors import InputError, only_input_errors


@dataclasses.dataclass(frozen=True)
class Groups:
    """What files hold.

    Attributes:
      series: the axial CT slices, by series.
      left_out: {why: the number of files}.
      damaged: {folder: the first sentence about a file in it that cannot be read, or not be told where it belongs}.
    """

    series: list[list[Frame]]
    left_out: dict[str, int]
    damaged: dict[pathlib.Path, str]


def group(paths: Iterable[pathlib.Path]) -> Groups:
    """Looks into files of any kind and sorts their slices by SeriesInstanceUID, and by StudyInstanceUID where studies
    share one.

    Where no file of a folder has a SeriesInstanceUID they are one series; where some have, those without are damaged:
    taken for a series of their own they would leave a hole in another.
    """
    frames, left_out, damaged = [], collections.Counter(), {}
    for path in paths:
        try:
            with only_input_errors(path.name):
                found, why = frames_of(path)
        except InputError as error:
            damaged.setdefault(path.parent, str(error))
            continue
        frames += found
        if why:
            left_out[why] += 1
    usable = []
    for series in _by_series(frames):
        if any(frame.has_pixels and frame.is_axial() for frame in series):
            usable.append(series)
        else:
            left_out["without pixel data or orientation"] += len({frame.path for frame in series})
    for frame in _astray(usable):
        text = (
            f"{frame.path.name}: lacks a SeriesInstanceUID, which files beside it have; expected it in all or in none"
        )
        damaged.setdefault(frame.path.parent, text)
    return Groups(usable, dict(left_out), damaged)


def study_of(series: Sequence[Frame]) -> str:
    """What tells a study from others: its UID, or where that is missing or malformed the folder."""
    return next((uid for frame in series if (uid := frame.uid("StudyInstanceUID"))), _folder(series[0]))


def _by_series(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    for series in _sorted_by(frames, lambda frame: frame.uid("SeriesInstanceUID") or _folder(frame)):
        studies = {frame.uid("StudyInstanceUID") for frame in series} - {""}
        if len(studies) > 1:
            yield from _sorted_by(series, lambda frame: frame.uid("StudyInstanceUID") or _folder(frame))
        else:
            yield series


def _astray(usable: Sequence[Sequence[Frame]]) -> Iterator[Frame]:
    """Of every folder that holds series with a UID, the slices without one."""
    known = {frame.path.parent for series in usable for frame in series if frame.uid("SeriesInstanceUID")}
    for series in usable:
        yield from (frame for frame in series if frame.path.parent in known and not frame.uid("SeriesInstanceUID"))


def _sorted_by(frames: Sequence[Frame], key) -> Iterator[list[Frame]]:
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    yield from groups.values()


def _folder(frame: Frame) -> str:
    return f"in {frame.path.parent}"
