"""Read the traits of a CT series from its headers."""

import contextlib
import re
from collections.abc import Sequence

import numpy as np

from ichjax.dicom import description, left_out
from ichjax.dicom.frame import Frame
from ichjax.dicom.left_out import MIN_SLICE_DISTANCE_MM
from ichjax.dicom.ranking import Traits, is_sharp
from ichjax.errors import InputError

AGENT_TAGS = ("ContrastBolusAgent", "ContrastBolusIngredient", "ContrastBolusRoute")
NO_AGENT = ("", "NONE", "NO")  # values of these
AMOUNT_TAGS = ("ContrastBolusVolume", "ContrastBolusTotalDose", "ContrastFlowRate")
MIN_REPEATS = 1.5  # images for each position in a series over time
MIN_PHASES = 3  # as many are no copies


def read_traits(frames: Sequence[Frame]) -> Traits:
    """Reads the traits of a series from its headers; a missing tag counts neither for nor against it."""
    along_mm = positions_mm(frames)
    positions = np.sort(along_mm)
    spacings = np.diff(positions)
    spacings = spacings[spacings >= MIN_SLICE_DISTANCE_MM]  # others are handled when the series is read
    kernel = _first_text(frames[0], "ConvolutionKernel", malformed="")
    agents = {_first_text(frame, tag, malformed="malformed") for frame in frames for tag in AGENT_TAGS}
    said = {frame.description for frame in frames}
    types = [description.interpret(text) for text in {_image_type(frame) for frame in frames}]
    return Traits(
        slices=len(spacings) + 1 if len(positions) else len(frames),
        contrast=any(map(_is_agent, agents)) or any(one.contrast for one in (*said, *types)) or _has_agents(frames[0]),
        sharp=is_sharp(kernel) if kernel else any(one.bone for one in said),
        kernel=kernel,
        slice_spacing_mm=float(np.median(spacings)) if len(spacings) else np.nan,
        extent_mm=float(np.ptp(positions)) if len(positions) else 0.0,
        window_width=_window_width(frames[0]),
        number=series_number(frames[0]),
        part=_only({one.part for one in said}),
        computed=max(one.computed for one in (*said, *types)),  # '' is the lowest
        repeated=_is_repeated(frames, along_mm),
        reformatted="derived" in _image_type(frames[0]),
    )


def positions_mm(frames: Sequence[Frame]) -> np.ndarray:
    """float64 [N], along the normal of the first slice, towards the head; empty if positions or orientation cannot be
    read."""
    try:
        normal = np.cross(*frames[0].orientation())
        normal = normal if normal[2] > 0 else -normal
        return np.array([frame.numbers("ImagePositionPatient", 3) @ normal for frame in frames])
    except InputError:
        return np.zeros(0)


def _is_repeated(frames: Sequence[Frame], along_mm: np.ndarray) -> bool:
    """Whether most positions have several images. Of two, one may be a copy, as of a series stored twice."""
    if not len(along_mm):
        return False
    kept, others = left_out.split_copies(frames, along_mm)
    if len(frames) < MIN_REPEATS * len(kept):
        return False
    if len(frames) >= MIN_PHASES * len(kept):
        return True
    copy, original = others[len(others) // 2]
    try:
        return not left_out.is_copy(frames[copy], frames[original])
    except InputError:
        return True


def _is_agent(text: str) -> bool:
    """Whether the value of one of `AGENT_TAGS` names contrast."""
    return text.upper() not in NO_AGENT and not description.denies_contrast(text)


def _has_agents(frame: Frame) -> bool:
    """Whether an image gives an amount of contrast agent, or an enhanced file lists agents."""
    for tag in AMOUNT_TAGS:
        with contextlib.suppress(InputError):
            if frame.numbers(tag, 1)[0] > 0:
                return True
    with contextlib.suppress(InputError):
        return bool(frame.get("ContrastBolusAgentSequence"))
    return False


def _image_type(frame: Frame) -> str:
    """The values of ImageType and FrameType, in lower case."""
    values: list[str] = []
    for tag in ("ImageType", "FrameType"):
        with contextlib.suppress(InputError):
            values += map(str, np.ravel(frame.get(tag) or ""))
    return " ".join(values).lower()


def _only(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else ""


def series_number(frame: Frame) -> int | None:
    """The SeriesNumber of an image; None if it is missing or malformed."""
    with contextlib.suppress(InputError):
        return int(frame.numbers("SeriesNumber", 1)[0])
    return None


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
