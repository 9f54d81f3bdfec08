"""The CQ500 set: scans with the majority of three radiologists as labels of the whole scan, and no masks."""

import dataclasses
import pathlib

import numpy as np

from ichjax.data.cq500_reads import CQ500_LAYOUT, CQ500_NAME, READS_TABLE, Reads, mark, read_reads
from ichjax.data.detection_splits import split_subjects
from ichjax.data.splits import Splits
from ichjax.dicom import ranking
from ichjax.dicom.series import Series, Study, find_studies, read_series
from ichjax.dicom.slice_file import hash_study
from ichjax.errors import InputError, only_input_errors
from ichjax.scan.volume import Volume

MAX_DOUBT = 1  # `Traits.doubt` of a series that may show a head


@dataclasses.dataclass(frozen=True, eq=False)
class Cq500Scan:
    """A scan of the set: its folder, and its labels (`Reads`)."""

    folder: pathlib.Path
    reads: Reads

    @property
    def name(self) -> str:
        """CQ500-CT-N."""
        return scan_name(self.reads.number)


@dataclasses.dataclass(frozen=True, eq=False)
class Cq500Set:
    """The set.

    Attributes:
      root: its folder.
      scans: sorted by number, one per subject.
      skipped: {name: why a scan is not used}.
      notes: one sentence each.
    """

    root: pathlib.Path
    scans: tuple[Cq500Scan, ...]
    skipped: dict[str, str]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class PlainSeries:
    """The series of a scan that is read.

    Attributes:
      volume: its HU.
      label: its rank, number of slices, pixel size and drawbacks.
      study_hash: of its StudyInstanceUID, `hash_study`; '' if it has none.
      others: labels of the series that are not read.
    """

    volume: Volume
    label: str
    study_hash: str
    others: tuple[str, ...]


def scan_name(number: int) -> str:
    """CQ500-CT-N, as the table names scans."""
    return f"CQ500-CT-{number}"


def read_dataset(root: pathlib.Path) -> Cq500Set:
    """Finds the scans and their labels; reads no DICOM.

    A scan without usable reads, and one without a folder, is in `skipped`.

    Raises:
      InputError: the folder or its table is not this set's, two folders are of one scan, or no scan has both.
    """
    root = pathlib.Path(root)
    if not mark(root):
        raise InputError(f"{root}: has no {READS_TABLE}; expected {CQ500_LAYOUT}")
    reads, unusable, notes = read_reads(root / READS_TABLE)
    folders = _find_folders(root)
    skipped = {scan_name(number): f"{reason} in {READS_TABLE}" for number, reason in sorted(unusable.items())}
    skipped |= {scan_name(number): "has labels, but no folder" for number in sorted(reads) if number not in folders}
    unread = sorted(set(folders) - set(reads) - set(unusable))
    skipped |= {scan_name(number): f"has no row in {READS_TABLE}" for number in unread}
    scans = tuple(Cq500Scan(folders[number], reads[number]) for number in sorted(set(reads) & set(folders)))
    if not scans:
        raise InputError(f"{root}: no folder belongs to a scan of {READS_TABLE}; expected {CQ500_LAYOUT}")
    return Cq500Set(root, scans, skipped, notes)


def _find_folders(root: pathlib.Path) -> dict[int, pathlib.Path]:
    """{N: the folder of CQ500-CT-N}, in the root or one folder down, as the archives are unpacked."""
    folders: dict[int, pathlib.Path] = {}
    for folder in sorted([*root.glob("*/"), *root.glob("*/*/")]):
        match = CQ500_NAME.match(folder.name)
        if match is None or CQ500_NAME.match(folder.parent.name):
            continue
        number = int(match[1])
        if number in folders:
            raise InputError(
                f"{root}: {folders[number].name} and {folder.name} are both of {scan_name(number)}; expected one folder"
            )
        folders[number] = folder
    return folders


def read_scan(scan: Cq500Scan) -> PlainSeries:
    """Reads the plain brain series of a scan, as `predict` chooses it (`dicom.selection`).

    Raises:
      InputError: no series is a plain head, or the chosen one cannot be read.
    """
    with only_input_errors(scan.name):
        studies, skipped = find_studies(scan.folder)
        if not studies:
            raise InputError(f"{scan.name}: {'; '.join(skipped) or 'holds no files'}; expected an axial CT series")
        study = min(studies, key=_rank)
        chosen, *others = study.series
        if reason := _not_plain(chosen):
            raise InputError(f"{scan.name}: no series is a plain head, the best is {chosen.label} ({reason})")
        if chosen.problem:
            raise InputError(f"{scan.name}: {chosen.problem}")
        volume = dataclasses.replace(read_series(scan.folder, chosen), name=scan.name)
    uid = chosen.study_uid
    labels = [one.label for one in others] + [s.label for other in studies if other is not study for s in other.series]
    return PlainSeries(volume, chosen.label, hash_study(uid) if uid else "", tuple(labels))


def _rank(study: Study) -> tuple[float, ...]:
    return ranking.sort_key(study.series[0].traits, study.reference)


def _not_plain(series: Series) -> str:
    """Why a series is not a plain head; '' if it may be one."""
    traits = series.traits
    if traits.doubt() > MAX_DOUBT or traits.computed or traits.repeated or traits.has_contrast:
        return ", ".join(traits.drawbacks()) or "not known to show a head"
    return ""


def split(dataset: Cq500Set, *, folds: int, seed: int) -> Splits:
    """Stratified folds by scan, numbered by their index in `Cq500Set.scans`; see `split_subjects`."""
    labels = np.stack([scan.reads.labels for scan in dataset.scans])
    return split_subjects(labels, folds=folds, seed=seed)
