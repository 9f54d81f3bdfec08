"""The RSNA 2019 hemorrhage detection set: slices and scans in HU with slice labels, and folds by subject.

`open_index` of `rsna_index` lists its slices; nothing here holds more than one scan in memory.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from ichjax.data.detection_splits import split_subjects
from ichjax.data.leak_guard import ScanIdentity, slice_digests
from ichjax.data.rsna_index import RsnaIndex
from ichjax.data.splits import Splits
from ichjax.dicom.left_out import MIN_SLICE_DISTANCE_MM
from ichjax.dicom.slice_file import read_slice_hu
from ichjax.dicom.stack_volume import make_volume
from ichjax.errors import InputError
from ichjax.scan import volume as volumes
from ichjax.scan.hu_check import check_hu, padding_as_air
from ichjax.scan.volume import Volume

NOMINAL_SLICE_MM = 5.0  # of a scan of one slice, since the set's headers have no thickness
MAX_SLICE_DIFFERENCE = 1e-3  # of direction cosines and pixel spacings within a scan


@dataclasses.dataclass(frozen=True, eq=False)
class LabeledScan:
    """A scan with slice labels and no mask.

    Attributes:
      volume: named after its study's hash.
      labels: bool [D, 6], columns as `DETECTION_LABELS`; False where they are unknown.
      known: bool [D], whether a slice has labels.
      skipped: one sentence per slice that cannot be read; the volume has a gap there.
    """

    volume: Volume
    labels: np.ndarray
    known: np.ndarray
    skipped: tuple[str, ...]


def read_slice(index: RsnaIndex, number: int) -> np.ndarray:
    """Reads the HU of a slice, int16 [rows, columns], with air in place of padding (`padding_as_air`).

    Raises:
      InputError: see `read_slice_hu`, or all pixels are equal.
    """
    path = index.path(number)
    hu = read_slice_hu(path, index.encoding(number))
    if hu[0, 0] == hu[len(hu) // 2, -1] and (hu == hu[0, 0]).all():  # the first comparison settles most slices
        raise InputError(f"{path.name}: every pixel is {hu[0, 0]} HU; expected an image")
    return padding_as_air(hu[np.newaxis])[0]


def read_scan(index: RsnaIndex, scan: int) -> LabeledScan:
    """Reads a scan from its single-slice files.

    Raises:
      InputError: no slice can be read, slices differ in size, orientation or pixel spacing, two lie at one position, or
        see `check_geometry` and `check_hu`.
    """
    name = f"study {index.scans['study'][scan][:8].decode()}"
    planes, numbers, skipped = [], [], []
    for number in index.slice_numbers(scan):
        try:
            planes.append(read_slice(index, number))
            numbers.append(number)
        except InputError as error:
            skipped.append(str(error))
    if not planes:
        raise InputError(f"{name}: none of its slices can be read ({skipped[0]}); expected a CT scan")
    rows = index.slices[numbers]
    _check_uniform(index, name, numbers)
    volume = check_hu(volumes.check_geometry(_make_volume(index, name, numbers, planes)))
    return LabeledScan(volume, rows["labels"], rows["known"], tuple(skipped))


def _make_volume(index: RsnaIndex, name: str, numbers: list[int], planes: list[np.ndarray]) -> Volume:
    """Stacks slices that are known to fit."""
    rows = index.slices[numbers]
    axes = rows["axes"][0].reshape(2, 3)
    known_mm = rows["thickness_mm"][0] > 0
    return make_volume(
        np.stack(planes).transpose(2, 1, 0),
        rows["position_mm"],
        axes / np.linalg.norm(axes, axis=1, keepdims=True),
        rows["pixel_mm"][0],
        thickness_mm=float(rows["thickness_mm"][0]) if known_mm else NOMINAL_SLICE_MM,
        name=name,
        nominal_spacing=len(numbers) == 1 and not known_mm,
    )


def _check_uniform(index: RsnaIndex, name: str, numbers: list[int]) -> None:
    """Raises InputError unless slices can be stacked: one size, orientation and pixel spacing, each position once."""
    rows = index.slices[numbers]
    for column, what in (("rows", "rows"), ("columns", "columns"), ("axes", "orientation"), ("pixel_mm", "spacing")):
        values = rows[column].reshape(len(rows), -1).astype(np.float64)
        differs = np.abs(values - values[0]).max(axis=1) > MAX_SLICE_DIFFERENCE
        if differs.any():
            first, other = (index.path(numbers[k]).name for k in (0, int(differs.argmax())))
            raise InputError(f"{name}: {first} and {other} differ in {what}; expected one for the whole scan")
    normal = np.cross(*rows["axes"][0].reshape(2, 3))
    gaps_mm = np.abs(np.diff(rows["position_mm"] @ normal))
    if len(gaps_mm) and gaps_mm.min() < MIN_SLICE_DISTANCE_MM:
        k = int(gaps_mm.argmin())
        first, other = (index.path(numbers[i]).name for i in (k, k + 1))
        raise InputError(f"{name}: {first} and {other} lie at one position; expected each slice once")


def subject_labels(index: RsnaIndex) -> np.ndarray:
    """bool [subjects, 6], whether any slice of a subject has each of `DETECTION_LABELS`."""
    labels = np.zeros((int(index.scans["subject"].max()) + 1, index.slices["labels"].shape[1]), bool)
    np.logical_or.at(labels, index.scans["subject"][index.slices["scan"]], index.slices["labels"])
    return labels


def scans_of(index: RsnaIndex, subjects: tuple[int, ...]) -> np.ndarray:
    """int64, ascending: the scans of these subjects."""
    return np.flatnonzero(np.isin(index.scans["subject"], subjects))


def slices_of(index: RsnaIndex, subjects: tuple[int, ...], *, labeled: bool = True) -> np.ndarray:
    """int64, ascending: the slices of these subjects; with `labeled` only those whose labels are known."""
    chosen = np.isin(index.scans["subject"], subjects)[index.slices["scan"]]
    return np.flatnonzero(chosen & index.slices["known"] if labeled else chosen)


def split(index: RsnaIndex, *, folds: int, seed: int) -> Splits:
    """Stratified folds by subject; see `split_subjects`."""
    return split_subjects(subject_labels(index), folds=folds, seed=seed)


def slice_spacing_mm(index: RsnaIndex) -> np.ndarray:
    """float64 [scans], the median distance between neighboring slices of each scan; nan for a single slice."""
    spacing = np.full(len(index.scans), np.nan)
    positions = np.asarray(index.slices["position_mm"])
    for scan, (first, count) in enumerate(zip(index.scans["first"], index.scans["slices"], strict=True)):
        if count > 1:
            gaps = np.diff(positions[first : first + count], axis=0)
            spacing[scan] = np.median(np.linalg.norm(gaps, axis=1))
    return spacing


def identify_scans(index: RsnaIndex, scans: Iterable[int]) -> Iterator[ScanIdentity]:
    """Yields what the leak guard needs of scans that a network is pre-trained on; reads all of their pixels.

    Of a scan that cannot be stacked, each slice is taken by itself: it is trained on all the same.
    """
    for scan in scans:
        studies = frozenset([index.scans["study"][scan].decode()])
        try:
            yield ScanIdentity(studies, slice_digests(read_scan(index, scan).volume))
        except InputError:
            slices = (_digests_alone(index, number) for number in index.slice_numbers(scan))
            yield ScanIdentity(studies, frozenset().union(*slices))


def _digests_alone(index: RsnaIndex, number: int) -> frozenset[str]:
    """`slice_digests` of a slice by itself; empty if it cannot be read."""
    try:
        return slice_digests(_make_volume(index, "", [number], [read_slice(index, number)]))
    except InputError:
        return frozenset()
