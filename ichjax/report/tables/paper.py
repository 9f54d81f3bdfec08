"""The paper's tables of results in the paper's own layout, each value with the published one.

The argument `methods` of all functions is {display name: results.json}.
"""

from collections.abc import Mapping
from typing import Any, Literal

from ichjax.metrics import published
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.metrics.records import Results
from ichjax.metrics.slice_detection import DETECTION_RATES
from ichjax.metrics.statistics import AgeTest
from ichjax.report.tables.text import interval_cells

CsvRecord = dict[str, Any]  # {column: a number, text, or None where a value does not exist}

PAPER_SCORES = ("jaccard", "dice", "sensitivity", "specificity")
STATISTICS: dict[Literal["min", "max", "std", "mean"], str] = {  # in the order of the paper's Table 6
    "min": "minimum", "max": "maximum", "std": "SD", "mean": "mean",
}  # fmt: skip
DIFFERENCE = "difference"  # the age group of the record with the difference between the groups


def table6(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """Table 6: minimum, maximum, SD and mean over subjects, one record for each method and statistic.

    Jaccard and Dice follow the paper's convention; sensitivity and specificity are rates of slices per subject.

    Returns:
      [{'method', 'statistic', each of `PAPER_SCORES`, 'n_...' (number of subjects), 'paper_...', 'in_words'}];
      fractions, None where a value does not exist.
    """
    in_words = f"Jaccard, Dice: {CONVENTIONS['paper']} Sensitivity, specificity: {CONVENTIONS['slice_detection']}"
    records = []
    for name, results in methods.items():
        overlap, rates = results["conventions"]["paper"], results["reported_slice_detection"]["per_subject"]
        ours = (overlap["jaccard"], overlap["dice"], rates["sensitivity"], rates["specificity"])
        paper = published.of(results).get("table6", {})
        for statistic, label in STATISTICS.items():
            record: CsvRecord = {"method": name, "statistic": label}
            record |= {score: values[statistic] for score, values in zip(PAPER_SCORES, ours, strict=True)}
            record |= {f"n_{score}": values["n"] for score, values in zip(PAPER_SCORES, ours, strict=True)}
            record |= {f"paper_{score}": paper.get(score, {}).get(statistic) for score in PAPER_SCORES}
            records.append({**record, "in_words": in_words})
    return records


def table7(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """Table 7: slice detection by the threshold on the probability, one record for each method and threshold.

    Returns:
      [{'method', 'threshold', each of `DETECTION_RATES` as the mean over subjects, 'pooled_...' over all slices,
      'paper_...', 'in_words'}]; fractions. Only the paper's own method has the paper's values.
    """
    in_words = f"{CONVENTIONS['slice_detection']} Pooled: {CONVENTIONS['slice_detection_pooled']}"
    records = []
    for name, results in methods.items():
        paper = {row["threshold"]: row for row in published.of(results).get("table7", ())}
        for row in results["slice_detection"]:
            paper_row = paper.get(round(row["threshold"], 6))
            record: CsvRecord = {"method": name, "threshold": row["threshold"]}
            record |= {rate: row[rate] for rate in DETECTION_RATES}
            record |= {f"pooled_{rate}": row["pooled"][rate] for rate in DETECTION_RATES}
            record |= {f"paper_{rate}": paper_row[rate] if paper_row else None for rate in DETECTION_RATES}
            records.append({**record, "in_words": in_words})
    return records


def _group_records(
    methods: Mapping[str, Results], key: Literal["by_subtype", "by_age"], column: str
) -> list[CsvRecord]:
    """A record for each method and group; only the paper's own method has the paper's Dice."""
    return [
        {
            "method": name,
            column: group,
            "dice": values["subjects"]["mean"],
            "std": values["subjects"]["std"],
            **interval_cells(values["subjects"]["ci95"]),
            "subjects": values["subjects"]["n"],
            "dice_by_slice": values["slices"]["mean"],
            "slices": values["slices"]["n"],
            "paper_dice": published.of(results).get(key, {}).get(group),
            "in_words": f"{CONVENTIONS[key]} Mean over subjects, and by slice over all of them.",
        }
        for name, results in methods.items()
        for group, values in results[key].items()
    ]


def dice_by_subtype(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """Dice by sub-type; a slice counts in each of its sub-types.

    Returns:
      [{'method', 'subtype', 'dice', 'std', 'ci95_low', 'ci95_high', 'subjects', 'dice_by_slice', 'slices',
      'paper_dice', 'in_words', 'paper_subjects', 'paper_slices'}]: 'dice' is the mean over subjects, probably the
      paper's unit.
    """
    subjects, slices = published.COHORT["by_subtype"], published.SLICE_COUNTS["by_subtype"]
    return [
        {**r, "paper_subjects": subjects.get(r["subtype"]), "paper_slices": slices.get(r["subtype"])}
        for r in _group_records(methods, "by_subtype", "subtype")
    ]


def dice_by_age(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """Dice by age group, and the test of the difference if results.json has one.

    Returns:
      As `dice_by_subtype` with 'age_group', and 'mann_whitney_p'. A method with 'by_age_test' has one more record,
      `DIFFERENCE` (under 18 less 18 and over), with the paper's difference.
    """
    records: list[CsvRecord] = []
    for name, results in methods.items():
        groups = _group_records({name: results}, "by_age", "age_group")
        records += [{**record, "mann_whitney_p": None} for record in groups]
        test = results.get("by_age_test")
        if test:
            records.append(_difference(name, test, published.of(results).get("by_age")))
    return records


def _difference(name: str, test: AgeTest, paper: Mapping[str, float] | None) -> CsvRecord:
    return {
        "method": name,
        "age_group": DIFFERENCE,
        "dice": test["difference"],
        "std": None,
        **interval_cells(test["ci95"]),
        "subjects": test["n"],
        "dice_by_slice": None,
        "slices": None,
        "paper_dice": round(paper["under_18"] - paper["18_and_over"], 3) if paper else None,
        "in_words": "Mean Dice under 18 years less mean Dice from 18 years on; Mann-Whitney U test, two-sided.",
        "mann_whitney_p": test["mann_whitney_p"],
    }


def gray_levels(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """Experiment 1: the pair of gray levels that each fold chose on its training subjects; other methods are skipped.

    Returns:
      [{'method', 'fold', 'lower', 'upper', 'training_jaccard', 'paper_lower', 'paper_upper'}]; gray levels 0 to 255
      of the brain window.
    """
    records = []
    for name, results in methods.items():
        paper = published.of(results).get("grey_levels", {})
        for fold, chosen in enumerate(results.get("chosen_by_fold") or []):
            if not chosen or "thresholds" not in chosen:
                continue
            lower, upper = chosen["thresholds"]
            record: CsvRecord = {"method": name, "fold": fold, "lower": lower, "upper": upper}
            record |= {"training_jaccard": chosen.get("training_jaccard")}
            records.append({**record, "paper_lower": paper.get("lower"), "paper_upper": paper.get("upper")})
    return records
