"""What is known of the scans of CQ500 without their pixels: read once, and kept in the cache scan by scan.

The pixels of all scans do not fit in memory. A command that is stopped has lost one scan, and the next reads only what
is new or has changed. Scans that cannot be used are not kept.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable

from ichjax.data import cq500, scan_cache
from ichjax.data.cq500 import Cq500Scan
from ichjax.files import cache_folder

SUMMARY_FORMAT = 1  # part of the digest: increment it when the stored data, or how a series is chosen, changes
SUMMARY_FILE = "scan.json"


@dataclasses.dataclass(frozen=True)
class ScanSummary:
    """The series of a scan that is read.

    Attributes:
      shape: slices, rows, columns.
      spacing_mm: of the same axes.
      label: its rank, number of slices, pixel size and drawbacks.
      study_hash: of its StudyInstanceUID, `hash_study`; '' if it has none.
      others: labels of the series that are not read.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    label: str
    study_hash: str
    others: tuple[str, ...]


def summarize(scan: Cq500Scan) -> ScanSummary:
    """The summary of a scan, from the cache or from its files.

    Raises:
      InputError: the scan cannot be used (`cq500.read_scan`), or the cache cannot be written.
    """
    folder = cache_folder() / "cq500" / _digest(scan.folder)
    return scan_cache.open_or_store(folder, _read, functools.partial(_write, scan))


def _digest(folder: pathlib.Path) -> str:
    """A digest of the names, sizes and times of all files of a scan."""
    digest = hashlib.blake2b(str(SUMMARY_FORMAT).encode(), digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            name = str(path.relative_to(folder)).encode("utf-8", "surrogateescape")
            digest.update(b"|".join([b"", name, f"{status.st_size} {status.st_mtime_ns}".encode()]))
    return digest.hexdigest()


def _read(folder: pathlib.Path) -> ScanSummary:
    """Reads a stored summary; OSError, ValueError or KeyError if it is missing or damaged."""
    stored = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    shape, spacing_mm, others = (tuple(stored[name]) for name in ("shape", "spacing_mm", "others"))
    return ScanSummary(shape, spacing_mm, stored["label"], stored["study_hash"], others)


def _write(scan: Cq500Scan) -> Callable[[pathlib.Path], None]:
    """Reads a scan, and returns a function that writes its summary into a folder."""
    series = cq500.read_scan(scan)
    along, down, across = map(float, series.volume.spacing_mm)
    summary = ScanSummary(series.volume.shape, (along, down, across), series.label, series.study_hash, series.others)

    def write(folder: pathlib.Path) -> None:
        (folder / SUMMARY_FILE).write_text(json.dumps(dataclasses.asdict(summary)), encoding="utf-8")

    return write
