"""Rank the CT series of a study for hemorrhage detection: a plain head, a soft kernel, slices of about 5 mm.

Scanners reconstruct one acquisition several times (thin, thick, with a bone kernel, as MIP), repeat it with contrast or
over time, and scan other parts of the body in the same study. A plain head is recognized by its header, of whose free
text only `description.Description` is kept, and by its image (`scan.head_check`). `CRITERIA` holds the order.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ichjax.dicom.description import HEAD
from ichjax.scan.head_check import HeadCheck

SLICE_SPACING_RANGE_MM = (2.5, 6.0)  # of series that are read for hemorrhage
SLICE_SPACING_MM = 5.0  # the best
MIN_COVERAGE = 0.5  # of the longest series' extent: a shorter one shows only part of the head
MIN_INSIDE_COVERAGE = 0.75  # of the highest inside of a skull
FULL_INSIDE_MM = 130.0  # height of the inside of a skull that is shown completely
MAX_EXTENT_MM = 350.0  # of a series of the head and nothing else
MAX_BEYOND_MM = 100.0  # of such a series, beyond the inside of the skull
SHARP_NAMES = {"BONE", "BONEPLUS", "EDGE", "LUNG", "ULTRA"}  # GE
SHARP_LETTERS = {"D", "E", "F", "L", "YA", "YB", "YC", "YD"}  # Philips
MIN_SHARPNESS = 50  # Siemens, whose kernel names contain a sharpness: H31s, Hr59, J30s, Br64
SHARP_FC = ((30, 39), (50, 59), (80, 89))  # Canon and Toshiba, FC30 and so on


@dataclasses.dataclass(frozen=True)
class Traits:
    """Properties of a series that decide its rank.

    Attributes:
      slices: the number of slices at different positions; of images if positions are unreadable.
      contrast: whether its header names a contrast agent.
      sharp: whether its kernel is a bone or lung kernel.
      kernel: the kernel's name; '' if there is none.
      slice_spacing_mm: median distance between neighboring slices along their normal; nan if positions are unreadable.
      extent_mm: from the first to the last slice.
      window_width: narrow for soft tissue; inf if there is none.
      number: its SeriesNumber; None if there is none.
      part: the body part that its header names, as in `Description`.
      computed: the kind of computed images that its header names, as in `Description`.
      repeated: whether it has several images at most positions, as over time, that are not copies.
      phase: whether it is one of several series at the same positions, as of a perfusion.
      reformatted: whether its header says that it was derived from other images.
      head: what its image shows; None if it was not checked, or is too small to tell.
      readable: whether its slices could be decoded when they were checked.
    """

    slices: int
    contrast: bool
    sharp: bool
    kernel: str
    slice_spacing_mm: float
    extent_mm: float
    window_width: float
    number: int | None = None
    part: str = ""
    computed: str = ""
    repeated: bool = False
    phase: bool = False
    reformatted: bool = False
    head: HeadCheck | None = None
    readable: bool = True

    @property
    def has_usual_spacing(self) -> bool:
        """Whether the slice spacing is in `SLICE_SPACING_RANGE_MM`."""
        return SLICE_SPACING_RANGE_MM[0] <= self.slice_spacing_mm <= SLICE_SPACING_RANGE_MM[1]

    @property
    def shows_head(self) -> bool:
        """Whether its image shows a head; False if it was not checked."""
        return self.head is not None and self.head.is_head

    @property
    def has_contrast(self) -> bool:
        """Whether its header or its image says so."""
        return self.contrast or (self.head is not None and self.head.has_vessels)

    @property
    def names_other_part(self) -> bool:
        """Whether its header names another part than the head."""
        return self.part not in ("", HEAD)

    @property
    def extends_beyond_head(self) -> bool:
        """Whether it is longer than a head."""
        beyond_mm = self.extent_mm - self.head.height_mm if self.head is not None and self.head.is_head else 0.0
        return self.extent_mm > MAX_EXTENT_MM or beyond_mm > MAX_BEYOND_MM

    def doubt(self) -> int:
        """How doubtful it is that it shows a head: 0 it does; 1 unknown; 2 another part by header; 3 no head by image.

        The image outranks the header, which a protocol may fill in for all series of a study. But a spine series that
        begins at the skull base shows a skull too: without the vertex, the header decides.
        """
        if not self.readable or (self.head is not None and not self.head.is_head):
            return 3
        if self.head is None:
            return 2 if self.names_other_part else 1
        return 2 if self.names_other_part and not self.head.has_vertex else 0

    def drawbacks(self) -> list[str]:
        """Reasons not to prefer the series, for messages."""
        worst = [criterion for criterion in CRITERIA if criterion.value(self, NOTHING) > criterion.acceptable]
        return [criterion.phrase(self) for criterion in worst]


class Reference(NamedTuple):
    """The most that a plain series of the study covers: whether a vertex, mm of the inside of a skull, mm in all."""

    has_vertex: bool
    inside_mm: float
    extent_mm: float


NOTHING = Reference(False, 0.0, 0.0)


def find_reference(study: Sequence[Traits]) -> Reference:
    """What the plain series of a study cover; all series, if none is plain."""
    plain = [one for one in study if not (one.repeated or one.computed or one.has_contrast or one.names_other_part)]
    plain = [one for one in plain if one.doubt() < 2] or list(study)
    heads = [one.head for one in plain if one.head is not None and one.head.is_head]
    return Reference(
        any(head.has_vertex for head in heads),
        min(max((head.height_mm for head in heads), default=0.0), FULL_INSIDE_MM),
        max(one.extent_mm for one in plain),
    )


class Criterion(NamedTuple):
    """One comparison of series: the lower value is preferred.

    Attributes:
      value: of a series, given what the others cover.
      phrase: the drawback of a series with a higher value, for messages.
      acceptable: above this value, the drawback is reported even if the series is the only one.
    """

    value: Callable[[Traits, Reference], float]
    phrase: Callable[[Traits], str]
    acceptable: float = np.inf


def _is_incomplete(traits: Traits, reference: Reference) -> bool:
    if traits.head is None or not traits.head.is_head:
        return traits.extent_mm < MIN_COVERAGE * reference.extent_mm
    lacks_vertex = reference.has_vertex and not traits.head.has_vertex
    return lacks_vertex or traits.head.height_mm < MIN_INSIDE_COVERAGE * reference.inside_mm


def _spacing_error(traits: Traits, _: Reference) -> float:
    """Distance of a usual spacing from the best one in mm, rounded: 4.5 and 5 mm are equal. Others are not compared."""
    return round(abs(traits.slice_spacing_mm - SLICE_SPACING_MM)) if traits.has_usual_spacing else 0


def _doubt_phrase(traits: Traits) -> str:
    if not traits.readable:
        return "slices that cannot be read"
    if traits.doubt() < 3:
        return _part_phrase(traits) if traits.doubt() == 2 else "not known to show a head"
    return f"{traits.part}: no skull of a head's size" if traits.names_other_part else "no skull of a head's size"


def _part_phrase(traits: Traits) -> str:
    return f"{traits.part} (by its header)"


def _contrast_phrase(traits: Traits) -> str:
    return "contrast" if traits.contrast else "contrast (enhanced vessels in the image)"


def _spacing_phrase(traits: Traits) -> str:
    if np.isnan(traits.slice_spacing_mm):
        return "slices of unknown distance"
    return f"slices every {traits.slice_spacing_mm:.1f} mm"


CRITERIA = (  # the most important first
    Criterion(lambda t, _: t.repeated, lambda _: "several images at each position (perfusion or phases)", 0),
    Criterion(lambda t, _: t.doubt(), _doubt_phrase, 1),
    Criterion(lambda t, _: bool(t.computed), lambda t: f"computed images ({t.computed})", 0),
    Criterion(_is_incomplete, lambda _: "less of the head"),
    Criterion(lambda t, _: t.has_contrast, _contrast_phrase, 0),
    Criterion(lambda t, _: t.names_other_part, _part_phrase),
    Criterion(lambda t, _: t.extends_beyond_head, lambda t: f"more than a head, {t.extent_mm:.0f} mm", 0),
    Criterion(lambda t, _: t.sharp, lambda t: f"sharp kernel {t.kernel}".strip(), 0),
    Criterion(lambda t, _: t.phase, lambda _: "one of several series at the same positions (perfusion or phases)", 0),
    Criterion(lambda t, _: not t.has_usual_spacing, _spacing_phrase, 0),
    Criterion(_spacing_error, _spacing_phrase),
    Criterion(lambda t, _: t.reformatted, lambda _: "reformatted"),
    Criterion(lambda t, _: -t.slices, lambda _: "fewer slices"),
    Criterion(lambda t, _: t.window_width, lambda _: "a wider window"),
)


def sort_key(traits: Traits, reference: Reference) -> tuple[float, ...]:
    """Sorts the preferred series of a study first, by `CRITERIA`."""
    return tuple(criterion.value(traits, reference) for criterion in CRITERIA)


def reason(traits: Traits, chosen: Traits, reference: Reference) -> str:
    """Why a series of lower rank is left out: its drawbacks that the chosen one lacks, else the first difference."""
    worse = [one for one in CRITERIA if one.value(traits, reference) > one.value(chosen, reference)]
    drawbacks = [one for one in worse if one.value(traits, reference) > one.acceptable]
    return ", ".join(one.phrase(traits) for one in drawbacks or worse[:1]) or "no difference that matters"


def is_sharp(kernel: str) -> bool:
    """Whether a ConvolutionKernel is a bone or lung kernel, by the names of GE, Siemens, Philips and Canon; False for
    unknown names."""
    name = kernel.strip().upper()
    if name in SHARP_NAMES or name in SHARP_LETTERS:
        return True
    if canon := re.fullmatch(r"FC(\d{2})\w*", name):
        return any(low <= int(canon[1]) <= high for low, high in SHARP_FC)
    siemens = re.match(r"[A-Z]{1,2}(\d{2})", name)
    return siemens is not None and int(siemens[1]) >= MIN_SHARPNESS
