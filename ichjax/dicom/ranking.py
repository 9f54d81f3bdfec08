"""Rank the CT series of a study for hemorrhage detection: no contrast, a soft kernel, slices of about 5 mm.

Scanners reconstruct one acquisition several times (thin, thick, with a bone kernel) and repeat it with contrast. Only
tags that do not identify a patient are used: free text such as SeriesDescription is not read.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from ichjax.dicom.frame import Frame
from ichjax.dicom.left_out import MIN_SLICE_DISTANCE_MM
from ichjax.errors import InputError

SLICE_SPACING_RANGE_MM = (2.5, 6.0)  # of series that are read for hemorrhage
MIN_COVERAGE = 0.5  # of the longest series' extent: a shorter one shows only part of the head
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
    """

    slices: int
    contrast: bool
    sharp: bool
    kernel: str
    slice_spacing_mm: float
    extent_mm: float
    window_width: float

    @property
    def has_usual_spacing(self) -> bool:
        """Whether the slice spacing is in `SLICE_SPACING_RANGE_MM`."""
        return SLICE_SPACING_RANGE_MM[0] <= self.slice_spacing_mm <= SLICE_SPACING_RANGE_MM[1]

    def drawbacks(self) -> list[str]:
        """Reasons not to prefer the series, for messages."""
        reasons = ["contrast"] if self.contrast else []
        reasons += [f"sharp kernel {self.kernel}"] if self.sharp else []
        if np.isnan(self.slice_spacing_mm):
            reasons.append("slices of unknown distance")
        elif not self.has_usual_spacing:
            reasons.append(f"slices every {self.slice_spacing_mm:.1f} mm")
        return reasons

    def sort_key(self, longest_mm: float) -> tuple[bool | float, ...]:
        """Sorts the preferred series first: complete, no contrast, soft kernel, usual slice spacing; then the most
        slices, then the narrowest window.

        Args:
          longest_mm: the largest extent among the series of the study.
        """
        incomplete = self.extent_mm < MIN_COVERAGE * longest_mm
        return incomplete, self.contrast, self.sharp, not self.has_usual_spacing, -self.slices, self.window_width


def read_traits(frames: Sequence[Frame]) -> Traits:
    """Reads the traits of a series from its headers; a missing tag counts neither for nor against it."""
    positions = np.sort(_positions(frames))
    spacings = np.diff(positions)
    spacings = spacings[spacings >= MIN_SLICE_DISTANCE_MM]  # others are handled when the series is read
    kernel = _first_text(frames[0], "ConvolutionKernel", malformed="")
    agents = {_first_text(frame, "ContrastBolusAgent", malformed="malformed").upper() for frame in frames}
    return Traits(
        slices=len(spacings) + 1 if len(positions) else len(frames),
        contrast=bool(agents - {"", "NONE", "NO"}),
        sharp=is_sharp(kernel),
        kernel=kernel,
        slice_spacing_mm=float(np.median(spacings)) if len(spacings) else np.nan,
        extent_mm=float(np.ptp(positions)) if len(positions) else 0.0,
        window_width=_window_width(frames[0]),
    )


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


def _positions(frames: Sequence[Frame]) -> np.ndarray:
    """float64 [N], along the normal of the first slice; empty if positions or orientation cannot be read."""
    try:
        normal = np.cross(*frames[0].orientation())
        return np.array([frame.numbers("ImagePositionPatient", 3) @ normal for frame in frames])
    except InputError:
        return np.zeros(0)


def _first_text(frame: Frame, keyword: str, *, malformed: str) -> str:
    """The (first) value of a tag as one line of text; '' if it is missing."""
    try:
        value = frame.get(keyword)
    except InputError:
        return malformed
    if value is None:
        return ""
    first = value if isinstance(value, str) else next(iter(value), "") if hasattr(value, "__iter__") else value
    return re.sub(r"[^\w.+-]+", " ", str(first)).strip()[:32]


def _window_width(frame: Frame) -> float:
    """The (first) width of the window; inf if it is missing or not a number."""
    try:
        width = float(np.ravel(np.array(frame.get("WindowWidth"), dtype=np.float64))[0])
    except (TypeError, ValueError, IndexError):
        return np.inf
    return np.inf if np.isnan(width) else width  # a missing value converts to NaN, which has no rank
