"""The summary table of a run: its rows and columns, and the table as text for a terminal.

The argument `methods` of all functions is {display name: results.json}, all scored on the same subjects.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from ichjax.metrics import published
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.metrics.records import Results
from ichjax.metrics.statistics import Summary
from ichjax.report.tables.lesion_wise import lesion_wise_paragraphs
from ichjax.report.tables.prevalence import prevalence_paragraphs
from ichjax.report.tables.raters import rater_paragraphs
from ichjax.report.tables.text import footnote_numbers, paragraph, ruled_table
from ichjax.report.units import NOMINAL_NOTE, units_of
from ichjax.report.workdir import collapsed_folds

EMPTY_MASK = "Empty mask"
PAPER = "Paper"
MAX_DESCRIBED = 4  # methods; of more, the terminal has the table, and the report the rest
AGE_NAMES = {"under_18": "under 18 years", "18_and_over": "18 years and over", "unknown": "age unknown"}


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the summary: its title, convention and unit."""

    key: str
    title: str
    convention: str  # a key of CONVENTIONS
    unit: str = ""  # '%' for a rate, 'mL' or ''
    heads: tuple[str, str] = ("", "")  # the title in two short lines, for a terminal


SUMMARY_COLUMNS = (
    Column("dice", "Dice", "paper", heads=("Dice", "")),
    Column("jaccard", "Jaccard", "paper", heads=("Jaccard", "")),
    Column("volume_dice", "Volume Dice", "volume", heads=("Volume", "Dice")),
    Column("sensitivity", "Sensitivity", "slice_detection", "%", heads=("Sensi-", "tivity")),
    Column("specificity", "Specificity", "slice_detection", "%", heads=("Speci-", "ficity")),
    Column("false_alarm_rate", "False-alarm rate", "false_alarm_rate", "%", heads=("False", "alarms")),
    Column("false_positive_ml", "False-positive volume", "false_positive_ml", "mL", heads=("False-pos.", "volume")),
)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One value of the summary, its 95 % confidence interval and the number of subjects; None where missing."""

    value: float | None
    ci95: Sequence[float] | None = None
    n: int | None = None


def summary(methods: Mapping[str, Results]) -> list[tuple[str, dict[str, Estimate]]]:
    """Rows of the summary: the methods of the run, an empty mask, then the paper's values of the methods it has.

    Returns:
      [(name, {column key: Estimate})]; a row lacks the columns for which it has no value.
    """
    rows = [(name, estimates(results)) for name, results in methods.items()]
    first = next(iter(methods.values()))
    empty = first["empty_mask_would_score"]
    nothing = Estimate(0.0 if first["hemorrhage_free"]["n"] else None)
    rows.append(
        (
            EMPTY_MASK,
            {
                "dice": Estimate(empty["paper"]),
                "jaccard": Estimate(empty["paper"]),  # without overlap both are 0, or neither exists
                "volume_dice": Estimate(empty["volume"]),
                "sensitivity": Estimate(empty["slice_detection"]["sensitivity"]),
                "specificity": Estimate(empty["slice_detection"]["specificity"]),
                "false_alarm_rate": nothing,
                "false_positive_ml": nothing,
            },
        )
    )
    for name, results in methods.items():
        paper = published.of(results).get("table6")
        if paper:
            rows.append((f"{PAPER}: {name}", {key: Estimate(values["mean"]) for key, values in paper.items()}))
    return rows


def estimates(results: Results) -> dict[str, Estimate]:
    """{column key: Estimate} of one method, for all columns of the summary."""

    def of(values: Summary) -> Estimate:
        return Estimate(values["mean"], values["ci95"], values["n"])

    conventions, free = results["conventions"], results["hemorrhage_free"]
    rates = results["reported_slice_detection"]["per_subject"]
    return {
        "dice": of(conventions["paper"]["dice"]),
        "jaccard": of(conventions["paper"]["jaccard"]),
        "volume_dice": of(conventions["volume"]["dice"]),
        "sensitivity": of(rates["sensitivity"]),
        "specificity": of(rates["specificity"]),
        "false_alarm_rate": Estimate(free["false_alarm_rate"], None, free["n"]),
        "false_positive_ml": Estimate(free["false_positive_ml"], free["false_positive_ml_ci95"], free["n"]),
    }


def number_text(value: float | None, unit: str = "") -> str:
    """'0.315', '97.3 %', '2.04 mL', '2.04 nominal mL'; '-' for a value that does not exist."""
    if value is None:
        return "-"
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} {unit}" if unit else f"{value:.3f}"


def interval_text(estimate: Estimate, unit: str = "") -> str:
    """'0.25 to 0.38', in the column's unit; '' for an interval that does not exist."""
    return " to ".join(number_text(bound, unit).split()[0] for bound in estimate.ci95 or ())


def column_footnotes() -> dict[str, int]:
    """{convention: number of its footnote}, in the order of the summary's columns."""
    return footnote_numbers(column.convention for column in SUMMARY_COLUMNS)


def summary_text(methods: Mapping[str, Results]) -> str:
    """The summary as text for a terminal: the table, the conventions of its columns, and remarks."""
    rows, units = summary(methods), units_of(*methods.values())
    marks = column_footnotes()
    upper, lower = zip(*(column.heads for column in SUMMARY_COLUMNS), strict=True)
    head = [["Method", *upper], ["", *lower], ["", *(f"[{marks[column.convention]}]" for column in SUMMARY_COLUMNS)]]
    cells = [
        [
            name,
            *(
                number_text(values[column.key].value, units.display(column.unit)) if column.key in values else ""
                for column in SUMMARY_COLUMNS
            ),
        ]
        for name, values in rows
    ]
    footnotes = [paragraph(f"[{number}] {CONVENTIONS[name]}") for name, number in marks.items()]
    return "\n".join([*ruled_table(head, cells), *footnotes, *map(paragraph, _remarks(methods, dict(rows)))])


def _remarks(methods: Mapping[str, Results], rows: Mapping[str, dict[str, Estimate]]) -> list[str]:
    """Warnings of all methods; intervals and thresholds, if they are many, of the first alone; sources: paragraphs."""
    remarks = list(dict.fromkeys(results["invalid"] + "." for results in methods.values() if results.get("invalid")))
    for name, results in methods.items():
        collapsed = ", ".join(map(str, collapsed_folds(results["subjects"])))
        if collapsed:
            remarks.append(f"{name} collapsed in fold {collapsed}: no hemorrhage is predicted on any test subject.")
    described = methods if len(methods) <= MAX_DESCRIBED else dict([next(iter(methods.items()))])
    for name, results in described.items():
        intervals = [
            f"{column.title} {interval_text(rows[name][column.key], column.unit)}"
            for column in SUMMARY_COLUMNS
            if rows[name][column.key].ci95 is not None
        ]
        remarks.append(
            f"{name}: {rows[name]['dice'].n} subjects with a hemorrhage, {results['hemorrhage_free']['n']} without. "
            "95 % confidence intervals (bootstrap over subjects): "
            f"{'; '.join(intervals) or 'none, fewer than 8 subjects'}. {threshold_text(results)}"
        )
    remarks += [*lesion_wise_paragraphs(described), *rater_paragraphs(described), *prevalence_paragraphs(described)]
    if described is not methods:
        remarks.append(f"The report says the same of the other {len(methods) - 1} methods.")
    if any(results.get("nominal_spacing") for results in methods.values()):
        remarks.append(NOMINAL_NOTE)
    if any(name.startswith(f"{PAPER}: ") for name in rows):
        remarks.append(f"{PAPER}: {published.SOURCE}; {published.DATA}. Not the subjects scored here.")
    return remarks


def threshold_text(results: Results) -> str:
    """The threshold and how it was chosen, what each fold chose, and the area rule for a positive slice."""
    value, chosen_on = results["thresholds"]["value"], results["thresholds"]["chosen_on"]
    by_fold = [_chosen_text(fold) for fold in results.get("chosen_by_fold") or [] if fold]
    if not isinstance(value, list):
        threshold = f"Threshold {value}"
    elif any("thresholds" in text for text in by_fold):
        threshold = "Thresholds"  # listed below, with their scores
    else:
        threshold = f"Thresholds by fold {value}"
    rule = results.get("slice_rule_px")
    area = f"{results['slice_rule_mm2']:g} {units_of(results).mm2}" if rule is None else f"{rule} pixels"
    return (
        f"{threshold}, {'' if chosen_on.startswith('fixed') else 'chosen on '}{chosen_on}. "
        + (f"By fold: {'; '.join(by_fold)}. " if by_fold else "")
        + f"A slice is predicted positive if the predicted area exceeds {area}."
    )


def _chosen_text(fold: Mapping[str, object]) -> str:
    """'epoch 8, validation Jaccard 0.2774': what a fold chose, in words."""
    values = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in fold.items()}
    texts = (f"{name.replace('_', ' ')} {value}" for name, value in values.items())
    return ", ".join(texts).replace("jaccard", "Jaccard")
