"""Resolve input paths to scans: NIfTI files, DICOM studies and data sets, in folders of any depth."""

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
from ichjax.data.cq500_reads import CQ500_NAME
from ichjax.data.subject import Subject
from ichjax.dicom import ranking
from ichjax.dicom import series as dicom_series
from ichjax.dicom.frame import UID_PATTERN
from ichjax.errors import InputError, only_input_errors
from ichjax.inference.records import LeftOutSeries, SeriesChoice
from ichjax.scan import first_bytes, nifti
from ichjax.scan.volume import Volume
from ichjax.walk import files_below

WORLD_SUFFIX = "_world"  # of the name of a scan that was resampled to a grid along the patient's axes
MAX_NAME_PARTS = 4  # parts of a path in a name
PREDICTION_FILE = "prediction.json"  # marks a folder as an output of `predict`, which holds no input


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """The location of a scan: a NIfTI file, one series of a DICOM study, or a subject of a data set.

    Attributes:
      name: of its folder in the output; made from the path, never from a header.
      path: the file or folder.
      series: of a DICOM study, else None.
      subject: of a data set, else None.
      problem: why it cannot be read, or ''.
      first_file: of a DICOM study, else None.
      file_number: of its first file among the files at the input path, in the order of `files_below`, from 1.
      input_number: of the input path among those of the command, from 1.
      series_number: of a DICOM series, else None.
      stem: the name without the number that makes it unique.
      hash: keyed, of path and patient (`provenance.hash_source`); '' before it is known.
      with_paths: whether notes may give the names of files.
      choice: of the series, for records; None without one.
    """

    name: str
    path: pathlib.Path
    series: dicom_series.Series | None = None
    subject: Subject | None = None
    problem: str = ""
    first_file: pathlib.Path | None = None
    file_number: int = 1
    input_number: int = 1
    series_number: int | None = None
    stem: str = ""
    hash: str = ""
    with_paths: bool = False
    choice: SeriesChoice | None = None

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
                return dicom_series.read_series(self.path, self.series, with_names=self.with_paths)
            except InputError as error:  # it names a file, but not its folder
                raise InputError(f"{self.path}: {error}") from error


def find_sources(
    paths: Sequence[pathlib.Path],
    *,
    series: int | None = None,
    reserved: Sequence[str] = (),
    suffix: str = "",
    only_dicom: bool = False,
    with_paths: bool = False,
) -> tuple[list[Source], list[str]]:
    """Finds the scans at the given paths.

    A path is a NIfTI file, a pattern with * or ?, or a folder: of a data set, or with NIfTI files and DICOM studies at
    any depth. One series of each study is used; the others are printed.

    Args:
      paths: as given by the user.
      series: use the series of this rank, from 1, of every study instead of the best one.
      reserved: names that no source may get.
      suffix: the command also writes files named after a source with this suffix, so no other source gets that name.
      only_dicom: ignore other files, and report paths that have nothing else.
      with_paths: let notes name files that are left out, instead of giving their numbers.

    Returns:
      (the sources, one sentence for each path without a scan).
    """
    sources, problems = [], []
    for number, path in enumerate(_expand_patterns(paths), start=1):
        try:
            with only_input_errors(str(path)):
                at_path = _sources_at(path, series)
        except InputError as error:
            problems.append(str(error))
            continue
        kept = [source for source in at_path if source.series is not None or source.problem or not only_dicom]
        if not kept:
            problems.append(f"{path}: has no DICOM; expected a folder with a DICOM series")
        sources += [dataclasses.replace(source, input_number=number, with_paths=with_paths) for source in kept]
    unique: dict[tuple[str, str | None, str], Source] = {}  # paths may overlap
    for source in sources:
        first_file = source.series.first_file if source.series is not None else None
        unique.setdefault((os.path.abspath(source.path), first_file, source.problem), source)
    return _assign_names(list(unique.values()), reserved, suffix), problems


def read_one(path: str | pathlib.Path) -> Volume:
    """Reads the one scan at a path: a NIfTI file, or a folder with one DICOM study.

    Raises:
      InputError: there is none or more than one, or it cannot be read.
    """
    sources, problems = find_sources([pathlib.Path(path)])
    if problems:
        raise InputError(problems[0])
    if len(sources) != 1:
        raise InputError(f"{path}: holds {len(sources)} scans; expected one")
    return sources[0].read()


def _expand_patterns(paths: Sequence[pathlib.Path]) -> Iterator[pathlib.Path]:
    """Replaces patterns by the paths that match; one without a match stays, so that it is reported."""
    for path in paths:
        matches = [] if path.exists() else sorted(glob.glob(str(path.expanduser()), recursive=True))
        yield from map(pathlib.Path, matches) if matches else [path]


def _sources_at(path: pathlib.Path, series: int | None) -> list[Source]:
    if path.is_file():
        if not nifti.is_nifti_name(path.name) and dicom_series.is_dicom(path):
            raise InputError(f"{path}: is a single DICOM file; expected the folder that holds its series")
        return [Source(_last_part(path), path)]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; expected a NIfTI file, or a folder of NIfTI or DICOM files")
    if datasets.is_dataset(path):
        numbers = _file_numbers(path)
        if scans := datasets.find_own_scans(path):
            return [Source(name, scan, file_number=numbers.get(scan, 1)) for name, scan in sorted(scans.items())]
        subjects = datasets.read_dataset(path).subjects
        return [
            Source(subject.name, subject.scan_path, None, subject, file_number=numbers.get(subject.scan_path, 1))
            for subject in subjects
        ]
    nifti_files = _nifti_files(path)
    numbers = _file_numbers(path) if nifti_files else {}
    files = [Source(file.name, file, file_number=numbers[file]) for file in nifti_files]
    studies, skipped = dicom_series.find_studies(path)
    name, others = _last_part(path), _other_formats(path)
    if others and not files and not studies:
        raise InputError(f"{name}: {others[0]}; expected a NIfTI file or an axial CT series (DICOM)")
    for line in others:
        say(f"{name}: skipped {line}")
    if not files and not studies:
        content = "; ".join(skipped) or "no files"
        raise InputError(f"{name}: holds {content}; expected a NIfTI file or an axial CT series (DICOM)")
    if studies:
        for line in skipped:
            say(f"{name}: skipped {line}")
    return files + [_with_first_file(_select_series(study, series), study) for study in studies]


def _file_numbers(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    """{a file, or a folder below: the number of the file, or of the folder's first one}, in the order of the walk."""
    numbers: dict[pathlib.Path, int] = {}
    for number, path in enumerate(files_below(folder), start=1):
        for one in (path, *path.parents):
            if one == folder or one in numbers:
                break
            numbers[one] = number
    return numbers


def _nifti_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """NIfTI files at any depth, except hidden ones, outputs of `predict`, and `convert`'s resampled copies."""
    paths = list(files_below(folder))
    outputs = {path.parent for path in paths if path.name == PREDICTION_FILE}
    files = {path for path in paths if nifti.is_nifti_name(path.name) and path.is_file()}
    return sorted(path for path in files if _original_of(path) not in files and path.parent not in outputs)


def _other_formats(folder: pathlib.Path) -> list[str]:
    """'scan.mha: is a MetaImage (convert it ...)' for each kind of file that may hold a scan but cannot be read."""
    by_kind: dict[str, list[str]] = {}
    for path in files_below(folder):
        if nifti.is_nifti_name(path.name) or path.suffix.lower() == ".dcm":
            continue
        if known := first_bytes.describe_file(path):
            by_kind.setdefault(known, []).append(path.name)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' * (len(names) > 1)}: {known}" for known, names in by_kind.items()
    ]


def _original_of(path: pathlib.Path) -> pathlib.Path | None:
    """NAME.nii for NAME_world.nii, which would be a resampled copy of it; None for other names."""
    stem = nifti.strip_extension(path.name)
    if not stem.endswith(WORLD_SUFFIX):
        return None
    return path.with_name(stem.removesuffix(WORLD_SUFFIX) + path.name[len(stem) :])


def _select_series(study: dicom_series.Study, rank: int | None) -> Source:
    """The series of a rank, by default the best one; prints the others."""
    name, number = _study_name(study.folder), 1 if rank is None else rank
    if not 1 <= number <= len(study.series):
        count = len(study.series)
        problem = f"{study.folder}: has {count} CT series; expected --series from 1 to {count}, not {number}"
        return Source(name, study.folder, problem=problem)
    selected = study.series[number - 1]
    if others := [series.label for series in study.series if series is not selected]:
        say(f"{name}: using {selected.label}; skipped: {', '.join(others)}")
    if selected.problem:
        return Source(name, study.folder, problem=f"{study.folder}: {selected.problem}")
    return Source(name, study.folder, selected, choice=_choice(study, selected))


def _choice(study: dicom_series.Study, selected: dicom_series.Series) -> SeriesChoice:
    """The series that is read and the others, for prediction.json."""

    def reason(other: dicom_series.Series) -> str:
        if other.rank < selected.rank:
            return "another was asked for"
        return ranking.reason(other.traits, selected.traits, study.reference)

    left_out: list[LeftOutSeries] = [
        {"rank": one.rank, "number": one.traits.number, "slices": one.traits.slices, "reason": reason(one)}
        for one in study.series
        if one is not selected
    ]
    traits = selected.traits
    return {"rank": selected.rank, "number": traits.number, "slices": traits.slices, "left_out": left_out}


def _with_first_file(source: Source, study: dicom_series.Study) -> Source:
    """A source of a study that knows its first file, which is that of the first series if none can be read."""
    series = source.series or study.series[0]
    first_file = pathlib.Path(series.first_file)
    return dataclasses.replace(
        source, first_file=first_file, file_number=series.file_number, series_number=series.traits.number
    )


def _study_name(folder: pathlib.Path) -> str:
    """The last part of a study's path; in a scan of CQ500, whose studies all have the same name, that of the scan."""
    parts = pathlib.Path(os.path.abspath(folder)).parts
    return next((part for part in reversed(parts) if CQ500_NAME.match(part)), _last_part(folder))


def _last_part(path: pathlib.Path) -> str:
    """The last part of a path as it was given: links are not resolved."""
    return pathlib.Path(os.path.abspath(path)).name


def _assign_names(sources: Sequence[Source], reserved: Sequence[str], suffix: str) -> list[Source]:
    """Names the sources after the last part of their paths, or after as many parts as make the names unique, so that
    adding scans does not change the names of the others."""
    parts = [(*pathlib.Path(os.path.abspath(source.path)).parent.parts[1:], source.name) for source in sources]
    longest = [_plain_name(part[-MAX_NAME_PARTS:]) for part in parts]
    depths = [1] * len(sources)
    while True:
        names = [_plain_name(part[-depth:]) for part, depth in zip(parts, depths, strict=True)]
        distinct = collections.defaultdict(set)  # the longest names of the sources that share a name
        for name, longest_name in zip(names, longest, strict=True):
            distinct[name].add(longest_name)
        ambiguous = [k for k, name in enumerate(names) if len(distinct[name]) > 1]
        if not ambiguous:
            break
        for k in ambiguous:
            depths[k] += 1
    taken = set(reserved)
    return [
        dataclasses.replace(source, stem=name, name=take_name(name, taken, suffix))
        for source, name in zip(sources, names, strict=True)
    ]


def _plain_name(parts: Sequence[str]) -> str:
    """Joins parts of a path to a name of letters, digits, points, dashes and underscores; a DICOM UID becomes 'scan',
    since it could identify a patient."""
    text = "_".join(UID_PATTERN.sub("scan", part) for part in (*parts[:-1], nifti.strip_extension(parts[-1])))
    return re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).lstrip(".-").rstrip(".") or "scan"


def take_name(name: str, taken: set[str], suffix: str) -> str:
    """A name of which neither form, with and without the suffix, is taken yet; adds both to `taken`."""
    unused, number = name, 2
    while {unused, unused + suffix} & taken:
        unused, number = f"{name}_{number}", number + 1
    taken |= {unused, unused + suffix}
    return unused
