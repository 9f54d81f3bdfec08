"""Merge series that are parts of one scan, by their geometry, since UIDs and numbers may be wrong.

Typical are base of the skull and vertex as two series, odd and even slices, and anonymizers that give each image a
series or a study of its own.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from ichjax.dicom import patients
from ichjax.dicom.header_traits import series_number
from ichjax.dicom.patients import Patient
from ichjax.dicom.stacks import (
    TOLERANCE,
    SeriesFrames,
    Stack,
    complete_each_other,
    group_by,
    interleave,
    read_stack,
)

MAX_HEAD_MM = 250.0  # from chin to vertex
MIN_HEAD_MM = 80.0  # a shorter series is a part of a head


def merge(all_series: Sequence[SeriesFrames]) -> list[SeriesFrames]:
    """Merges series that are parts of one scan, and marks ambiguous ones.

    Series are one scan if they agree in patient, frame of reference, orientation, matrix, pixel spacing and
    reconstruction, and if their slices complete each other (`stacks.complete_each_other`). A head and what lies below
    it are not merged.

    Returns:
      The series, a merged one at the place of its first one, with a note. Two kinds get a problem: series that look
      like one scan but name two patients, and slices that each are a series, look like one scan and cannot be merged.
    """
    if len(all_series) == 1:
        return list(all_series)
    stacks: list[Stack] = []
    unreadable: list[SeriesFrames] = []
    for series in all_series:
        if (stack := read_stack(series)) is None:
            unreadable.append(series)
        else:
            stacks.append(stack)
    for place in (lambda series: series.study, _folder):  # unnamed slices of one study, then of one folder
        stacks = _merge_single_slices(stacks, place)
    stacks = _merge_stacks(stacks)
    for place in (lambda series: series.study, _folder):
        stacks = _refuse_single_slices(stacks, place)
    merged = [*unreadable, *(stack.series for stack in stacks)]
    order = {id(series.frames[0]): k for k, series in enumerate(all_series)}
    return sorted(merged, key=lambda series: order[id(series.frames[0])])


def _merge_single_slices(stacks: Sequence[Stack], place: Callable[[SeriesFrames], Hashable]) -> list[Stack]:
    """Merges series of one slice, grouped by `place` if they name no patient. Their SeriesNumber separates them, unless
    each has its own."""

    def scan(stack: Stack) -> Hashable:
        where = () if _is_named(stack.series.patient) else place(stack.series)
        return stack.reconstruction, _space(stack), stack.series.patient, where

    merged = [stack for stack in stacks if not stack.is_single]
    for alike in group_by((stack for stack in stacks if stack.is_single), scan):
        by_number = group_by(alike, lambda stack: series_number(stack.series.frames[0]))
        for one in [alike] if len(by_number) == len(alike) else by_number:
            merged.append(_join(one))
    return merged


def _merge_stacks(stacks: Sequence[Stack]) -> list[Stack]:
    """Merges series of any number of slices, first those with the same distance between slices."""
    merged: list[Stack] = []
    for alike in group_by(stacks, lambda stack: (stack.reconstruction, _space(stack))):
        for same_step in (True, False):
            alike = [one for part in _connected(alike, same_step=same_step) for one in _merge_connected(part)]
        merged += alike
    return merged


def _space(stack: Stack) -> Hashable:
    """Orientation and frame of reference; without the latter only images of one series are in one space."""
    return stack.axes, stack.frame_of_reference or ("series", stack.series_uid)


def _connected(stacks: Sequence[Stack], *, same_step: bool) -> Iterator[list[Stack]]:
    """Groups stacks that are connected by pairs that may be one scan."""
    rest = list(stacks)
    while rest:
        group, new = [], [rest.pop(0)]
        while new:
            stack = new.pop()
            group.append(stack)
            fitting = [other for other in rest if _may_be_one(stack, other, same_step=same_step)]
            rest = [other for other in rest if not any(other is one for one in fitting)]
            new += fitting
        yield group


def _may_be_one(one: Stack, other: Stack, *, same_step: bool) -> bool:
    """Whether two series of one space and reconstruction complete each other, and their headers allow for it.

    The patients need only share a name or an ID, or the UID of a series in which slices of both alternate or one is
    left over: whether they are one is decided for all series of a scan together.
    """
    if same_step and abs(one.step_mm - other.step_mm) > TOLERANCE * max(one.step_mm, other.step_mm):
        return False
    same_patient = patients.is_compatible(one.series.patient, other.series.patient)
    related = bool(one.series_uid) and one.series_uid == other.series_uid
    related |= bool(one.study_uid) and one.study_uid == other.study_uid and bool(one.frame_of_reference)
    if related:
        allowed = same_patient or patients.shares_name_or_id(one.series.patient, other.series.patient)
        mixed = interleave(one, other) or one.is_single or other.is_single
        allowed |= mixed and bool(one.series_uid) and one.series_uid == other.series_uid
    else:
        allowed = same_patient and _is_named(one.series.patient)
    return allowed and not _is_head_and_more(one, other) and complete_each_other([one, other])


def _is_head_and_more(one: Stack, other: Stack) -> bool:
    """Whether two stacks one above the other are together longer than a head, which either may show alone."""
    extent_mm = float(np.ptp(np.concatenate([one.along_mm, other.along_mm])))
    longer_mm = max(float(np.ptp(stack.along_mm)) for stack in (one, other))
    return extent_mm > MAX_HEAD_MM and longer_mm > MIN_HEAD_MM and not interleave(one, other)


def _merge_connected(stacks: Sequence[Stack]) -> list[Stack]:
    """The stacks as one if all complete each other, with a problem if their patients differ; otherwise as they are."""
    if len(stacks) == 1 or not complete_each_other(stacks):
        return list(stacks)
    if keyword := patients.contradiction(stack.series.patient for stack in stacks):
        names = " and ".join(stack.series.frames[0].path.name for stack in stacks[:2])
        problem = (
            f"{names}: by their positions slices of one scan, but they differ in {keyword}; expected the images of one "
            "patient"
        )
        return [stack.with_fields(problem=problem) for stack in stacks]
    return [_join(stacks)]


def _join(stacks: Sequence[Stack]) -> Stack:
    """The stacks as one; a note says so, unless they have one series UID and name their patient."""
    if len(stacks) == 1:
        return stacks[0]
    first = stacks[0].series
    joined = read_stack(
        dataclasses.replace(
            first,
            patient=next(iter(patients.unite(stack.series.patient for stack in stacks).values())),
            frames=[frame for stack in stacks for frame in stack.series.frames],
            left_out=[frame for stack in stacks for frame in stack.series.left_out],
            notes=(),
        )
    )
    assert joined is not None  # as its parts could be read
    count = len({frame.uid("SeriesInstanceUID") for frame in joined.series.frames})
    if count == 1 and _is_named(first.patient):
        return joined
    parts = f"{count} series" if count > 1 else f"{len(stacks)} folders"
    return joined.with_fields(notes=(f"merged from {parts} whose slices complete each other",))


def _refuse_single_slices(stacks: Sequence[Stack], place: Callable[[SeriesFrames], Hashable]) -> list[Stack]:
    """Gives a problem to slices that each are a series, look like one scan and could not be merged."""

    def scan(stack: Stack) -> Hashable:
        where = () if _is_named(stack.series.patient) else place(stack.series)
        return stack.is_single or id(stack), stack.reconstruction, stack.axes, stack.series.patient, where

    checked: list[Stack] = []
    for alike in group_by(stacks, scan):
        if len({round(float(stack.along_mm[0]), 2) for stack in alike}) > 1:
            problem = (
                f"{alike[0].series.frames[0].path.name} and {len(alike) - 1} more: each is a series of one slice, and "
                "no FrameOfReferenceUID says that they are one scan; expected one series of all slices"
            )
            alike = [stack.with_fields(problem=problem) for stack in alike]
        checked += alike
    return checked


def _folder(series: SeriesFrames) -> Hashable:
    return series.frames[0].path.parent


def _is_named(patient: Patient) -> bool:
    """Whether there is an ID or a name."""
    return any(patient[:2])
