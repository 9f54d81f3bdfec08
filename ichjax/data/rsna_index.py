"""Index the slices of an RSNA 2019 set once, from headers alone: order, positions, and where the pixels lie.

The index is kept in the cache, under a digest of the names, sizes and times of all files. A killed command resumes. The
index holds no patient: PatientIDs are compared by hashes with a random key, which is deleted when the index is
complete, and subjects are numbered; studies are known by `hash_study`.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ichjax import hosts
from ichjax.data import rsna_headers, rsna_labels, scan_cache
from ichjax.data.rsna_headers import Headers
from ichjax.data.rsna_labels import RSNA_FOLDERS, RSNA_TABLE, SliceTable
from ichjax.dicom.slice_file import Encoding
from ichjax.errors import InputError
from ichjax.files import cache_folder, claim

INDEX_FORMAT = 1  # part of the digest: increment it when the stored data, or how a header is read, changes
NAMES_FILE, SLICES_FILE, STUDIES_FILE, REMARKS_FILE = "names.npy", "slices.npy", "studies.npy", "remarks.json"
SCAN_TYPE = np.dtype([("study", "S32"), ("subject", np.int32), ("first", np.int64), ("slices", np.int32)])
FileState = tuple[str, int, int]  # name, bytes, time in ns


@dataclasses.dataclass(frozen=True, eq=False)
class RsnaIndex:
    """The index of a set.

    Attributes:
      images: the folder of the files.
      names: bytes [N], of the files, in the order of `slices`.
      slices: `rsna_headers.SLICE_TYPE` [N]: scan after scan, from feet to head.
      scans: `SCAN_TYPE` [S]: one per series of a study, sorted by the study's hash; `study` is its `hash_study`,
        `subject` counts from 0 in the order of the file names.
      skipped: {name of a file: why it is not used}.
      notes: one sentence each.
    """

    images: pathlib.Path
    names: np.ndarray
    slices: np.ndarray
    scans: np.ndarray
    skipped: dict[str, str]
    notes: tuple[str, ...]

    def path(self, number: int) -> pathlib.Path:
        """The file of a slice."""
        return self.images / os.fsdecode(self.names[number])

    def encoding(self, number: int) -> Encoding:
        """How a slice's pixels are stored."""
        row = self.slices[number]
        return Encoding(**{field.name: row[field.name].item() for field in dataclasses.fields(Encoding)})

    def slice_numbers(self, scan: int) -> range:
        """The rows of `slices` of a scan, from feet to head."""
        first = int(self.scans["first"][scan])
        return range(first, first + int(self.scans["slices"][scan]))


def open_index(root: pathlib.Path, *, workers: int = 0) -> RsnaIndex:
    """Opens the index of a set, after making it if files were added or changed; a killed command resumes.

    Args:
      root: the folder with the table and the images.
      workers: processes that read headers, 0 for one per core; does not affect the result.

    Raises:
      InputError: there are no images that can be used, the table is malformed, another process is making this index, or
        the cache cannot be written. A single file that cannot be used is in `RsnaIndex.skipped`.
    """
    root = pathlib.Path(root)
    table = root / RSNA_TABLE
    if not table.is_file():
        raise InputError(f"{root}: has no {RSNA_TABLE}; expected {rsna_labels.RSNA_LAYOUT}")
    images = find_images(root)
    files = _list_files(images)
    if not files:
        raise InputError(f"{images}: holds no .dcm files; expected the images of {RSNA_TABLE}")
    folder = cache_folder() / "rsna" / _digest(table, files)
    make = functools.partial(_make, folder, images, files, table, workers)
    with hosts.first_before_others("RSNA index"):
        return scan_cache.open_or_store(folder, functools.partial(_open, images), make)


def find_images(root: pathlib.Path) -> pathlib.Path:
    """The folder of the images: one beside the table, or the table's own."""
    return next((root / name for name in RSNA_FOLDERS if (root / name).is_dir()), root)


def _list_files(images: pathlib.Path) -> list[FileState]:
    """Every .dcm file, sorted by name."""
    with os.scandir(images) as entries:
        chosen = [one for one in entries if one.name.lower().endswith(".dcm") and not one.name.startswith(".")]
    return sorted((one.name, (status := one.stat()).st_size, status.st_mtime_ns) for one in chosen)


def _digest(table: pathlib.Path, files: list[FileState]) -> str:
    """A digest of the names, sizes and times of all files, the table's too."""
    status = table.stat()
    digest = hashlib.blake2b(f"{INDEX_FORMAT} {status.st_size} {status.st_mtime_ns}".encode(), digest_size=16)
    digest.update("".join(f"|{name} {size} {time}" for name, size, time in files).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _open(images: pathlib.Path, folder: pathlib.Path) -> RsnaIndex:
    """Maps a stored index; OSError, EOFError, ValueError or KeyError if it is missing or incomplete."""
    remarks = json.loads((folder / REMARKS_FILE).read_text(encoding="utf-8"))
    names, slices, scans = (np.load(folder / name, mmap_mode="r") for name in (NAMES_FILE, SLICES_FILE, STUDIES_FILE))
    if len(names) != len(slices) or int(scans["slices"].sum()) != len(slices):
        raise ValueError(f"{len(names)} names, {len(slices)} slices")
    return RsnaIndex(images, names, slices, scans, remarks["skipped"], tuple(remarks["notes"]))


def _make(
    folder: pathlib.Path, images: pathlib.Path, files: list[FileState], table: pathlib.Path, workers: int
) -> Callable[[pathlib.Path], None]:
    """Reads all headers, and returns a function that writes the index into a folder."""
    labels = rsna_labels.read_slice_labels(table)
    parts = folder.with_name(f"{folder.name}.parts")
    with claim(parts):
        headers = rsna_headers.read_headers(parts, images, [name for name, _, _ in files], workers=workers)
    if not len(headers.names):
        first = next(iter(headers.skipped.items()))
        raise InputError(f"{images}: none of its {len(files)} files can be used ({first[0]}: {first[1]})")
    index = _assemble(images, headers, labels)

    def write(target: pathlib.Path) -> None:
        for name, array in ((NAMES_FILE, index.names), (SLICES_FILE, index.slices), (STUDIES_FILE, index.scans)):
            np.save(target / name, array)
        remarks = {"skipped": index.skipped, "notes": index.notes}
        (target / REMARKS_FILE).write_text(json.dumps(remarks), encoding="utf-8")
        shutil.rmtree(parts, ignore_errors=True)  # and with them the key of the patients' hashes

    return write


def _assemble(images: pathlib.Path, headers: Headers, table: SliceTable) -> RsnaIndex:
    """Groups slices by study and series, sorts them from feet to head, and adds their labels."""
    rows, slices = headers.rows, headers.rows["slice"].copy()
    keys, scan = np.unique(rows[["study", "series"]], return_inverse=True)
    order = np.lexsort((headers.names, _along_mm(slices), scan))
    scan, names, slices = scan[order], headers.names[order], slices[order]
    slices["scan"] = scan
    slices["labels"], slices["known"] = table.labels([pathlib.PurePath(os.fsdecode(name)).stem for name in names])
    scans = np.zeros(len(keys), SCAN_TYPE)
    scans["study"], scans["slices"] = keys["study"], np.bincount(scan)
    scans["first"] = np.cumsum(scans["slices"]) - scans["slices"]
    scans["subject"] = _subjects(rows)[order][scans["first"]]
    return RsnaIndex(images, names, slices, scans, headers.skipped, (*table.notes, *_notes(slices, scans, table)))


def _along_mm(slices: np.ndarray) -> np.ndarray:
    """float64 [N], the position of each slice along its own normal, towards the head."""
    across, down = slices["axes"][:, :3], slices["axes"][:, 3:]
    normal = np.cross(across, down)
    normal *= np.where(normal[:, 2:] > 0, 1.0, -1.0)
    return np.einsum("ni,ni->n", slices["position_mm"], normal)


def _subjects(rows: np.ndarray) -> np.ndarray:
    """int [N], the subject of each file, numbered from 0 in the order of files; studies of one patient are of one
    subject, and so are patients of one study."""
    _, patient = np.unique(rows["patient"], return_inverse=True)
    _, study = np.unique(rows["study"], return_inverse=True)
    patients = patient.max() + 1
    size = patients + study.max() + 1
    links = coo_array((np.ones(len(rows), bool), (patient, patients + study)), shape=(size, size))
    _, component = connected_components(links, directed=False)
    _, first, inverse = np.unique(component[patient], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _notes(slices: np.ndarray, scans: np.ndarray, table: SliceTable) -> list[str]:
    notes = []
    repeated = len(scans) - len(np.unique(scans["study"]))
    if repeated:
        notes.append(f"{repeated} studies have a further series, which is a scan of its own of the same subject")
    unknown = int((~slices["known"]).sum())
    if unknown:
        notes.append(f"{unknown} images have no usable labels in {RSNA_TABLE}")
    without = len(table.known) - int(slices["known"].sum())
    if without:
        notes.append(f"{without} labeled images of {RSNA_TABLE} have no file that can be used")
    return notes
