"""Map the names of mask labels to sub-types, and read the label names in nnU-Net's dataset.json."""

import pathlib
import re
from collections.abc import Iterable, Mapping

from ichjax.data.classes import MAX_LABEL, UNKNOWN_SUBTYPE
from ichjax.data.label_tables import SUBTYPES, parse_whole_number
from ichjax.errors import InputError
from ichjax.files import read_json

DATASET_JSON = "dataset.json"
# Word stems of each sub-type, in addition to its abbreviation. ICH is deliberately absent: it can mean intracranial or
# intracerebral hemorrhage.
SUBTYPE_WORDS = {
    "IVH": ("intraventricular",),
    "IPH": ("parenchymal", "intracerebral"),
    "SAH": ("subarachnoid",),
    "EDH": ("epidural", "extradural"),
    "SDH": ("subdural",),
}
BLEEDING = re.compile(r"ha?emor+h|ha?emato|bleed|blood|clot")
# Never a hemorrhage, even if the name also mentions one: 'perihematomal edema', 'subdural hygroma', 'no hemorrhage'.
NEVER_BLEEDING = re.compile(
    r"edema|hygroma|effusion|catheter|\bdrains?\b|\bshunts?\b|\bspaces?\b|\b(phe|evd|ignore|no|non|not)\b"
)
# A hemorrhage only if the name also mentions one: 'brain' is not, 'brain hemorrhage' is.
OTHER_TISSUE = re.compile(
    r"\b(brain|skull|crani|bone|scalp|ventric|cerebell|parenchyma|tissue|matter|midline|infarct|isch|penumbra|tumou?r"
    r"|calcif|fracture|normal|healthy|vessel)|\b(head|face|skin|body|air|csf|gm|wm)\b"
)


def class_of_name(name: str) -> int | None:
    """The class (`classes.class_mask`) that the name of a label stands for.

    Upper and lower case are the same, and 'subdural hematoma' is 'SDH'.

    Returns:
      1 + the sub-type's index in `SUBTYPES`; `UNKNOWN_SUBTYPE` for a hemorrhage of any or several sub-types, a lesion
      or a word without a meaning here; None for what is no hemorrhage: edema, brain, skull and the like.
    """
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    spaced, joined = " ".join(words), "".join(words)
    if NEVER_BLEEDING.search(spaced):
        return None
    named = [
        number
        for number, subtype in enumerate(SUBTYPES, start=1)
        if subtype.lower() in words or any(part in joined for part in SUBTYPE_WORDS[subtype])
    ]
    if not named and not BLEEDING.search(joined) and OTHER_TISSUE.search(spaced):
        return None
    return named[0] if len(named) == 1 else UNKNOWN_SUBTYPE


def classes_of_names(names: Iterable[tuple[int, str]], source: str) -> tuple[dict[int, int], list[str]]:
    """The classes of named labels: ({label from 1: its class}, notes); {} if no name is a sub-type.

    Args:
      names: (label, name); label 0 is the background, whatever its name.
      source: the file, for messages.

    Raises:
      InputError: a label is not a hemorrhage; it would be counted as one, since all non-zero voxels are the mask.
    """
    classes, unknown = {}, []
    for label, name in names:
        number = class_of_name(name)
        if label == 0 and number is not None and number != UNKNOWN_SUBTYPE:
            raise InputError(f"{source}: label 0 is named {name}; expected 0 to be the background")
        if label == 0:
            continue
        if number is None:
            raise InputError(f"{source}: label {label} is named {name}; expected masks with labels of hemorrhage only")
        classes[label] = number
        if number == UNKNOWN_SUBTYPE:
            unknown.append(name)
    notes = [f"{source}: hemorrhage of unknown sub-type: {', '.join(unknown)}"] if unknown else []
    return (classes if set(classes.values()) - {UNKNOWN_SUBTYPE} else {}), notes


def read_dataset_json(path: pathlib.Path) -> tuple[dict[int, int], list[str]]:
    """Reads the label names of nnU-Net's dataset.json: ({label: its class}, notes), see `classes_of_names`.

    `labels` is {name: label} (version 2), where a region is {name: [label, ...]}, or {label: name} (version 1 and the
    Medical Segmentation Decathlon). A label in several regions has the name of the smallest; if they are of one size
    and differ in their sub-types, its sub-type is unknown.

    Raises:
      InputError: the file cannot be read, describes several channels or other files than NIfTI, or has an invalid
        label or one that is no hemorrhage.
    """
    try:
        record = read_json(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), path.name)) from error
    channels = record.get("channel_names", record.get("modality", {}))
    if isinstance(channels, dict) and len(channels) > 1:
        listed = ", ".join(map(str, channels.values()))
        raise InputError(f"{path.name}: lists {len(channels)} channels ({listed}); expected one, CT")
    ending = record.get("file_ending", ".nii")
    if ending not in (".nii", ".nii.gz"):
        raise InputError(f"{path.name}: the file_ending is {ending!r}; expected .nii.gz or .nii")
    labels = record.get("labels", {})
    if not isinstance(labels, dict):
        raise InputError(f"{path.name}: its labels are {labels!r}; expected such as {{'background': 0, 'IVH': 1}}")
    regions: list[tuple[str, tuple[int, ...]]] = []
    for key, value in labels.items():
        is_first_version = isinstance(value, str) and parse_whole_number(key) is not None
        name, members = (value, key) if is_first_version else (key, value)
        regions.append((name, _parse_labels(members, name, path.name)))
    return classes_of_names(_names_by_label(regions).items(), path.name)


def _parse_labels(value: object, name: str, source: str) -> tuple[int, ...]:
    """The labels in a cell of dataset.json: a whole number, as text in version 1, or a list of them (a region)."""
    items = value if isinstance(value, list | tuple) else [value]
    numbers = [parse_whole_number(str(item)) for item in items if not isinstance(item, bool)]
    labels = tuple(number for number in numbers if number is not None and number <= MAX_LABEL)
    if not labels or len(labels) < len(items):
        raise InputError(f"{source}: {name!r} has the label {value!r}; expected a whole number from 0 to {MAX_LABEL}")
    return labels


def _names_by_label(regions: Iterable[tuple[str, tuple[int, ...]]]) -> Mapping[int, str]:
    """{label: the name of the smallest region that holds it}, or the names of all such regions of one size."""
    best: dict[int, tuple[int, str]] = {}
    for name, labels in regions:
        for label in labels:
            size, known = best.get(label, (MAX_LABEL + 1, ""))
            if len(labels) < size:
                best[label] = (len(labels), name)
            elif len(labels) == size:
                best[label] = (size, f"{known} / {name}")
    return {label: name for label, (_, name) in sorted(best.items())}
