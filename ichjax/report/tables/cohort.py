"""Tables 4 and 5 of the paper for any data set, beside the paper's own columns."""

from collections.abc import Mapping, Sequence

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.data.subject import Scan
from ichjax.metrics import published
from ichjax.metrics.statistics import ADULT_YEARS

DAYS_A_YEAR = 365.25


def record(scan: Scan) -> dict:
    """What `cohort_rows` needs of one scan."""
    subject = scan.subject
    return {
        "subject": subject.number,
        "age_years": subject.age_years,
        "sex": subject.sex,
        "fracture": subject.fracture,
        "slice_labels": subject.slice_labels,
        "mask_positive": scan.mask.any(axis=(1, 2)),
        "mask_labels": scan.slice_labels,
    }


def cohort_rows(subjects: Sequence[Mapping]) -> list[dict]:
    """Counts subjects and slices as the paper's Tables 4 and 5 do.

    Args:
      subjects: one mapping each with 'subject' (number), 'age_years' (float or None), 'sex' ('M', 'F' or None),
        'fracture' (bool or None), 'slice_labels' (bool [N, 5], a row of the table each, columns as `SUBTYPES`),
        'mask_positive' (bool [D], slices whose mask has a pixel) and 'mask_labels' (bool [D, 5], the labels in
        the order of the mask's slices).

    Returns:
      [{'table', 'item', 'here', 'paper'}], values as text; 'paper' is '' where the paper has no such figure.
    """
    rows = _subject_rows(subjects, published.COHORT) + _slice_rows(subjects, published.SLICE_COUNTS)
    return [dict(zip(("table", "item", "here", "paper"), row, strict=True)) for row in rows]


def _subject_rows(subjects: Sequence[Mapping], paper: Mapping) -> list[tuple[str, str, str, str]]:
    ages = np.array([s["age_years"] for s in subjects if s["age_years"] is not None], dtype=np.float64)
    sexes = [s["sex"] for s in subjects]
    carries = np.array([np.any(s["slice_labels"], axis=0) for s in subjects]).reshape(-1, len(SUBTYPES))
    title = "Table 4: subjects"
    rows = [
        ("Subjects", len(subjects), paper["subjects"]),
        ("Sex: male, female", f"{sexes.count('M')}, {sexes.count('F')}", f"{paper['male']}, {paper['female']}"),
        (
            "Age in years, mean ± SD",
            f"{ages.mean():.1f} ± {ages.std():.1f}" if len(ages) else "unknown",
            f"{paper['age_mean_years']} ± {paper['age_std_years']}",
        ),
        (
            "Age range",
            f"{age_text(ages.min())} to {age_text(ages.max())}" if len(ages) else "unknown",
            f"{paper['age_min']} to {paper['age_max']}",
        ),
        (
            "Under 18 years, 18 and over",
            f"{(ages < ADULT_YEARS).sum()}, {(ages >= ADULT_YEARS).sum()}",
            f"{paper['under_18']}, {paper['18_and_over']}",
        ),
        ("With a hemorrhage, by the labels", carries.any(axis=1).sum(), paper["hemorrhage"]),
        *(
            (f"With {name}", carries[:, column].sum(), paper["by_subtype"][name])
            for column, name in enumerate(SUBTYPES)
        ),
        ("With a skull fracture", _fractures(subjects), paper["fracture"]),
    ]
    unknown = len(subjects) - len(ages)
    if unknown:
        rows.append(("Age unknown", unknown, ""))
    if set(sexes) - {"M", "F"}:
        rows.append(("Sex unknown", len(sexes) - sexes.count("M") - sexes.count("F"), ""))
    return [(title, item, str(here), str(theirs)) for item, here, theirs in rows]


def _fractures(subjects: Sequence[Mapping]) -> int | str:
    """How many have one; 'unknown' where no subject's record tells."""
    known = [s["fracture"] for s in subjects if s["fracture"] is not None]
    return sum(known) if known else "unknown"


def _slice_rows(subjects: Sequence[Mapping], paper: Mapping) -> list[tuple[str, str, str, str]]:
    labels = np.concatenate([np.reshape(s["slice_labels"], (-1, len(SUBTYPES))) for s in subjects]).astype(bool)
    masked = sum(int(np.sum(s["mask_positive"])) for s in subjects)
    scanned = sum(len(s["mask_positive"]) for s in subjects)
    labelled = int(labels.any(axis=1).sum())
    title = "Table 5: slices"
    rows = [
        ("Rows of the slice table", len(labels), paper["total"]),
        *(
            (f"Labelled {name}", labels[:, column].sum(), paper["by_subtype"][name])
            for column, name in enumerate(SUBTYPES)
        ),
        ("Labelled with a hemorrhage", labelled, paper["with"]),
        ("Labelled without", len(labels) - labelled, paper["without"]),
        ("Slices of the scans", scanned, ""),
        ("Slices with a mask", masked, ""),
    ]
    return [(title, item, str(here), str(theirs)) for item, here, theirs in rows]


def age_text(years: float) -> str:
    """An age in the unit a person would use: '1 day', '7 months', '72 years'."""
    for unit, per_year, below in (("day", DAYS_A_YEAR, 31 / DAYS_A_YEAR), ("month", 12, 2), ("year", 1, np.inf)):
        if years < below:
            number = round(years * per_year)
            return f"{number} {unit}{'' if number == 1 else 's'}"
    raise ValueError(f"an age of {years} years")


def stats_text(subjects: Sequence[Mapping], notes: Sequence[str] = ()) -> str:
    """The two tables as text for a terminal, the paper's columns beside, then what is odd.

    Args:
      subjects: as `cohort_rows`.
      notes: further sentences, such as those of `data.ct_ich_nifti.Dataset` and `data.ct_ich_nifti.Scan`.
    """
    rows = cohort_rows(subjects)
    widths = [max(len(row[key]) for row in rows) for key in ("item", "here")]
    lines: list[str] = []
    for row in rows:
        if row["table"] not in lines:
            lines += ["", row["table"], f"  {'':{widths[0]}}  {'here':>{widths[1]}}  paper"]
        lines.append(f"  {row['item']:{widths[0]}}  {row['here']:>{widths[1]}}  {row['paper']}".rstrip())
    lines += ["", *disagreement_lines(subjects), f"Paper: {published.SOURCE}."]
    if notes:
        lines += ["", "Notes", *(f"  {note}" for note in notes)]
    return "\n".join(lines[1:])


def disagreement_lines(subjects: Sequence[Mapping]) -> list[str]:
    """Where masks and labels disagree, in two sentences.

    Args:
      subjects: as `cohort_rows`.
    """
    lines = []
    for what, odd in (
        ("Slices with a mask but no sub-type", lambda masked, labelled: masked & ~labelled),
        ("Slices with a sub-type but no mask", lambda masked, labelled: labelled & ~masked),
    ):
        counts = {
            s["subject"]: int(odd(np.asarray(s["mask_positive"], bool), np.any(s["mask_labels"], axis=1)).sum())
            for s in subjects
        }
        of = ", ".join(str(number) for number, count in counts.items() if count)
        lines.append(f"{what}: {sum(counts.values())}" + (f" (subjects {of})." if of else "."))
    return [*lines, "Masks decide where the hemorrhage is, labels decide sub-types."]
