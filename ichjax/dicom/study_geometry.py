"""Compare the series of a study by their positions: parts of one head, and one reconstruction repeated over time."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from ichjax.dicom.header_traits import MIN_PHASES, series_number
from ichjax.dicom.merging import MIN_HEAD_MM
from ichjax.dicom.ranking import Traits
from ichjax.dicom.stacks import SeriesFrames, Stack, shows_more

MAX_STEPS_APART = 1.5  # between parts of one head, also of their overlap, in the larger distance between slices


def mark_phases(traits: Sequence[Traits], stacks: Sequence[Stack | None]) -> list[Traits]:
    """Marks series of one reconstruction at the same positions, if there are `MIN_PHASES`: a perfusion stored as one
    series for each time. Series that differ in their window are not a perfusion.

    Args:
      traits: of each series.
      stacks: their geometry; None for a series whose geometry cannot be read.
    """
    positions: list[Hashable] = []
    for number, (one, stack) in enumerate(zip(traits, stacks, strict=True)):
        place = number if stack is None else np.round(stack.origins_mm, 1).tobytes()
        space = ("", "") if stack is None else (stack.reconstruction, stack.axes, stack.frame_of_reference)
        positions.append((place, space, one.window_width))
    return [
        dataclasses.replace(one, phase=positions.count(place) >= MIN_PHASES)
        for one, place in zip(traits, positions, strict=True)
    ]


def note_other_parts(
    study: Sequence[tuple[Traits, SeriesFrames, Stack | None]],
) -> list[tuple[Traits, SeriesFrames]]:
    """Adds a note to series of a study that each show something that the other does not: perhaps parts of one head.

    Args:
      study: traits, images and geometry of each series, in the order of preference.

    Returns:
      (traits, images) of each series, in the same order.
    """
    noted = []
    for traits, series, stack in study:
        for other_traits, _, other in study:
            if stack and other and _may_complete(traits, stack, other_traits, other):
                series = dataclasses.replace(series, notes=(*series.notes, _note(other)))
                break
        noted.append((traits, series))
    return noted


def _may_complete(traits: Traits, stack: Stack, other_traits: Traits, other: Stack) -> bool:
    """Whether another series may show the rest of the head. A long one without a skull does not."""
    if not (shows_more(other, stack) and shows_more(stack, other)):
        return False
    if other_traits.head is not None and not other_traits.head.is_head and other_traits.extent_mm > MIN_HEAD_MM:
        return False
    if other.reconstruction == stack.reconstruction:
        return True
    return _is_plain(traits) and _is_plain(other_traits) and _meet(stack, other)


def _is_plain(traits: Traits) -> bool:
    return not (traits.computed or traits.has_contrast or traits.names_other_part or traits.reformatted)


def _meet(one: Stack, other: Stack) -> bool:
    """Whether one stack ends about where the other one begins."""
    if not one.frame_of_reference or one.frame_of_reference != other.frame_of_reference:
        return False
    apart_mm = max(one.along_mm[0], other.along_mm[0]) - min(one.along_mm[-1], other.along_mm[-1])
    return bool(abs(apart_mm) <= MAX_STEPS_APART * np.fmax(one.step_mm, other.step_mm))


def _note(other: Stack) -> str:
    number = series_number(other.series.frames[0])
    name = "another series" if number is None else f"series {number}"
    return (
        f"{name} of the study ({len(other.along_mm)} slices) shows positions that this one lacks, and could not be "
        "merged with it: a part of the head may lie there"
    )
