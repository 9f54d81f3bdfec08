"""Matches the files of a folder of predictions with the subjects of a data set, by the IDs in their names."""

import pathlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from ichjax.data.label_tables import format_ranges
from ichjax.errors import InputError
from ichjax.files import MASK
from ichjax.scan import nifti

MAX_NAMED = 50  # files or subjects in one sentence


class Named(Protocol):
    """A subject or scan of a data set: its number there, and the ID that file names hold."""

    @property
    def number(self) -> int: ...

    @property
    def name(self) -> str: ...


def find_files(
    folder: pathlib.Path, subjects: Sequence[Named], *, inner: str = MASK
) -> tuple[dict[int, pathlib.Path], list[str]]:
    """Finds each subject's file: NAME.nii.gz, NAME.nii or, as `predict` writes it, NAME/mask.nii.gz.

    NAME must hold the ID of exactly one subject, see `owner_finder`. A file that fits no subject or several, and files
    of which several fit one subject, are reported and not used.

    Args:
      folder: of predictions; hidden files (._049.nii.gz) and all others are ignored.
      subjects: of the data set.
      inner: the file to look for in a folder NAME.

    Returns:
      ({number: file}, one sentence for each kind of mismatch).

    Raises:
      InputError: the folder is missing, holds no such file, or none that belongs to a subject.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {found}; expected a folder of NIfTI masks or probabilities, one per subject")
    stems = _stems(folder, inner)
    if not stems:
        raise InputError(
            f"{folder}: holds no .nii or .nii.gz file and no NAME/{inner}; expected masks or probabilities, one per "
            f"subject"
        )
    name_of = lambda path: path.relative_to(folder).as_posix()  # noqa: E731
    find_owners = owner_finder(subjects)
    claims: dict[int, list[pathlib.Path]] = {}
    surplus = []
    for path, stem in stems.items():
        owners = sorted(find_owners(stem))
        if len(owners) == 1:
            claims.setdefault(owners[0], []).append(path)
        else:
            surplus.append(name_of(path) + (f" (fits {_describe(subjects, owners)})" if owners else ""))
    numbers = {subject.number for subject in subjects}
    if not claims:
        raise InputError(
            f"{folder}: none of its {len(stems)} files belongs to a subject of the data set ({surplus[0]}); "
            f"expected a subject's {'number' if _are_numbers(subjects) else 'ID'} in each name: "
            f"{_describe(subjects, numbers)}"
        )
    problems = [
        f"subject {_describe(subjects, [number])}: {len(paths)} files ({_join(map(name_of, paths))}); expected one"
        for number, paths in sorted(claims.items())
        if len(paths) > 1
    ]
    if missing := numbers - set(claims):
        problems.append(f"subjects {_describe(subjects, missing)}: no file among the predictions")
    if surplus:
        problems.append(f"files that do not belong to exactly one subject of the data set: {_join(surplus)}")
    return {number: paths[0] for number, paths in claims.items() if len(paths) == 1}, problems


def owner_finder(subjects: Sequence[Named]) -> Callable[[str], set[int]]:
    """A function from a file's name, without its ending, to the numbers of the subjects whose ID is in it.

    If the IDs are the subjects' numbers, as in the public data set, every number in the name counts, with or without
    leading zeros (ICH_0049, 49_pred). Other IDs count as whole words, so CT1 is not in CT10 or XCT1; upper and lower
    case are the same, and so are spaces, points, dashes and underscores, unless that makes two IDs the same. An ID
    that is part of a longer one (CT1 of CT1_left) does not count where the longer one stands.
    """
    whole = {subject.name: subject.number for subject in subjects}
    if _are_numbers(subjects):
        numbers = set(whole.values())
        find = lambda stem: {int(digits) for digits in re.findall(r"[0-9]+", stem)} & numbers  # noqa: E731
    else:
        words = {number: _plain(name) for name, number in whole.items()}
        exact = {number: _composed(name) for name, number in whole.items()}

        def find(stem: str) -> set[int]:
            owners = _words_in(_plain(stem), words)
            if len({words[number] for number in owners}) == 1:  # several only if their IDs differ in case or the like
                return _words_in(_composed(stem), {number: exact[number] for number in owners}) or owners
            return owners

    return lambda stem: {whole[stem]} if stem in whole else find(stem)


def _stems(folder: pathlib.Path, inner: str) -> dict[pathlib.Path, str]:
    """{file: the name that says whose it is}, sorted."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if nifti.is_nifti_name(entry.name) and entry.is_file()]
    return {path: nifti.strip_extension(path.name) for path in files} | {
        entry / inner: entry.name for entry in entries if (entry / inner).is_file()
    }


def _are_numbers(subjects: Iterable[Named]) -> bool:
    """Whether the IDs are the subjects' numbers, with or without leading zeros, rather than numbered in their order."""
    return all(re.fullmatch("[0-9]+", each.name) and int(each.name) == each.number for each in subjects)


def _words_in(text: str, words: Mapping[int, str]) -> set[int]:
    """The keys of the words that stand in a text, untouched by other letters or digits and outside longer words."""
    spans = [
        (match.span(), key)
        for key, word in words.items()
        if word and word in text
        for match in re.finditer(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", text)
    ]
    longer = lambda a, b: a != b and a[0] <= b[0] and b[1] <= a[1]  # noqa: E731
    return {key for span, key in spans if not any(longer(other, span) for other, _ in spans)}


def _composed(text: str) -> str:
    """The text with each accent as one character with its letter, as most systems but macOS store it."""
    return unicodedata.normalize("NFC", text)


def _plain(text: str) -> str:
    """The text in lower case, with one underscore for whatever separates letters and digits."""
    return re.sub(r"[\W_]+", "_", _composed(text).casefold()).strip("_")


def _describe(subjects: Sequence[Named], numbers: Iterable[int]) -> str:
    """The IDs of these subjects, for messages."""
    if _are_numbers(subjects):
        return format_ranges(numbers)
    chosen = set(numbers)
    return _join(subject.name for subject in subjects if subject.number in chosen)


def _join(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    rest = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + rest
