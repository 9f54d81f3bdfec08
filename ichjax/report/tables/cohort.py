"""Tables 4 and 5 of the paper (subjects and slices) for any data set, with the paper's own numbers."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.data.subject import Scan
from ichjax.metrics import published
from ichjax.metrics.statistics import ADULT_YEARS
from ichjax.report.tables.text import align

DAYS_PER_YEAR = 365.25


class CohortRecord(TypedDict):
    """What the tables need of one subject; None where unknown."""

    subject: int
    age_years: float | None
    sex: str | None  # 'M' or 'F'
    fracture: bool | None
    slice_labels: np.ndarray  # bool [N, 5], the rows of the slice table, columns as `SUBTYPES`
    mask_positive: np.ndarray  # bool [D], slices whose mask has a pixel
    mask_labels: np.ndarray  # bool [D, 5], the labels in the order of the mask's slices


def record(scan: Scan) -> CohortRecord:
    """The record of one scan."""
    subject = scan.subject
    return {
        "subject": subject.number,
        "age_years": subject.age_years,
        "sex": subject.sex,
        "fracture": subject.fracture,
        "slice_labels": subject.slice_labels,
        "mask_positive": np.asarray(scan.mask.any(axis=(1, 2))),
        "mask_labels": scan.slice_labels,
    }


def cohort_rows(subjects: Sequence[CohortRecord]) -> list[dict[str, str]]:
    """Counts subjects and slices as the paper's Tables 4 and 5 do.

    Returns:
      [{'table', 'item', 'here', 'paper'}]; 'paper' is '' where the paper has no such number.
    """
    tables = {"Table 4: subjects": _subject_rows(subjects), "Table 5: slices": _slice_rows(subjects)}
    return [
        {"table": table, "item": item, "here": str(here), "paper": str(paper)}
        for table, rows in tables.items()
        for item, here, paper in rows
    ]


def _subject_rows(subjects: Sequence[CohortRecord]) -> list[tuple[str, object, object]]:
    """(item, here, paper) of Table 4."""
    paper = published.COHORT
    ages = np.array([s["age_years"] for s in subjects if s["age_years"] is not None], dtype=np.float64)
    sexes = [s["sex"] for s in subjects]
    carries = np.array([np.any(s["slice_labels"], axis=0) for s in subjects]).reshape(-1, len(SUBTYPES))
    fractures = [s["fracture"] for s in subjects if s["fracture"] is not None]
    rows: list[tuple[str, object, object]] = [
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
        *_by_subtype("With", carries, paper),
        ("With a skull fracture", sum(fractures) if fractures else "unknown", paper["fracture"]),
    ]
    if len(ages) < len(subjects):
        rows.append(("Age unknown", len(subjects) - len(ages), ""))
    if set(sexes) - {"M", "F"}:
        rows.append(("Sex unknown", len(sexes) - sexes.count("M") - sexes.count("F"), ""))
    return rows


def _slice_rows(subjects: Sequence[CohortRecord]) -> list[tuple[str, object, object]]:
    """(item, here, paper) of Table 5."""
    paper = published.SLICE_COUNTS
    labels = np.concatenate([np.reshape(s["slice_labels"], (-1, len(SUBTYPES))) for s in subjects]).astype(bool)
    labeled = int(labels.any(axis=1).sum())
    return [
        ("Rows of the slice table", len(labels), paper["total"]),
        *_by_subtype("Labeled", labels, paper),
        ("Labeled with a hemorrhage", labeled, paper["with"]),
        ("Labeled without", len(labels) - labeled, paper["without"]),
        ("Slices of the scans", sum(len(s["mask_positive"]) for s in subjects), ""),
        ("Slices with a mask", sum(int(np.sum(s["mask_positive"])) for s in subjects), ""),
    ]


def _by_subtype(word: str, labels: np.ndarray, paper: Mapping) -> list[tuple[str, object, object]]:
    """A row for each sub-type: how many rows of bool [N, 5] have it."""
    counts = zip(SUBTYPES, labels.sum(axis=0), strict=True)
    return [(f"{word} {name}", count, paper["by_subtype"][name]) for name, count in counts]


def age_text(years: float) -> str:
    """An age in days, months or years: '1 day', '7 months', '72 years'."""
    for unit, per_year, below in (("day", DAYS_PER_YEAR, 31 / DAYS_PER_YEAR), ("month", 12, 2), ("year", 1, np.inf)):
        if years < below:
            number = round(years * per_year)
            return f"{number} {unit}{'' if number == 1 else 's'}"
    raise ValueError(f"an age of {years} years")


def stats_text(subjects: Sequence[CohortRecord], notes: Sequence[str] = ()) -> str:
    """The two tables as text for a terminal, then where masks and labels disagree, and the notes.

    Args:
      subjects: at least one.
      notes: further sentences, such as those of `data.subject.Dataset` and `data.subject.Scan`.
    """
    lines: list[str] = []
    for table, rows in itertools.groupby(cohort_rows(subjects), key=lambda row: row["table"]):
        cells = [[row["item"], row["here"], row["paper"]] for row in rows]
        lines += [table, *(f"  {line}" for line in align([["", "this data set", "paper"], *cells])), ""]
    lines += [*disagreement_lines(subjects), f"Paper: {published.SOURCE}."]
    if notes:
        lines += ["", "Notes", *(f"  {note}" for note in notes)]
    return "\n".join(lines)


def disagreement_lines(subjects: Sequence[CohortRecord]) -> list[str]:
    """Where masks and labels disagree, a sentence each."""
    without_label, without_mask = {}, {}
    for s in subjects:
        masked, labeled = np.asarray(s["mask_positive"], bool), np.any(s["mask_labels"], axis=1)
        without_label[s["subject"]] = int((masked & ~labeled).sum())
        without_mask[s["subject"]] = int((labeled & ~masked).sum())
    lines = []
    for what, counts in (
        ("Slices with a mask but no sub-type", without_label),
        ("Slices with a sub-type but no mask", without_mask),
    ):
        numbers = ", ".join(str(number) for number, count in counts.items() if count)
        lines.append(f"{what}: {sum(counts.values())}" + (f" (subjects {numbers})." if numbers else "."))
    return [*lines, "The masks define where the hemorrhage is, the labels its sub-types."]
