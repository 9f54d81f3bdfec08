"""Detection at a stated prevalence, as CSV and as text for the terminal and the report.

The argument `methods` of all functions is {display name: results.json}; methods without 'detection_at_prevalence' are
skipped.
"""

from collections.abc import Mapping

from ichjax.metrics.prevalence import PREVALENCE_IN_WORDS, SCANS
from ichjax.metrics.records import Results
from ichjax.metrics.score_records import DetectionAtPrevalence, RateEstimate
from ichjax.report.tables.paper import CsvRecord
from ichjax.report.tables.text import interval_cells

PREVALENCE_TITLES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "positive_predictive_value": "Positive predictive value",
    "negative_predictive_value": "Negative predictive value",
    "false_alarms_per_100_scans": "False alarms per 100 scans",
    "missed_per_100_scans": "Missed hemorrhages per 100 scans",
}


def stated(methods: Mapping[str, Results]) -> dict[str, DetectionAtPrevalence]:
    """{method: its detection at the stated prevalence}."""
    return {
        name: results["detection_at_prevalence"]
        for name, results in methods.items()
        if "detection_at_prevalence" in results
    }


def estimates_of(detection: DetectionAtPrevalence) -> dict[str, RateEstimate]:
    """{key: estimate}, in the order of `PREVALENCE_TITLES`."""
    return {
        "sensitivity": detection["sensitivity"],
        "specificity": detection["specificity"],
        "positive_predictive_value": detection["positive_predictive_value"],
        "negative_predictive_value": detection["negative_predictive_value"],
        "false_alarms_per_100_scans": detection["false_alarms_per_100_scans"],
        "missed_per_100_scans": detection["missed_per_100_scans"],
    }


def prevalence_records(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """A record for each method and estimate: rates are fractions, and the rest is a number per 100 scans."""
    return [
        {
            "method": name,
            "prevalence": detection["prevalence"],
            "test_set_prevalence": detection["test_set_prevalence"],
            "score": key,
            "value": estimate["value"],
            **interval_cells(estimate["ci95"]),
            "scans_with": detection["true_positives"] + detection["false_negatives"],
            "scans_without": detection["true_negatives"] + detection["false_positives"],
            "in_words": PREVALENCE_IN_WORDS[key],
        }
        for name, detection in stated(methods).items()
        for key, estimate in estimates_of(detection).items()
    ]


def estimate_text(key: str, estimate: RateEstimate) -> tuple[str, str]:
    """('43.2 %', '20.3 to 69.4 %') of a rate, ('7.2', '2.5 to 19.1') of a number of scans; '-' and '' where missing."""
    if estimate["value"] is None or estimate["ci95"] is None:
        return "-", ""
    scale, unit = (1.0, "") if "per_100" in key else (100.0, " %")
    low, high = estimate["ci95"]
    return f"{scale * estimate['value']:.1f}{unit}", f"{scale * low:.1f} to {scale * high:.1f}{unit}"


def population_text(detection: DetectionAtPrevalence) -> str:
    """'6 of 100 scans have a hemorrhage (of those scored here, 36 of 75)'."""
    with_it = detection["true_positives"] + detection["false_negatives"]
    scored = with_it + detection["true_negatives"] + detection["false_positives"]
    bleed = f"{SCANS * detection['prevalence']:.4g}"
    verb = "has" if bleed == "1" else "have"
    return f"{bleed} of {SCANS} scans {verb} a hemorrhage (of those scored here, {with_it} of {scored})"


def outcome_text(detection: DetectionAtPrevalence) -> str:
    """What to expect of 100 scans, in one sentence; '' where there was no scan with, or none without a hemorrhage."""
    missed, alarms = detection["missed_per_100_scans"]["value"], detection["false_alarms_per_100_scans"]["value"]
    if missed is None or alarms is None:
        return ""
    bleed = SCANS * detection["prevalence"]
    return (
        f"Of {SCANS} scans, {bleed:.4g} bleed: {bleed - missed:.1f} of them would be flagged and {missed:.1f} missed; "
        f"of the other {SCANS - bleed:.4g}, {alarms:.1f} would be false alarms."
    )


def prevalence_paragraphs(methods: Mapping[str, Results]) -> list[str]:
    """A paragraph for each method, for the terminal."""
    paragraphs = []
    for name, detection in stated(methods).items():
        texts = {key: estimate_text(key, estimate) for key, estimate in estimates_of(detection).items()}
        scores = [
            f"{PREVALENCE_TITLES[key].lower()} {value}{f' ({interval})' if interval else ''}"
            for key, (value, interval) in texts.items()
        ]
        paragraphs.append(
            f"{name}, where {population_text(detection)}: {'; '.join(scores)}. A scan is flagged if any of its slices "
            f"is predicted positive; 95 % confidence intervals in parentheses."
        )
    return paragraphs
