"""Rank the series of a study, after checking a few slices of those that could be the plain head."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from ichjax.dicom import left_out, ranking, study_geometry
from ichjax.dicom.frame import Frame
from ichjax.dicom.header_traits import positions_mm, read_traits
from ichjax.dicom.pixels import check_size, decode, size, to_hu
from ichjax.dicom.ranking import Reference, Traits
from ichjax.dicom.stacks import SeriesFrames, read_stack
from ichjax.errors import InputError, only_input_errors
from ichjax.scan.head_check import HeadCheck, check_head

MAX_CHECKED_SLICES = 24  # of a series
CHECKED_MM = 300.0  # from its upper end: a head, also at the end of a scan of the whole body


def rank(all_series: Sequence[SeriesFrames]) -> tuple[list[tuple[Traits, SeriesFrames]], Reference]:
    """(the series of a study with their traits, the preferred one first; what the plain ones cover).

    Images are decoded only of studies with several series: first of those that no header rules out, then, if none of
    them shows a head, of those with contrast, then of computed ones.
    """
    stacks = [read_stack(series) for series in all_series]
    traits = [
        read_traits(series.frames) if stack is None else stack.traits
        for series, stack in zip(all_series, stacks, strict=True)
    ]
    if len(traits) > 1:
        traits = study_geometry.mark_phases(traits, stacks)
        for level in range(3):
            for k in [k for k, one in enumerate(traits) if _level(one) == level]:
                traits[k] = _check(traits[k], all_series[k].frames)
            if any(one.shows_head for one in traits):
                break
    reference = ranking.find_reference(traits)
    order = sorted(
        zip(traits, all_series, stacks, strict=True),
        key=lambda one: (*ranking.sort_key(one[0], reference), min(frame.path for frame in one[1].frames)),
    )
    return study_geometry.note_other_parts(order), reference


def _level(traits: Traits) -> int:
    """How soon its image is checked: 0 for a series that no header rules out; 3 for never."""
    return 3 if traits.repeated else 2 if traits.computed else int(traits.contrast)


def _check(traits: Traits, frames: Sequence[Frame]) -> Traits:
    """The traits completed by the image. A series that cannot be read is marked, and costs the others nothing."""
    try:
        with only_input_errors(frames[0].path.name):
            return dataclasses.replace(traits, head=check_frames(frames))
    except InputError:
        return dataclasses.replace(traits, readable=False)


def check_frames(frames: Sequence[Frame]) -> HeadCheck | None:
    """Decodes evenly spaced slices of a series, at most `MAX_CHECKED_SLICES`, and checks them for a head.

    Raises:
      InputError: a tag is missing or malformed, or pixels cannot be decoded.
    """
    along_mm = positions_mm(frames)
    if not len(along_mm):
        raise InputError(f"{frames[0].path.name}: lacks its position or orientation; expected both in every slice")
    kept, _ = left_out.split_copies(frames, along_mm)
    upper = [k for k in kept if along_mm[k] >= along_mm[kept[-1]] - CHECKED_MM]
    steps = np.linspace(0, len(upper) - 1, min(len(upper), MAX_CHECKED_SLICES))
    checked = [upper[int(k)] for k in np.rint(steps)]
    rows, columns = size(frames[checked[0]])
    check_size(frames, rows, columns)
    hu = np.empty((len(checked), int(rows), int(columns)), np.int16)
    decoded: tuple[pathlib.Path, np.ndarray] | None = None  # a file may hold all slices
    for plane, k in zip(hu, checked, strict=True):
        frame = frames[k]
        if decoded is None or decoded[0] != frame.path:
            decoded = frame.path, decode(frame.path)
        pixels = decoded[1]
        plane[:] = to_hu(pixels[frame.index] if pixels.ndim == 3 else pixels, frame)
    row_mm, column_mm = frames[checked[0]].numbers("PixelSpacing", 2)
    return check_head(hu, along_mm[checked], (float(row_mm), float(column_mm)))
