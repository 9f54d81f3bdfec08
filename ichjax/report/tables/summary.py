"""Tables of results: text for the terminal, CSV files for everything else."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence

from ichjax.metrics import published
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.report.units import IN_WORDS, units_of
from ichjax.report.workdir import collapsed_folds

EMPTY_MASK = "An empty mask"
PAPER = "Paper"
WIDTH = 96  # of the lines of text below the terminal's table
AGE_NAMES = {"under_18": "under 18 years", "18_and_over": "18 years and over", "unknown": "age unknown"}


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the summary: what it is called, how it is written, and the convention it follows."""

    key: str
    title: str
    convention: str  # a key of CONVENTIONS
    unit: str = ""  # '%' for a share, 'mL', or nothing
    heads: tuple[str, str] = ("", "")  # the title in two short lines, for a terminal


SUMMARY_COLUMNS = (
    Column("dice", "Dice", "paper", heads=("Dice", "")),
    Column("jaccard", "Jaccard", "paper", heads=("Jaccard", "")),
    Column("volume_dice", "Dice of the scan", "volume", heads=("Dice of", "scan")),
    Column("sensitivity", "Sensitivity", "slice_detection", "%", heads=("Sensi-", "tivity")),
    Column("specificity", "Specificity", "slice_detection", "%", heads=("Speci-", "ficity")),
    Column("false_alarm_rate", "False alarms", "false_alarm_rate", "%", heads=("False", "alarms")),
    Column("false_positive_ml", "False-positive volume", "false_positive_ml", "mL", heads=("False", "positive")),
)


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number of the summary; None where it does not exist."""

    value: float | None
    ci95: Sequence[float] | None = None
    n: int | None = None


def summary(methods: Mapping[str, Mapping]) -> list[tuple[str, dict[str, Figure]]]:
    """Rows of the summary: our methods, an empty mask, then the paper's figures for the methods it has.

    Args:
      methods: {name to print: results.json}; all scored on the same subjects.

    Returns:
      [(name, {column key: Figure})]; a row leaves out the columns that it has no figure for.
    """
    rows = [(name, _figures(results)) for name, results in methods.items()]
    first = next(iter(methods.values()))
    empty = first["empty_mask_would_score"]
    free = first["hemorrhage_free"]["n"]
    rows.append(
        (
            EMPTY_MASK,
            {
                "dice": Figure(empty["paper"]),
                "jaccard": Figure(empty["paper"]),  # no overlap: both are 0, or neither exists
                "volume_dice": Figure(empty["volume"]),
                "sensitivity": Figure(empty["slice_detection"]["sensitivity"]),
                "specificity": Figure(empty["slice_detection"]["specificity"]),
                "false_alarm_rate": Figure(0.0 if free else None),
                "false_positive_ml": Figure(0.0 if free else None),
            },
        )
    )
    for name, results in methods.items():
        paper = published.of(results).get("table6")
        if paper:
            figures = {key: Figure(figure["mean"]) for key, figure in paper.items()}
            rows.append((f"{PAPER}: {name}", figures))
    return rows


def _figures(results: Mapping) -> dict[str, Figure]:
    def of(figures: Mapping) -> Figure:
        return Figure(figures["mean"], figures["ci95"], figures["n"])

    conventions, free = results["conventions"], results["hemorrhage_free"]
    rates = results["reported_slice_detection"]["per_subject"]
    return {
        "dice": of(conventions["paper"]["dice"]),
        "jaccard": of(conventions["paper"]["jaccard"]),
        "volume_dice": of(conventions["volume"]["dice"]),
        "sensitivity": of(rates["sensitivity"]),
        "specificity": of(rates["specificity"]),
        "false_alarm_rate": Figure(free["false_alarm_rate"], None, free["n"]),
        "false_positive_ml": Figure(free["false_positive_ml"], free["false_positive_ml_ci95"], free["n"]),
    }


def write_number(value: float | None, unit: str = "") -> str:
    """'0.315', '97.3 %', '2.04 mL', '2.04 nominal mL'; '-' where there is no figure."""
    if value is None:
        return "-"
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} {unit}" if unit else f"{value:.3f}"


def write_interval(figure: Figure, unit: str = "") -> str:
    """'0.25 to 0.38', in the column's unit; '' where there is no interval."""
    if figure.ci95 is None:
        return ""
    low, high = (write_number(bound, unit).split()[0] for bound in figure.ci95)
    return f"{low} to {high}"


def summary_text(methods: Mapping[str, Mapping]) -> str:
    """The summary as text for a terminal: the table, then what each column means, in words.

    Args:
      methods: {name to print: results.json}.
    """
    rows, units = summary(methods), units_of(*methods.values())
    marks = footnotes()
    table = [
        ["Method", *(line.strip() for line in heads)] for heads in zip(*(c.heads for c in SUMMARY_COLUMNS), strict=True)
    ]
    table[1][0] = ""
    table.append(["", *(f"[{marks[c.convention]}]" for c in SUMMARY_COLUMNS)])
    for name, figures in rows:
        cells = [
            write_number(figures[c.key].value, units.of(c.unit)) if c.key in figures else "" for c in SUMMARY_COLUMNS
        ]
        table.append([name, *cells])
    lines = aligned(table)
    rule = "-" * max(map(len, lines))
    words = [textwrap.fill(f"[{n}] {CONVENTIONS[name]}", WIDTH, subsequent_indent="    ") for name, n in marks.items()]
    return "\n".join([*lines[:3], rule, *lines[3:], rule, *words, *_remarks(methods, dict(rows))])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def footnotes() -> dict[str, int]:
    """{convention: number of its footnote}, in the order of the summary's columns."""
    return {name: n for n, name in enumerate(dict.fromkeys(c.convention for c in SUMMARY_COLUMNS), start=1)}


def _remarks(methods: Mapping[str, Mapping], rows: Mapping[str, dict[str, Figure]]) -> list[str]:
    """How sure the figures are and what they rest on, a paragraph each."""
    remarks = list(dict.fromkeys(results["invalid"] + "." for results in methods.values() if results.get("invalid")))
    for name, results in methods.items():
        collapsed = ", ".join(map(str, collapsed_folds(results)))
        if collapsed:
            remarks.append(f"{name} collapsed in fold {collapsed}: no hemorrhage is predicted on any test subject.")
        intervals = [
            f"{c.title} {write_interval(rows[name][c.key], c.unit)}"
            for c in SUMMARY_COLUMNS
            if rows[name][c.key].ci95 is not None
        ]
        sure = "; ".join(intervals) if intervals else "none, there are fewer than 8 subjects"
        figure = rows[name]["dice"]
        remarks.append(
            f"{name}: {figure.n} subjects with a hemorrhage, {results['hemorrhage_free']['n']} without. "
            f"95 % intervals (bootstrap over subjects): {sure}. {threshold_text(results)}"
        )
    if any(results.get("nominal_spacing") for results in methods.values()):
        remarks.append(IN_WORDS)
    if any(name.startswith(f"{PAPER}: ") for name in rows):
        remarks.append(f"{PAPER}: {published.SOURCE}; {published.DATA}. Not the subjects scored here.")
    return [textwrap.fill(remark, WIDTH, subsequent_indent="    ") for remark in remarks]


def threshold_text(results: Mapping) -> str:
    """What the reported figures rest on: the threshold, what each fold chose, the area rule."""
    value, chosen_on = results["thresholds"]["value"], results["thresholds"]["chosen_on"]
    by_fold = [_chosen(fold) for fold in results.get("chosen_by_fold") or [] if fold]
    if isinstance(value, list) and any("thresholds" in text for text in by_fold):
        value = "s"  # each stands beside what it scored
    else:
        value = f"s by fold {value}" if isinstance(value, list) else f" {value}"
    rule = results.get("slice_rule_px")
    area = f"{results['slice_rule_mm2']:g} {units_of(results).mm2}" if rule is None else f"{rule} pixels"
    return (
        f"Threshold{value}, {'' if chosen_on.startswith('fixed') else 'chosen on '}{chosen_on}. "
        + (f"By fold: {'; '.join(by_fold)}. " if by_fold else "")
        + f"A slice is called positive with more than {area}."
    )


def _chosen(fold: Mapping) -> str:
    figures = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in fold.items()}
    return ", ".join(f"{name.replace('_', ' ')} {figure}" for name, figure in figures.items())
