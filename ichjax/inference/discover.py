"""What a user names as input -> the scans in it: NIfTI files, DICOM studies, data sets, in folders of any depth."""

import collections
import dataclasses
import glob
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterator, Sequence

from ichjax.console import say
from ichjax.data import dataset as datasets
from ichjax.data.subject import Subject
from ichjax.dicom import series as dicom_series
from ichjax.errors import InputError, only_input_errors
from ichjax.scan import nifti
from ichjax.scan.volume import Volume
from ichjax.walk import files_below

UID = re.compile(r"\d+(\.\d+){4,}")
WORLD = "_world"  # ends the name of a scan's second form, on a straight grid
MOST_PARTS = 4  # of a path, in a name
PREDICTION_FILE = "prediction.json"  # a folder with it is our own output, and holds no input


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Where a scan is: a NIfTI file, one series of a DICOM study, or a subject of a data set.

    Attributes:
      name: of its folder in the output: of the path, never anything of a header.
      path: the file or folder.
      series: of a DICOM study, else None.
      subject: of a data set, else None.
      problem: why it is not to be read, or ''.
    """

    name: str
    path: pathlib.Path
    series: dicom_series.Series | None = None
    subject: Subject | None = None
    problem: str = ""

    def read(self) -> Volume:
        """Reads the scan; InputError names the file or folder."""
        if self.problem:
            raise InputError(self.problem)
        with only_input_errors(str(self.path)):
            if self.subject is not None and self.subject.layout == "jpeg":
                return datasets.load_scan(self.subject).volume
            if self.series is None:
                return nifti.read_nifti(self.path)
            try:
                return dicom_series.read_series(self.path, self.series)
            except InputError as error:  # it names a file, but not in which of the folders
                raise InputError(f"{self.path}: {error}") from error


def find_sources(
    paths: Sequence[pathlib.Path],
    *,
    series: int | None = None,
    taken: Sequence[str] = (),
    twin: str = "",
    only_dicom: bool = False,
) -> tuple[list[Source], list[str]]:
    """Finds the scans that paths name.

    A path is a NIfTI file, a pattern with * or ?, or a folder: a data set's, or one that holds NIfTI files and DICOM
    studies at any depth. Of each study one series is taken, and a line names the others.

    Args:
      paths: as the user gave them.
      series: take the series of this rank, from 1, of every study, not the one that suits best.
      taken: names that no source gets.
      only_dicom: leave NIfTI files out.
      twin: what the command writes behind a source's name; no other source gets that name.

    Returns:
      (the sources, [one sentence for each path at which there is none]).
    """
    sources, problems = [], []
    for path in _expanded(paths):
        try:
            with only_input_errors(str(path)):
                found = _sources_at(path, series)
        except InputError as error:
            problems.append(str(error))
            continue
        sources += [source for source in found if source.series is not None or source.problem or not only_dicom]
        if only_dicom and path.is_file():
            problems.append(f"{path}: is no DICOM; expected a folder with a DICOM series")
    once = {}  # a file may be named twice
    for source in sources:
        first = source.series and source.series.first_file
        once.setdefault((os.path.abspath(source.path), first, source.problem), source)
    return _named(list(once.values()), taken, twin), problems


def read_one(path: str | pathlib.Path) -> Volume:
    """Reads the one scan at a path: a NIfTI file, or a folder with one DICOM study.

    Raises:
      InputError: there is none, or more than one, or it cannot be read.
    """
    sources, problems = find_sources([pathlib.Path(path)])
    if problems:
        raise InputError(problems[0])
    if len(sources) != 1:
        raise InputError(f"{path}: holds {len(sources)} scans; expected one")
    return sources[0].read()


def _expanded(paths: Sequence[pathlib.Path]) -> Iterator[pathlib.Path]:
    """Patterns replaced by what they match; one that matches nothing stays, to be told of."""
    for path in paths:
        matched = [] if path.exists() else sorted(glob.glob(str(path.expanduser()), recursive=True))
        yield from map(pathlib.Path, matched) if matched else [path]


def _sources_at(path: pathlib.Path, series: int | None) -> list[Source]:
    if path.is_file():
        if not nifti.is_nifti_name(path.name) and dicom_series.is_dicom(path):
            raise InputError(f"{path}: one DICOM file, which holds one slice or part of a series; give its folder")
        return [Source(_last_part(path), path)]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; expected a NIfTI file, or a folder of NIfTI or DICOM files")
    if datasets.is_dataset(path):
        return [
            Source(subject.name, subject.scan_path, None, subject) for subject in datasets.read_dataset(path).subjects
        ]
    files = [Source(file.name, file) for file in _nifti_files(path)]
    studies, skipped = dicom_series.find_studies(path)
    name = _last_part(path)
    if not files and not studies:
        found = "; ".join(skipped) or "no files"
        raise InputError(f"{name}: holds no NIfTI file and no axial CT series (DICOM); found {found}")
    if studies:
        for line in skipped:
            say(f"{name}: skipped {line}")
    return files + [_of_study(study, series) for study in studies]


def _nifti_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """NIfTI files at any depth, but hidden ones, those that `predict` wrote, and second forms that `convert` wrote."""
    everything = list(files_below(folder))
    ours = {file.parent for file in everything if file.name == PREDICTION_FILE}
    files = {file for file in everything if nifti.is_nifti_name(file.name) and file.is_file()}
    return sorted(file for file in files if _first_form(file) not in files and file.parent not in ours)


def _first_form(file: pathlib.Path) -> pathlib.Path | None:
    """The scan of which a NIfTI file is by its name the second form, on a straight grid; None where it is no such."""
    stem = nifti.strip_extension(file.name)
    return file.with_name(stem.removesuffix(WORLD) + file.name[len(stem) :]) if stem.endswith(WORLD) else None


def _of_study(study: dicom_series.Study, wanted: int | None) -> Source:
    """The series to take of a study; the others are named."""
    name, number = _last_part(study.folder), 1 if wanted is None else wanted
    if study.problem:
        return Source(name, study.folder, problem=f"{study.folder}: {study.problem}")
    if not 1 <= number <= len(study.series):
        problem = f"{study.folder}: has {len(study.series)} CT series; expected --series of 1 to that, not {number}"
        return Source(name, study.folder, problem=problem)
    chosen = study.series[number - 1]
    if others := [series.label for series in study.series if series is not chosen]:
        say(f"{name}: takes {chosen.label}; left out: {', '.join(others)}")
    return Source(name, study.folder, chosen)


def _last_part(path: pathlib.Path) -> str:
    """Of a path as it was given: links keep their names."""
    return pathlib.Path(os.path.abspath(path)).name


def _named(sources: Sequence[Source], taken: Sequence[str], twin: str) -> list[Source]:
    """The sources with names for the output: of the last part of their paths, and where several have the same of as
    many parts as tell them apart, so that further scans do not change the names of these."""
    parts = [(*pathlib.Path(os.path.abspath(source.path)).parent.parts[1:], source.name) for source in sources]
    whole = [_plain(part[-MOST_PARTS:]) for part in parts]
    depths = [1] * len(sources)
    while True:
        names = [_plain(part[-depth:]) for part, depth in zip(parts, depths, strict=True)]
        differ = collections.defaultdict(set)  # which of the same name more parts tell apart
        for name, longer in zip(names, whole, strict=True):
            differ[name].add(longer)
        deeper = [k for k, name in enumerate(names) if len(differ[name]) > 1]
        if not deeper:
            break
        for k in deeper:
            depths[k] += 1
    known = set(taken)
    return [
        dataclasses.replace(source, name=_unused(name, known, twin))
        for source, name in zip(sources, names, strict=True)
    ]


def _plain(parts: Sequence[str]) -> str:
    """Parts of a path as one name of letters, digits, points, dashes and underscores. What looks like a DICOM UID is no
    name."""
    text = "_".join(UID.sub("scan", part) for part in (*parts[:-1], nifti.strip_extension(parts[-1])))
    return re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).lstrip(".-").rstrip(".") or "scan"


def _unused(name: str, taken: set[str], twin: str) -> str:
    """A name that is not taken yet, nor is its twin's; takes both."""
    unused, number = name, 2
    while {unused, unused + twin} & taken:
        unused, number = f"{name}_{number}", number + 1
    taken |= {unused, unused + twin}
    return unused
