"""Group DICOM files by patient, study and series."""

import collections
import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ichjax.dicom.frame import Frame, read_frames
from ichjax.errors import InputError, only_input_errors


class SeriesFrames(NamedTuple):
    """The slices of a series, and the key of its study."""

    study: tuple[str, ...]
    frames: list[Frame]


@dataclasses.dataclass(frozen=True)
class Groups:
    """The content of a set of files.

    Attributes:
      series: the axial CT series.
      skipped: {reason: number of files}.
      damaged: {folder: the error of the first file in it that cannot be read or assigned to a series}.
    """

    series: list[SeriesFrames]
    skipped: dict[str, int]
    damaged: dict[pathlib.Path, str]


def group_files(paths: Iterable[pathlib.Path]) -> Groups:
    """Reads files of any kind and groups their slices by patient, study and series.

    The key is the UIDs, and, since some software writes the same UIDs for all patients, also the patient tags
    (`Frame.patient`), and the folder if an InstanceNumber occurs twice under a UID. If no file of a folder has a
    SeriesInstanceUID, the folder is one series; if only some lack it, those are damaged: treated as a series of their
    own they would leave a gap in another one.
    """
    frames: list[Frame] = []
    skipped: collections.Counter[str] = collections.Counter()
    damaged: dict[pathlib.Path, str] = {}
    for path in paths:
        try:
            with only_input_errors(path.name):
                frames_of_file, reason = read_frames(path)
        except InputError as error:
            damaged.setdefault(path.parent, str(error))
            continue
        frames += frames_of_file
        if reason:
            skipped[reason] += 1
    usable = []
    for series in _group_by_series(frames):
        if any(frame.has_pixels and frame.is_axial() for frame in series.frames):
            usable.append(series)
        else:
            skipped["without pixel data or orientation"] += len({frame.path for frame in series.frames})
    for frame in _frames_without_uid(usable):
        error_text = f"{frame.path.name}: lacks a SeriesInstanceUID, unlike other files of its folder; expected one"
        damaged.setdefault(frame.path.parent, error_text)
    return Groups(usable, dict(skipped), damaged)


def _group_by_series(frames: Sequence[Frame]) -> Iterator[SeriesFrames]:
    for series in _group_by(frames, lambda frame: (frame.patient, frame.uid("SeriesInstanceUID") or _folder(frame))):
        parts = [series]
        if len({frame.uid("StudyInstanceUID") for frame in series} - {""}) > 1:
            parts = _group_by(series, lambda frame: frame.uid("StudyInstanceUID") or _folder(frame))
        for part in parts:
            study = (part[0].patient, next((uid for f in part if (uid := f.uid("StudyInstanceUID"))), _folder(part[0])))
            if _has_repeated_numbers(part):
                yield from (SeriesFrames((*study, _folder(one[0])), one) for one in _group_by(part, _folder))
            else:
                yield SeriesFrames(study, part)


def _has_repeated_numbers(frames: Sequence[Frame]) -> bool:
    """Whether an InstanceNumber occurs in several folders, which then hold two series, or the same one twice."""
    folders: dict[Hashable, set[pathlib.Path]] = {}
    for frame in frames:
        with contextlib.suppress(InputError):
            if (number := frame.get("InstanceNumber")) is not None:
                folders.setdefault(number, set()).add(frame.path.parent)
    return any(len(paths) > 1 for paths in folders.values())


def _frames_without_uid(usable: Sequence[SeriesFrames]) -> Iterator[Frame]:
    """The slices without a SeriesInstanceUID in folders that also hold series with one."""
    frames = [(frame, bool(frame.uid("SeriesInstanceUID"))) for series in usable for frame in series.frames]
    folders_with_uid = {frame.path.parent for frame, has_uid in frames if has_uid}
    yield from (frame for frame, has_uid in frames if not has_uid and frame.path.parent in folders_with_uid)


def _group_by(frames: Sequence[Frame], key: Callable[[Frame], Hashable]) -> list[list[Frame]]:
    groups: dict[Hashable, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return list(groups.values())


def _folder(frame: Frame) -> str:
    return f"in {frame.path.parent}"
