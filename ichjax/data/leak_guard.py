"""Refuse test scans that a network has seen in pre-training, by the hash of their study and by their pixels.

BHSD, HemSeg and MBH-Seg are masks on studies of the RSNA set: a network pre-trained on that set has seen their scans.

A record of pre-training is a JSON object:

    {"schema": 1, "scans": number of scans,
     "studies": ["32 hexadecimal digits", ...],  `hash_study` of each StudyInstanceUID, sorted
     "slices": ["16 hexadecimal digits", ...]}   `slice_digests` of all scans, sorted

Studies are hashed by blake2b without a key, because records of different people on different machines are compared and
have no secret in common. Who knows a UID can test whether it is in a record; the record names nobody.

The digests of pixels find a scan that was converted to NIfTI and has lost its UIDs. They are made of the HU in the one
orientation of a `Volume`, clipped to the HU of brain and blood, so that another padding value or clipped bone does not
matter. They do not find a scan that was resampled, cropped or windowed more narrowly.
"""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ichjax.dicom.slice_file import hash_study
from ichjax.errors import InputError
from ichjax.files import read_json, write_json
from ichjax.scan.hu_check import MAX_CT_HU
from ichjax.scan.volume import Volume

SEEN_FILE = "seen_in_pretraining.json"  # of a work directory of `pretrain`
SEEN_SCHEMA = 1
DIGEST_RANGE_HU = (0, 100)  # to which HU are clipped before the digest
SLICE_DIGEST_BYTES = 8
MIN_TISSUE_SHARE = 0.01  # of a slice's pixels within that range: others, such as slices of air, identify no scan
MAX_NAMED_SUBJECTS = 8  # in a message
RSNA_STUDY = re.compile(r"ID_[0-9a-f]{10}(?![0-9a-f])")  # a StudyInstanceUID of the RSNA set, in the name of a file


@dataclasses.dataclass(frozen=True)
class ScanIdentity:
    """What identifies a scan without naming a patient.

    Attributes:
      studies: `hash_study` of its StudyInstanceUID, or of several that it may have; empty if nothing is known.
      slices: `slice_digests`.
    """

    studies: frozenset[str]
    slices: frozenset[str]


@dataclasses.dataclass(frozen=True)
class SeenScans:
    """The record of a pre-training: how many scans, the hashes of their studies, the digests of their slices."""

    scans: int
    studies: frozenset[str]
    slices: frozenset[str]


def slice_digests(volume: Volume) -> frozenset[str]:
    """A digest of each slice that shows enough tissue, 16 hexadecimal digits, whatever file the scan comes from.

    Noise makes two slices of different scans differ, so one equal slice means the same scan.
    """
    low, high = DIGEST_RANGE_HU
    digests = set()
    for plane in volume.hu:
        tissue = np.where(plane < MAX_CT_HU, np.clip(plane, low, high), low).astype(np.uint8)  # padding can be high
        if ((tissue > low) & (tissue < high)).mean() >= MIN_TISSUE_SHARE:
            content = repr(plane.shape).encode() + tissue.tobytes()
            digests.add(hashlib.blake2b(content, digest_size=SLICE_DIGEST_BYTES).hexdigest())
    return frozenset(digests)


def identify(volume: Volume, *, studies: Iterable[str] = (), file_name: str = "") -> ScanIdentity:
    """The identity of a scan.

    Args:
      volume: the scan.
      studies: `hash_study` of its StudyInstanceUID, if it is known.
      file_name: a name in which a StudyInstanceUID of the RSNA set may stand (ID_ and 10 digits).
    """
    named = {hash_study(uid) for uid in RSNA_STUDY.findall(file_name)}
    return ScanIdentity(frozenset(studies) | named, slice_digests(volume))


def collect(identities: Iterable[ScanIdentity]) -> SeenScans:
    """The record of a pre-training on these scans."""
    scans = 0
    studies: set[str] = set()
    slices: set[str] = set()
    for identity in identities:
        scans += 1
        studies |= identity.studies
        slices |= identity.slices
    return SeenScans(scans, frozenset(studies), frozenset(slices))


def write(seen: SeenScans, path: pathlib.Path) -> None:
    """Writes a record as JSON, atomically."""
    hashes = {"studies": sorted(seen.studies), "slices": sorted(seen.slices)}
    write_json(path, {"schema": SEEN_SCHEMA, "scans": seen.scans, **hashes})


def read(path: pathlib.Path) -> SeenScans:
    """Reads a record; InputError if it is damaged or of a later version."""
    record = read_json(path)
    if record.get("schema") != SEEN_SCHEMA:
        raise InputError(f"{path}: has the schema {record.get('schema')}; expected {SEEN_SCHEMA}")
    for name in ("studies", "slices"):
        values = record.get(name)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InputError(f"{path}: is damaged; expected a list of hashes as '{name}'")
    if not isinstance(record.get("scans"), int):
        raise InputError(f"{path}: is damaged; expected the number of scans as 'scans'")
    return SeenScans(record["scans"], frozenset(record["studies"]), frozenset(record["slices"]))


def find(path: pathlib.Path) -> SeenScans | None:
    """The record of the run that weights come from: in the run itself, or in the one of a fold or its weights.

    None if there is none: the weights are not from a pre-training, and no labeled scans have joined their training.
    """
    for folder in (path, *path.parents[:2]):
        if (folder / SEEN_FILE).is_file():
            return read(folder / SEEN_FILE)
    return None


def is_seen(seen: SeenScans, scan: ScanIdentity) -> bool:
    """Whether a scan, or any slice of it, was seen in pre-training."""
    return not (seen.studies.isdisjoint(scan.studies) and seen.slices.isdisjoint(scan.slices))


def refuse_seen(seen: SeenScans, tests: Mapping[int, ScanIdentity], *, fold: int) -> None:
    """Raises InputError if a test scan of a fold was seen in pre-training.

    Args:
      seen: the record of the pre-training.
      tests: {subject number: its scan}, of the fold's test part.
      fold: its index, for the message.
    """
    leaks = sorted(number for number, scan in tests.items() if is_seen(seen, scan))
    if leaks:
        raise InputError(
            f"fold {fold}: {len(leaks)} of its {len(tests)} test scans were seen in pre-training (subjects "
            f"{listed(leaks)}); expected a test part without them: test on other scans, or pre-train without these"
        )


def listed(numbers: Sequence[int]) -> str:
    """The first numbers of subjects, and how many more there are."""
    more = f" and {len(numbers) - MAX_NAMED_SUBJECTS} more" if len(numbers) > MAX_NAMED_SUBJECTS else ""
    return ", ".join(map(str, numbers[:MAX_NAMED_SUBJECTS])) + more
