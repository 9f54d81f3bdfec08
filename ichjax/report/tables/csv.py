"""The tables of a work directory as CSV: a record a line, its convention in words, the paper's figures beside ours."""

import pathlib
from collections.abc import Mapping

from ichjax.files import write_csv
from ichjax.metrics import published
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.metrics.roc import SUBTYPES_IN_WORDS
from ichjax.report.tables import paper as paper_tables
from ichjax.report.tables.summary import PAPER
from ichjax.report.workdir import Run


def write_tables(run: Run) -> list[pathlib.Path]:
    """Writes the tables of a run as CSV into tables/, each number with its convention in words.

    Rates are fractions; an empty cell is a figure that does not exist.

    Returns:
      The files: summary, subjects, table6, table7, dice_by_subtype, dice_by_age; thresholds where a method chose
      grey levels, and subtype_auc where a method scores sub-types.
    """
    folder = run.path / "tables"
    folder.mkdir(exist_ok=True)
    tables = {
        "summary": summary_records(run.methods),
        "subjects": subject_records(run.methods),
        "table6": paper_tables.table6(run.methods),
        "table7": paper_tables.table7(run.methods),
        "dice_by_subtype": paper_tables.dice_by_subtype(run.methods),
        "dice_by_age": paper_tables.dice_by_age(run.methods),
        "thresholds": paper_tables.grey_levels(run.methods),
        "subtype_auc": subtype_auc(run.methods),
    }
    return [write_csv(folder / f"{name}.csv", records) for name, records in tables.items() if records]


def _spread(figures: Mapping) -> dict:
    """A `statistics.summary`, or the part of one that the paper prints, as cells."""
    low, high = figures.get("ci95") or (None, None)
    cells = {key: figures.get(key) for key in ("mean", "std", "min", "max")}
    bca_low, bca_high = figures.get("ci95_bca") or (None, None)
    cells |= {"ci95_low": low, "ci95_high": high, "ci95_bca_low": bca_low, "ci95_bca_high": bca_high}
    return {**cells, "n": figures.get("n"), "unit": figures.get("unit")}


def _spacing(results: Mapping) -> str:
    """What every mm and mL rests on."""
    return "nominal" if results.get("nominal_spacing") else "measured"


def summary_records(methods: Mapping[str, Mapping]) -> list[dict]:
    """A record for each method, score and convention, then the paper's."""
    records = []

    def add(method: str, score: str, convention: str, figures: Mapping, spacing: str = "") -> None:
        words = CONVENTIONS[convention]
        records.append(
            {
                "method": method,
                "score": score,
                "convention": convention,
                **_spread(figures),
                "spacing": spacing,
                "in_words": words,
            }
        )

    for name, results in methods.items():
        for convention, scores in results["conventions"].items():
            for score, figures in scores.items():
                add(name, score, convention, figures)
        for score, figures in results["reported_slice_detection"]["per_subject"].items():
            add(name, score, "slice_detection", figures)
        for score in ("sensitivity", "specificity", "accuracy"):
            pooled = {"mean": results["reported_slice_detection"]["pooled"][score], "unit": "slices"}
            add(name, score, "slice_detection_pooled", {**pooled, "n": results["counts"]["slices"]})
        free = results["hemorrhage_free"]
        for score in ("false_alarm_rate", "false_positive_ml"):
            figures = {"mean": free[score], "ci95": free.get(f"{score}_ci95"), "max": free.get(f"{score}_max")}
            spacing = _spacing(results) if score.endswith("_ml") else ""
            add(name, score, score, {**figures, "n": free["n"], "unit": "subjects"}, spacing)
    for name, results in methods.items():
        for score, figures in published.of(results).get("table6", {}).items():
            convention = "paper" if score in ("dice", "jaccard") else "slice_detection"
            add(f"{PAPER}: {name}", score, convention, figures)
    return records


def subject_records(methods: Mapping[str, Mapping]) -> list[dict]:
    """A record for each method and subject."""
    return [
        {"method": name, **subject, "subtypes": " ".join(subject["subtypes"]), "spacing": _spacing(results)}
        for name, results in methods.items()
        for subject in results["subjects"]
    ]


def subtype_auc(methods: Mapping[str, Mapping]) -> list[dict]:
    """A record for each method, sub-type and unit (slices, scans); none for methods that do not score sub-types."""
    keys = ("area", "average_precision", "positives", "negatives")
    return [
        {
            "method": name,
            "subtype": subtype,
            "unit": unit,
            **{key: (curve or {}).get(key) for key in keys},
            "in_words": SUBTYPES_IN_WORDS,
        }
        for name, results in methods.items()
        for subtype, units in results.get("beyond", {}).get("subtype_roc", {}).items()
        for unit, curve in units.items()
    ]
