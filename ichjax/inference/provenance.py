"""Name the source of each result without naming a patient, and let every source keep the name of its output."""

import dataclasses
import hashlib
import os
import pathlib
import secrets
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from ichjax.dicom.patients import NOBODY
from ichjax.dicom.source_tags import hash_patient, read_description
from ichjax.errors import InputError
from ichjax.files import write_text
from ichjax.inference.discover import Source, take_name
from ichjax.inference.records import SourceRecord

KEY_FILE = ".source_key"
KEY_BYTES = 32
HALF = 16  # hexadecimal digits of a hash: first of path and patient, then as many of the patient alone
SHOWN = 8  # digits of a hash in the worklist


class Result(NamedTuple):
    """What an output folder holds of an earlier command.

    Attributes:
      hash: of its source; '' if it is unknown, as in results of earlier versions.
      scan_digest: of the scan.
    """

    hash: str
    scan_digest: str


def read_key(output: pathlib.Path) -> tuple[bytes, bool]:
    """The key of an output folder's hashes, and whether it was made now; the caller holds the folder (`files.claim`).

    Raises:
      InputError: the file of the key is damaged.
    """
    path = output / KEY_FILE
    if is_new := not path.exists():
        write_text(path, secrets.token_hex(KEY_BYTES) + "\n")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError(
            f"{path}: is damaged; expected a key of {2 * KEY_BYTES} hexadecimal digits (delete it for a new one)"
        )
    return key, is_new


def hash_source(source: Source, key: bytes) -> str:
    """32 hexadecimal digits: a keyed hash of path and patient's tags, then one of the patient's tags alone.

    The second half recognizes a scan that was moved. It is the same for all scans whose files name no patient.
    """
    patient = repr(NOBODY if source.first_file is None else hash_patient(source.first_file, key=key))
    parts = (f"{os.path.abspath(source.first_file or source.path)}\n{patient}", patient)
    return "".join(hashlib.blake2b(os.fsencode(part), key=key, digest_size=HALF // 2).hexdigest() for part in parts)


def describe_source(source: Source, *, slices: int | None, with_paths: bool) -> SourceRecord:
    """What prediction.json says of the source of a scan.

    Args:
      source: with its hash.
      slices: number of slices of the scan; None if it could not be read.
      with_paths: also give the path and the series' description, which may identify the patient.
    """
    record: SourceRecord = {
        "input": source.file_number,
        "input_path": source.input_number,
        "series_number": source.series_number,
        "slices": slices,
        "hash": source.hash,
    }
    if with_paths:
        record["path"] = os.path.abspath(source.path)
        record["series_description"] = read_description(source.first_file) if source.first_file else ""
    return record


def is_outdated(old: SourceRecord | None, new: SourceRecord) -> bool:
    """Whether a result that is kept lacks its source or the path that is wanted, or was moved."""
    return old is None or old["hash"] != new["hash"] or old.keys() < new.keys()


def phrase(record: SourceRecord) -> str:
    """'file 12, series 4, 10 slices, 3f9a1c20': a source in the worklist, without path.

    The file is of the first input path, unless it is 'file 12 of input 2'.
    """
    number, slices = record.get("series_number"), record.get("slices")
    path_number = record.get("input_path", 1)
    parts = [f"file {record['input']}{f' of input {path_number}' if path_number != 1 else ''}"]
    parts += [] if number is None else [f"series {number}"]
    parts += [] if slices is None else [f"{slices} {'slice' if slices == 1 else 'slices'}"]
    return ", ".join([*parts, record["hash"][:SHOWN]])


def name_sources(
    sources: Sequence[Source],
    output: pathlib.Path,
    results: Mapping[str, Result],
    *,
    reserved: Sequence[str] = (),
    suffix: str = "",
) -> "OutputNames":
    """The sources under the names that they have, or get, in the output; makes the output's key if there is none.

    Args:
      sources: as for `OutputNames`.
      output: the output folder, which the caller holds (`files.claim`).
      results, reserved, suffix: as for `OutputNames`.

    Raises:
      InputError: the file of the key is damaged.
    """
    if not sources:
        return OutputNames(sources, {}, b"")
    key, is_new = read_key(output)
    if is_new:  # hashes made with another key say nothing
        results = {name: result._replace(hash="") for name, result in results.items()}
    return OutputNames(sources, results, key, reserved=reserved, suffix=suffix)


class OutputNames:
    """The names of the sources of a command, in an output that may hold results of earlier commands.

    A source keeps the name under which the output holds its result, recognized by the hash of path and patient, and,
    once the scan is read, by its digest, if it was moved. No other source gets the name of a result.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        results: Mapping[str, Result],
        key: bytes,
        *,
        reserved: Sequence[str] = (),
        suffix: str = "",
    ):
        """Takes sources with names that are unique among them; the other arguments are as for `find_sources`.

        Args:
          sources: of the command.
          results: by name, what the output holds.
          key: of the output.
          reserved: as for `find_sources`.
          suffix: as for `find_sources`.
        """
        self._results = results
        name_of = {result.hash: name for name, result in results.items() if result.hash}
        hashed = [dataclasses.replace(source, hash=hash_source(source, key)) for source in sources]
        self._taken = {name_of[source.hash] for source in hashed if source.hash in name_of}
        taken = {*reserved, *results, *(name + suffix for name in results)}
        self.sources = [
            dataclasses.replace(source, name=name_of.get(source.hash) or take_name(source.stem, taken, suffix))
            for source in hashed
        ]
        kept = [source for source in self.sources if source.name in self._taken]
        self._first = {_series_key(source, results[source.name].scan_digest): source for source in reversed(kept)}

    def settle(self, source: Source, scan_digest: str) -> Source | None:
        """The source with its final name, now that the scan was read; None if it is a copy of a series given before."""
        first = self._first.setdefault(_series_key(source, scan_digest), source)
        if first is not source and source.series and first.series and source.series.has_same_files(first.series):
            return None
        if source.name in self._results:
            return source
        moved = [name for name, result in self._results.items() if self._is_moved(name, result, source, scan_digest)]
        if not moved:
            return source
        name = source.stem if source.stem in moved else moved[0]
        self._taken.add(name)
        return dataclasses.replace(source, name=name)

    def _is_moved(self, name: str, result: Result, source: Source, scan_digest: str) -> bool:
        """Whether a result that no source of this command claims is of the same scan and patient."""
        if name in self._taken or result.scan_digest != scan_digest:
            return False
        return not result.hash or result.hash[HALF:] == source.hash[HALF:]


def _series_key(source: Source, scan_digest: str) -> tuple[Hashable, ...]:
    """What is the same for a DICOM series and its copy, such as that of a disc."""
    return scan_digest, source.series.uid if source.series else "", source.hash[HALF:]
