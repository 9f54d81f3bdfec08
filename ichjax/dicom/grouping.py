"""Which of many DICOM files belong together: by patient, study and series."""

import collections
import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ichjax.dicom.frame import Frame, frames_of
from ichjax.errors import InputError, only_input_errors


class Series(NamedTuple):
    """The slices of a series, and what tells its study from others."""

    study: tuple[str, ...]
    frames: list[Frame]


@dataclasses.dataclass(frozen=True)
class Groups:
    """What files hold.

    Attributes:
      series: of axial CT slices.
      left_out: {why: the number of files}.
      damaged: {folder: the first sentence about a file in it that cannot be read, or not be told where it belongs}.
    """

    series: list[Series]
    left_out: dict[str, int]
    damaged: dict[pathlib.Path, str]


def group(paths: Iterable[pathlib.Path]) -> Groups:
    """Looks into files of any kind and sorts their slices by patient, study and series.

    UIDs tell these apart, and since some programs give all patients the same ones, so do the patient's tags
    (`Frame.patient`), and where numbers of images (InstanceNumber) come twice under a UID, folders. Where no file of a
    folder has a SeriesInstanceUID they are one series; where some have, those without are damaged: taken for a series
    of their own they would leave a hole in another.
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
        if any(frame.has_pixels and frame.is_axial() for frame in series.frames):
            usable.append(series)
        else:
            left_out["without pixel data or orientation"] += len({frame.path for frame in series.frames})
    for frame in _astray(usable):
        text = (
            f"{frame.path.name}: lacks a SeriesInstanceUID, which files beside it have; expected it in all or in none"
        )
        damaged.setdefault(frame.path.parent, text)
    return Groups(usable, dict(left_out), damaged)


def _by_series(frames: Sequence[Frame]) -> Iterator[Series]:
    for series in _sorted_by(frames, lambda frame: (frame.patient, frame.uid("SeriesInstanceUID") or _folder(frame))):
        studies = {frame.uid("StudyInstanceUID") for frame in series} - {""}
        if len(studies) > 1:
            parts = _sorted_by(series, lambda frame: frame.uid("StudyInstanceUID") or _folder(frame))
        else:
            parts = [series]
        for part in parts:
            study = (part[0].patient, next((uid for f in part if (uid := f.uid("StudyInstanceUID"))), _folder(part[0])))
            if _numbers_come_twice(part):
                yield from (Series((*study, _folder(one[0])), one) for one in _sorted_by(part, _folder))
            else:
                yield Series(study, part)


def _numbers_come_twice(frames: Sequence[Frame]) -> bool:
    """Whether two folders have images of one number: then they hold two series, or one twice."""
    folders: dict[object, set] = {}
    for frame in frames:
        with contextlib.suppress(InputError):
            if (number := frame.get("InstanceNumber")) is not None:
                folders.setdefault(number, set()).add(frame.path.parent)
    return any(len(found) > 1 for found in folders.values())


def _astray(usable: Sequence[Series]) -> Iterator[Frame]:
    """Of every folder that holds series with a UID, the slices without one."""
    frames = [(frame, bool(frame.uid("SeriesInstanceUID"))) for series in usable for frame in series.frames]
    known = {frame.path.parent for frame, has_uid in frames if has_uid}
    yield from (frame for frame, has_uid in frames if not has_uid and frame.path.parent in known)


def _sorted_by(frames: Sequence[Frame], key: Callable[[Frame], object]) -> Iterator[list[Frame]]:
    groups: dict[object, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    yield from groups.values()


def _folder(frame: Frame) -> str:
    return f"in {frame.path.parent}"
