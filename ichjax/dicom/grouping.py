"""Group DICOM files by patient, study and series."""

import collections
import contextlib
import dataclasses
import pathlib
from collections.abc import Hashable, Iterable, Iterator, Sequence

from ichjax.dicom import merging, patients
from ichjax.dicom.frame import Frame, read_frames
from ichjax.dicom.left_out import repeats_are_copies, split_captures
from ichjax.dicom.patients import Patient
from ichjax.dicom.stacks import SeriesFrames, group_by
from ichjax.errors import InputError, only_input_errors

UIDS = ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")


@dataclasses.dataclass(frozen=True)
class Groups:
    """The content of a set of files.

    Attributes:
      series: the axial CT series.
      skipped: {reason: number of files}; without those in `SeriesFrames.left_out`.
      damaged: {folder: the error of the first file in it that cannot be read or assigned to a series}.
    """

    series: list[SeriesFrames]
    skipped: dict[str, int]
    damaged: dict[pathlib.Path, str]


def group_files(paths: Iterable[pathlib.Path]) -> Groups:
    """Reads files of any kind and groups their slices by patient, study and series.

    The key is the UIDs, and, since some software writes the same UIDs for all patients, also the patient tags in any
    spelling (`patients.unite`), and the folder if an InstanceNumber occurs in several folders under a UID, unless the
    repeated images are copies of some slices. Images in multi-frame files and single ones are two series. If no file of
    a folder has a SeriesInstanceUID, the folder is one series; if only some lack it, those are damaged: treated as a
    series of their own they would leave a gap in another one.
    Series that are one scan by their geometry are merged at the end (`merging.merge`).
    """
    frames: list[Frame] = []
    no_slices: dict[str, list[tuple[Frame, str]]] = {}  # by series, with the reason
    skipped: collections.Counter[str] = collections.Counter()
    damaged: dict[pathlib.Path, str] = {}
    for number, path in enumerate(paths, start=1):
        if not path.is_file():
            continue
        try:
            with only_input_errors(path.name):
                frames_of_file, reason = read_frames(path, number)
        except InputError as error:
            damaged.setdefault(path.parent, str(error))
            continue
        if not reason:
            frames += frames_of_file
            continue
        skipped[reason] += 1
        for frame in frames_of_file:
            if uid := frame.uid("SeriesInstanceUID"):
                no_slices.setdefault(uid, []).append((frame, reason))
    usable = []
    for series in _group_by_series(frames):
        if any(frame.has_pixels and frame.is_axial() for frame in series.frames):
            candidates = no_slices.get(series.frames[0].uid("SeriesInstanceUID"), [])
            others = [one for one in candidates if patients.is_compatible(one[0].patient, series.patient)]
            for one in others:
                candidates.remove(one)
                skipped[one[1]] -= 1
            usable.append(dataclasses.replace(series, left_out=[*series.left_out, *(frame for frame, _ in others)]))
        else:
            skipped["without pixel data or orientation"] += len(
                {frame.path for frame in series.frames + series.left_out}
            )
    for frame in _frames_without_uid(usable):
        error_text = f"{frame.path.name}: lacks a SeriesInstanceUID, unlike other files of its folder; expected one"
        damaged.setdefault(frame.path.parent, error_text)
    return Groups(merging.merge(usable), dict(+skipped), damaged)


def _group_by_series(frames: Sequence[Frame]) -> Iterator[SeriesFrames]:
    patient_of = _unite_patients(frames)
    for series in group_by(
        frames,
        lambda one: (patient_of[id(one)], one.uid("SeriesInstanceUID") or _folder(one), _is_multi_frame(one)),
    ):
        parts = [series]
        if len({frame.uid("StudyInstanceUID") for frame in series} - {""}) > 1:
            parts = group_by(series, lambda frame: frame.uid("StudyInstanceUID") or _folder(frame))
        for part in parts:
            patient = patient_of[id(part[0])]
            study = (patient, next((uid for f in part if (uid := f.uid("StudyInstanceUID"))), _folder(part[0])))
            slices, captures = split_captures(part)
            if _has_repeated_numbers(slices) and not repeats_are_copies(slices):
                for one in group_by(part, _folder):
                    yield SeriesFrames((*study, _folder(one[0])), patient, *split_captures(one))
            else:
                yield SeriesFrames(study, patient, slices, captures)


def _unite_patients(frames: Sequence[Frame]) -> dict[int, Patient]:
    """{id of a frame: its patient}, completed from the frames that share a UID with it, directly or through others."""
    parents: dict[Hashable, Hashable] = {}  # a forest of UIDs, with a tree for those that belong together

    def root(key: Hashable) -> Hashable:
        while (parent := parents.setdefault(key, key)) != key:
            parents[key] = parents[parent]  # shortens the way for the next one
            key = parent
        return key

    keys = []
    for frame in frames:
        uids: list[Hashable] = [(tag, uid) for tag in UIDS if (uid := frame.uid(tag))] or [_folder(frame)]
        keys.append(uids[0])
        for other in uids[1:]:
            parents[root(other)] = root(uids[0])
    together: dict[Hashable, list[Frame]] = {}
    for frame, key in zip(frames, keys, strict=True):
        together.setdefault(root(key), []).append(frame)
    united: dict[int, Patient] = {}
    for group in together.values():
        completed = patients.unite(frame.patient for frame in group)
        united.update((id(frame), completed[frame.patient]) for frame in group)
    return united


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


def _is_multi_frame(frame: Frame) -> bool:
    try:
        return frame.numbers("NumberOfFrames", 1)[0] > 1
    except InputError:
        return False


def _folder(frame: Frame) -> str:
    return f"in {frame.path.parent}"
