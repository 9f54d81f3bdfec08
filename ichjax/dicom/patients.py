"""Decide whether DICOM headers name the same patient, in any spelling; a missing tag is no contradiction.

Only hashes of the tags are compared and kept.
"""

import hashlib
import re
import secrets
import sys
import unicodedata
from collections.abc import Iterable

import pydicom

PATIENT_TAGS = ("PatientID", "PatientName", "PatientBirthDate")
Patient = tuple[str, ...]  # a hash for each of PATIENT_TAGS, '' where it is missing or empty
NOBODY: Patient = ("",) * len(PATIENT_TAGS)
NAME_PREFIX = 3  # index of the component of a name that holds titles
_SALT = secrets.token_bytes(16)  # lost when the process ends
_WITHOUT_ACCENTS = str.maketrans("øłđæœı", "oldaoi")  # letters that Unicode does not decompose


def read_patient(header: pydicom.Dataset, *, key: bytes = _SALT) -> Patient:
    """Keyed hashes of the patient's tags, which are the same for all spellings of them; see `normalize`."""
    return tuple(_hash(keyword, normalize(keyword, _text(header, keyword)), key) for keyword in PATIENT_TAGS)


def normalize(keyword: str, text: str) -> str:
    """A tag's value without what differs between the computers that wrote it; '' if nothing remains.

    Of an ID, case, spaces and leading zeros are removed; of a birth date, all but its digits. A name is reduced to its
    words in alphabetical order, without title, case, accents (ue is ü), carets and apostrophes; of a name in several
    scripts, the first one counts.
    """
    if keyword == "PatientBirthDate":
        digits = re.sub(r"\D", "", text)
        return digits if digits.strip("0") else ""
    plain = unicodedata.normalize("NFKD", text.replace("\0", " ")).casefold()
    if keyword == "PatientID":
        return "".join(plain.split()).lstrip("0")
    script = next((part for part in plain.split("=") if part.strip(" ^")), "")
    script = "^".join(part for k, part in enumerate(script.split("^")) if k != NAME_PREFIX)
    letters = "".join(char for char in script if not unicodedata.combining(char)).translate(_WITHOUT_ACCENTS)
    letters = re.sub(r"(?<=[aou])e", "", re.sub(r"['`´’.]", "", letters))
    return " ".join(sorted(re.findall(r"[^\W_]+", letters)))


def is_compatible(one: Patient, other: Patient) -> bool:
    """Whether no tag contradicts that both are one patient."""
    return all(not a or not b or a == b for a, b in zip(one, other, strict=True))


def shares_name_or_id(one: Patient, other: Patient) -> bool:
    """Whether both have the same ID or the same name."""
    return any(a and a == b for a, b in zip(one[:2], other[:2], strict=True))


def contradiction(patients: Iterable[Patient]) -> str:
    """The tag of which there are several values; '' if there is none."""
    columns = zip(PATIENT_TAGS, zip(*patients, strict=True), strict=True)
    return next((keyword for keyword, values in columns if len({*values} - {""}) > 1), "")


def unite(patients: Iterable[Patient]) -> dict[Patient, Patient]:
    """Completes what headers that belong together by their UIDs name: {as in a header: the patient}.

    If no tag has several values, there is one patient. Otherwise those with one ID are a patient, or with one name
    where there is no ID, unless another tag contradicts it; all others are as their headers name them.
    """
    distinct = sorted({*patients})
    several = contradiction(distinct)
    groups: dict[str, list[Patient]] = {}
    for patient in distinct:
        same = next((tag for tag in patient[:2] if tag), repr(patient)) if several else ""
        groups.setdefault(same, []).append(patient)
    return {
        patient: patient if contradiction(group) else tuple(map(max, zip(*group, strict=True)))
        for group in groups.values()
        for patient in group
    }


def _text(header: pydicom.Dataset, keyword: str) -> str:
    """The value of a tag; its bytes as Latin-1 if it cannot be decoded."""
    try:
        value = header.get(keyword)
    except Exception:  # pydicom raises many types on malformed values
        value = getattr(header.get_item(keyword), "value", None)
    return "" if value is None else value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _hash(keyword: str, text: str, key: bytes) -> str:
    digest = hashlib.blake2b(f"{keyword}={text}".encode("utf-8", "replace"), key=key, digest_size=8)
    return sys.intern(digest.hexdigest()) if text else ""
