"""Which of a folder's CT series one reads for a bleed: no contrast, a soft kernel, slices of about 5 mm.

Scanners reconstruct one scan several times (thin, thick, for the bones) and repeat it with contrast. Nothing that
identifies a patient is looked at: free text such as SeriesDescription is not read.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from ichjax.dicom.frame import Frame
from ichjax.errors import InputError

GAP_MM = (2.5, 6.0)  # between slices of a head CT that is read for a bleed
WHOLE_SHARE = 0.5  # of the longest series' extent: a shorter one shows a part of the head
SHARP_NAMES = {"BONE", "BONEPLUS", "EDGE", "LUNG", "ULTRA"}  # GE
SHARP_LETTERS = {"D", "E", "F", "L", "YA", "YB", "YC", "YD"}  # Philips
SHARP_FROM = 50  # Siemens, whose names hold a sharpness: H31s, Hr59, J30s, Br64
SHARP_FC = ((30, 39), (50, 59), (80, 89))  # Canon and Toshiba, FC30 and so on


@dataclasses.dataclass(frozen=True)
class Traits:
    """What decides about a series.

    Attributes:
      contrast: whether its header names a contrast agent.
      sharp: whether it was reconstructed with a kernel for bones or lungs, by the kernel's name.
      kernel: that name; '' where there is none.
      gap_mm: median distance of neighbouring slices along their normal; nan where positions cannot be read.
      extent_mm: from the first to the last slice.
      window: its WindowWidth, which is narrow for soft tissue; inf where there is none.
    """

    contrast: bool
    sharp: bool
    kernel: str
    slice_spacing_mm: float
    extent_mm: float
    window: float

    def remarks(self) -> list[str]:
        """What speaks against it, in words."""
        found = ["contrast"] if self.contrast else []
        found += [f"sharp kernel {self.kernel}"] if self.sharp else []
        low, high = GAP_MM
        if not low <= self.slice_spacing_mm <= high:
            gap = "of unknown distance" if np.isnan(self.slice_spacing_mm) else f"every {self.slice_spacing_mm:.1f} mm"
            found.append(f"slices {gap}")
        return found


def traits(frames: Sequence[Frame]) -> Traits:
    """Reads what decides about a series from its headers; what is missing speaks neither for nor against it."""
    positions = np.sort(_positions(frames))
    gaps = np.diff(positions)
    gaps = gaps[gaps > 0.01]  # a slice that is there twice is told when the series is read
    kernel = _text(frames[0], "ConvolutionKernel", malformed="")
    agents = {_text(frame, "ContrastBolusAgent", malformed="malformed").upper() for frame in frames}
    return Traits(
        contrast=bool(agents - {"", "NONE", "NO"}),
        sharp=is_sharp(kernel),
        kernel=kernel,
        slice_spacing_mm=float(np.median(gaps)) if len(gaps) else np.nan,
        extent_mm=float(np.ptp(positions)) if len(positions) else 0.0,
        window=_window(frames[0]),
    )


def preference(series: Traits, slices: int, longest_mm: float) -> tuple:
    """Sorts series, the one to take first: whole, no contrast, soft, slices in `GAP_MM`; then the most slices, then
    the narrowest window.

    Args:
      series: of one series.
      slices: its number of slices.
      longest_mm: the largest extent among those to choose from.
    """
    low, high = GAP_MM
    return (
        series.extent_mm < WHOLE_SHARE * longest_mm,
        series.contrast,
        series.sharp,
        not low <= series.slice_spacing_mm <= high,
        -slices,
        series.window,
    )


def is_sharp(kernel: str) -> bool:
    """Whether a ConvolutionKernel is one for bones or lungs, by the naming of GE, Siemens, Philips and Canon; False
    where the name is not known."""
    name = kernel.strip().upper()
    if name in SHARP_NAMES or name in SHARP_LETTERS:
        return True
    if canon := re.fullmatch(r"FC(\d{2})\w*", name):
        return any(low <= int(canon[1]) <= high for low, high in SHARP_FC)
    siemens = re.match(r"[A-Z]{1,2}(\d{2})", name)
    return bool(siemens) and int(siemens[1]) >= SHARP_FROM


def _positions(frames: Sequence[Frame]) -> np.ndarray:
    """float64 [N], along the normal of the first slice; empty where positions or orientation cannot be read."""
    try:
        normal = np.cross(*frames[0].orientation())
        return np.array([frame.numbers("ImagePositionPatient", 3) @ normal for frame in frames])
    except InputError:
        return np.zeros(0)


def _text(frame: Frame, keyword: str, *, malformed: str) -> str:
    """A value as one line; of several the first; '' where there is none."""
    try:
        value = frame.get(keyword)
    except InputError:
        return malformed
    if value is None:
        return ""
    first = value if isinstance(value, str) else next(iter(value), "") if hasattr(value, "__iter__") else value
    return re.sub(r"[^\w.+-]+", " ", str(first)).strip()[:32]


def _window(frame: Frame) -> float:
    try:
        return float(np.ravel(np.array(frame.get("WindowWidth"), dtype=np.float64))[0])
    except (TypeError, ValueError, IndexError):
        return np.inf
