"""Pair scans with masks by their file names: the same name, or the same but for words such as _0000, _ct or _seg."""

import collections
import pathlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from ichjax.errors import InputError

CHANNEL = "_0000"  # of the only channel in nnU-Net's layout
# Words for scans and masks, in names of files and of folders; written without spaces, points, dashes and underscores.
SCAN_WORDS = frozenset((
    "image", "images", "img", "imgs", "imagestr", "scan", "scans", "ct", "cts", "ncct", "ctscan", "ctscans",
    "volume", "volumes", "vol", "data",
))  # fmt: skip
MASK_WORDS = frozenset((
    "mask", "masks", "label", "labels", "labelstr", "seg", "segs", "segmentation", "segmentations", "gt", "gts",
    "groundtruth", "groundtruths", "annotation", "annotations", "lesion", "lesions", "roi", "rois",
))  # fmt: skip
SEPARATORS = r"[\s._-]+"
MAX_LISTED = 8  # files in a message


def plain_word(name: str) -> str:
    """A folder's name without case and separators: 'Ground Truths' is 'groundtruths'."""
    return re.sub(SEPARATORS, "", name).casefold()


def pair(
    scans: Mapping[str, pathlib.Path], masks: Mapping[str, pathlib.Path]
) -> tuple[dict[str, pathlib.Path], dict[str, pathlib.Path], list[pathlib.Path]]:
    """Pairs files by their names, never by their order.

    Equal names are a pair. Of the others, a scan and a mask are a pair if their names are equal without words such as
    _0000, _ct, image_, _seg or -label (`SCAN_WORDS`, `MASK_WORDS`), and no other file has that name.

    Args:
      scans, masks: {name without extension: file}.

    Returns:
      ({ID: scan}, {ID: mask of a scan}, masks that belong to no scan). The ID is the name that both share.

    Raises:
      InputError: several masks fit one scan or several scans one mask, or a scan has several channels.
    """
    exact = scans.keys() & masks.keys()
    ids = {stem: stem for stem in exact}  # of scans
    mask_of = {stem: stem for stem in exact}  # by ID
    for scan_stems, mask_stems in _groups(scans, masks):
        left_scans, left_masks = ([s for s in stems if s not in exact] for stems in (scan_stems, mask_stems))
        if not left_scans or not left_masks:
            continue
        if len(scan_stems) > 1 or len(mask_stems) > 1:
            fitting = [names(stems[s] for s in group) for stems, group in ((masks, mask_stems), (scans, scan_stems))]
            raise InputError(f"{fitting[0]}: the names fit {fitting[1]}; expected one scan and one mask of each ID")
        (scan,), (mask,) = left_scans, left_masks
        ids[scan] = next(name for name in shortened(scan) if name in shortened(mask))
        mask_of[ids[scan]] = mask
    _refuse_channels(scans, ids)
    affixes = {shortened(scan).index(name) for scan, name in ids.items()}
    count = affixes.pop() if len(affixes) == 1 else 0  # an unpaired scan loses as many affixes as all the others
    for scan in sorted(scans.keys() - ids.keys(), key=lambda stem: (len(shortened(stem)), stem)):
        name = shortened(scan)[: count + 1][-1]
        ids[scan] = scan if name in ids.values() else name
    used = set(mask_of.values())
    return (
        {name: scans[stem] for stem, name in sorted(ids.items())},
        {name: masks[stem] for name, stem in sorted(mask_of.items())},
        [masks[stem] for stem in sorted(masks) if stem not in used],
    )


def shortened(stem: str) -> list[str]:
    """A name, then without its affixes, one by one: 'A_ct_0000', 'A_ct', 'A'; first those at the end."""
    stems = [stem]
    while True:
        parts = re.split(f"({SEPARATORS})", stems[-1])
        for words in (1, 2):  # 'seg', 'ground_truth'
            inner = 2 * words
            if len(parts) > inner and _is_affix(parts[-inner + 1 :]) and (shorter := "".join(parts[:-inner])):
                break
            if len(parts) > inner and _is_affix(parts[: inner - 1]) and (shorter := "".join(parts[inner:])):
                break
        else:
            return stems
        stems.append(shorter)


def names(paths: Iterable[pathlib.Path]) -> str:
    """The first files with their folders, for messages, and how many more there are."""
    return shorten([f"{path.parent.name}/{path.name}" for path in paths])


def shorten(listed: Sequence[str]) -> str:
    """The first of a list, for messages, and how many more there are."""
    more = len(listed) - MAX_LISTED
    return ", ".join(listed[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _is_affix(parts: Iterable[str]) -> bool:
    word = plain_word("".join(parts))
    return word in SCAN_WORDS or word in MASK_WORDS or word == plain_word(CHANNEL)


def _groups(scans: Iterable[str], masks: Iterable[str]) -> Collection[tuple[list[str], list[str]]]:
    """(names of scans, names of masks) that are equal without their affixes."""
    groups: dict[str, tuple[list[str], list[str]]] = collections.defaultdict(lambda: ([], []))
    for k, stems in enumerate((scans, masks)):
        for stem in sorted(stems):
            groups[shortened(stem)[-1]][k].append(stem)
    return groups.values()


def _refuse_channels(scans: Mapping[str, pathlib.Path], ids: Mapping[str, str]) -> None:
    """Raises InputError if ID_0000 is paired with a mask ID and there is another channel, such as ID_0001."""
    for stem, name in ids.items():
        others = [s for s in scans if s not in ids and re.fullmatch(re.escape(name) + r"_\d{4}", s)]
        if stem == name + CHANNEL and others:
            listed = names(scans[s] for s in (stem, *sorted(others)))
            raise InputError(f"{listed}: are {len(others) + 1} channels of one scan; expected one channel, CT")
