"""Leave out images of a CT series that are not slices of it: captures, such as dose sheets, stray images, and copies of
slices."""

import collections
import contextlib
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from ichjax.dicom.frame import UID_PATTERN, Frame
from ichjax.dicom.pixels import MAX_SIDE_PX, decode, to_hu
from ichjax.errors import InputError
from ichjax.scan.volume import PLAUSIBLE_MM

ROUNDING_MM = 0.06  # positions may be rounded to 0.1 mm
MIN_SLICE_DISTANCE_MM = ROUNDING_MM  # closer slices are duplicates
MIN_SLICES = 4  # of a series in which stray images are sought
MAX_STEP_RATIO = 1.1  # between neighboring distances between slices, of which none is a gap
MAX_STRAY_SHARE = 0.25  # of its images
MAX_LISTED_FILES = 5  # in a sentence
PLANE_TAGS = ("ImagePositionPatient", "ImageOrientationPatient")
DISTINCT_TAGS = ("ImageType", "Rows", "Columns", "SamplesPerPixel")  # a capture differs from all slices in one
NOT_A_SLICE = ("not a slice of the scan", "not slices of the scan")
COPY = ("a copy of another slice", "copies of other slices")


def split_captures(frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """(the slices of a series, images that are not slices), each in the given order.

    An image without a position or an orientation is not a slice if it has no PixelSpacing either, or if it differs from
    all slices in ImageType, size or colors. Nor is a color image at the position of a slice. Others are kept, to be
    reported when the series is read: each could be a slice with a damaged header, and skipping it would leave a gap.
    If at least half of the images seem not to be slices, all are kept. Stray images (`_strays`) are not slices either.
    """
    slices, captures = _split_captures(frames)
    strays = _strays(slices)
    return [frame for frame in slices if id(frame) not in strays], [
        *captures,
        *(frame for frame in slices if id(frame) in strays),
    ]


def _split_captures(frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    unusual = {id(frame) for frame in frames if _is_color(frame) or _lacks_any(frame)}
    if not unusual:
        return list(frames), []
    slices = [frame for frame in frames if id(frame) not in unusual]
    known = {keyword: {None} | {_value(frame, keyword) for frame in slices} for keyword in DISTINCT_TAGS}

    def is_capture(frame: Frame) -> bool:
        if not _lacks_any(frame):
            return _is_color(frame) and any(_same_place(frame, other) for other in slices)
        if all(_lacks(frame, keyword) for keyword in (*PLANE_TAGS, "PixelSpacing")):
            return True
        return any(_value(frame, keyword) not in values for keyword, values in known.items())

    captures = [frame for frame in frames if id(frame) in unusual and is_capture(frame)]
    if 2 * len(captures) >= len(frames):
        return list(frames), []
    left_out = set(map(id, captures))
    return [frame for frame in frames if id(frame) not in left_out], captures


def _strays(frames: Sequence[Frame]) -> set[int]:
    """The ids of the few images, in separate files, that are not slices despite their tags.

    They differ from most images in type, size, pixel spacing or orientation, and lie where the others leave no gap. Or
    it is a single image, farther from all others than slices can be.
    """
    if len(frames) < MIN_SLICES or any((frame.get("NumberOfFrames") or 1) > 1 for frame in frames):
        return set()
    try:
        kinds = [_kind(frame) for frame in frames]
        ((usual_kind, _),) = collections.Counter(kinds).most_common(1)
        is_usual = np.array([kind == usual_kind for kind in kinds])
        normal = np.cross(*frames[int(is_usual.argmax())].orientation())
        along_mm = np.array([frame.numbers("ImagePositionPatient", 3) @ normal for frame in frames])
    except InputError:  # reported when the series is read
        return set()
    order = np.argsort(along_mm)
    gaps_mm = np.diff(along_mm[order], prepend=-np.inf, append=np.inf)
    is_remote = np.zeros(len(frames), bool)
    is_remote[order] = np.minimum(gaps_mm[:-1], gaps_mm[1:]) > PLAUSIBLE_MM["slices"][1]
    positions_mm = np.sort(along_mm[is_usual & ~is_remote])
    positions_mm = positions_mm[np.diff(positions_mm, prepend=-np.inf) >= MIN_SLICE_DISTANCE_MM]
    is_stray = is_remote & (is_remote.sum() == 1)
    for k in np.flatnonzero(~is_usual):
        is_stray[k] |= _is_covered(along_mm[k], positions_mm)
    if is_stray.sum() > MAX_STRAY_SHARE * len(frames):
        return set()
    return {id(frame) for frame, stray in zip(frames, is_stray, strict=True) if stray}


def _is_covered(position_mm: float, others_mm: np.ndarray) -> bool:
    """Whether slices at sorted positions leave no gap at another position: one is there, or the two around it are no
    farther apart than their neighbors."""
    if not len(others_mm) or np.abs(others_mm - position_mm).min() < MIN_SLICE_DISTANCE_MM:
        return bool(len(others_mm))
    steps, k = np.diff(others_mm), int(np.searchsorted(others_mm, position_mm)) - 1
    neighbors = [steps[j] for j in (k - 1, k + 1) if 0 <= j < len(steps)]
    return 0 <= k < len(steps) and bool(neighbors) and bool(steps[k] <= MAX_STEP_RATIO * min(neighbors))


def _kind(frame: Frame) -> Hashable:
    """What all slices of a scan have in common."""
    spacing = tuple(np.round(frame.numbers("PixelSpacing", 2), 2))
    return *(_value(frame, tag) for tag in DISTINCT_TAGS), spacing, tuple(np.round(frame.orientation().ravel(), 2))


def split_copies(frames: Sequence[Frame], along_mm: np.ndarray) -> tuple[list[int], list[tuple[int, int]]]:
    """Finds images at one position along the slice normal.

    Args:
      frames: of a series.
      along_mm: float [N], their positions along the normal.

    Returns:
      (indices of one image for each position, in order of position; (index, index of the image it may be a copy of) of
      the others).
    """
    order = np.argsort(along_mm, kind="stable")
    places = np.split(order, np.flatnonzero(np.diff(along_mm[order]) >= MIN_SLICE_DISTANCE_MM) + 1)
    kept = [min(map(int, place), key=lambda i: _originality(frames[i])) for place in places]
    return kept, [(int(i), first) for place, first in zip(places, kept, strict=True) for i in place if i != first]


def is_copy(frame: Frame, other: Frame) -> bool:
    """Whether two images in different files have the same position and HU; their encoding may differ.

    Raises:
      InputError: a tag is missing or malformed, or pixels cannot be decoded.
    """
    if frame.path == other.path or any((one.get("NumberOfFrames") or 1) > 1 for one in (frame, other)):
        return False
    if not _same_place(frame, other) or np.abs(frame.orientation() - other.orientation()).max() > 1e-3:
        return False
    if max(one.numbers(tag, 1)[0] for one in (frame, other) for tag in ("Rows", "Columns")) > MAX_SIDE_PX:
        return False  # too large to decode
    hu, other_hu = (to_hu(decode(one.path), one) for one in (frame, other))
    return np.array_equal(hu, other_hu)


def repeats_are_copies(frames: Iterable[Frame]) -> bool:
    """Whether images that share an InstanceNumber are copies; False if all images lack one."""
    by_number: dict[Hashable, list[Frame]] = {}
    for frame in frames:
        by_number.setdefault((_number(frame), frame.index), []).append(frame)
    repeated = [same for same in by_number.values() if len(same) > 1]
    try:
        return all(is_copy(frame, same[0]) for same in repeated for frame in same[1:])
    except InputError:
        return False


def sentence(frames: Sequence[Frame], what: tuple[str, str], *, with_names: bool) -> list[str]:
    """['2 files were left out, copies of other slices: files 3, 7 of the input'], or [] for no frames.

    With names, these follow in place of the numbers, but without UIDs: both could identify a patient.
    """
    numbers = {frame.path: frame.number for frame in frames}
    if not numbers:
        return []
    names = [UID_PATTERN.sub("UID", path.name) if with_names else str(numbers[path]) for path in sorted(numbers)]
    more = f" and {len(names) - MAX_LISTED_FILES} more" if len(names) > MAX_LISTED_FILES else ""
    listed = ", ".join(names[:MAX_LISTED_FILES]) + more
    if not with_names:
        listed = f"{'file' if len(names) == 1 else 'files'} {listed} of the input"
    count = f"1 file was left out, {what[0]}" if len(names) == 1 else f"{len(names)} files were left out, {what[1]}"
    return [f"{count}: {listed}"]


def _lacks(frame: Frame, keyword: str) -> bool:
    """Whether a tag is missing or empty; False if it is malformed, which is reported when the series is read."""
    try:
        value = frame.get(keyword)
    except InputError:
        return False
    return value is None or np.size(value) == 0 or (isinstance(value, str) and not value)


def _lacks_any(frame: Frame) -> bool:
    return any(_lacks(frame, keyword) for keyword in PLANE_TAGS)


def _value(frame: Frame, keyword: str) -> Hashable:
    """A tag's value; None if it is missing or malformed."""
    with contextlib.suppress(InputError):
        if not _lacks(frame, keyword):
            return tuple(np.ravel(frame.get(keyword)).tolist())
    return None


def _is_color(frame: Frame) -> bool:
    return _value(frame, "SamplesPerPixel") not in (None, (1.0,))


def _same_place(frame: Frame, other: Frame) -> bool:
    """Whether both have one position; False if it cannot be read."""
    try:
        first, second = (one.numbers("ImagePositionPatient", 3) for one in (frame, other))
    except InputError:
        return False
    return bool(np.abs(first - second).max() < MIN_SLICE_DISTANCE_MM)


def _number(frame: Frame) -> float:
    """The InstanceNumber; inf if it is missing or malformed."""
    with contextlib.suppress(InputError):
        return float(frame.numbers("InstanceNumber", 1)[0])
    return np.inf


def _originality(frame: Frame) -> tuple[float, int, int, str]:
    """Sorts the image that is not called a copy first."""
    return _number(frame), len(frame.path.parts), len(frame.path.name), str(frame.path)
