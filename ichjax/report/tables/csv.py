"""Writes the tables of a run as CSV: one record per line, with its convention in words and the paper's values."""

import pathlib
from collections.abc import Mapping

from ichjax.files import write_csv
from ichjax.metrics import published
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.metrics.records import Results, SubjectRecord
from ichjax.metrics.roc import SUBTYPES_IN_WORDS
from ichjax.metrics.slice_detection import DETECTION_RATES
from ichjax.report.tables import detection_scores as detection_tables
from ichjax.report.tables import lesion_wise as lesion_tables
from ichjax.report.tables import literature as literature_tables
from ichjax.report.tables import paper as paper_tables
from ichjax.report.tables import prevalence as prevalence_tables
from ichjax.report.tables import raters as rater_tables
from ichjax.report.tables import subtypes as subtype_tables
from ichjax.report.tables.summary import PAPER
from ichjax.report.tables.text import interval_cells
from ichjax.report.workdir import Run


def write_tables(run: Run) -> list[pathlib.Path]:
    """Writes the tables of a run as CSV into tables/, and deletes those that it had before and no longer has.

    Rates are fractions; an empty cell is a value that does not exist.

    Returns:
      The files: summary, subjects, table6, table7, dice_by_subtype, dice_by_age; thresholds if a method chose gray
      levels, subtype_auc and subtype_confusion if a method scores sub-types, subtype_dice if one segments them,
      lesion_wise, lesion_wise_scans, detection and detection_lesions except of runs of older versions, raters and
      raters_scans if there are masks of several raters, literature, literature_differences and literature_published if
      a method is like a system that the paper reviews, and detection_at_prevalence if a prevalence was stated.
    """
    folder = run.path / "tables"
    folder.mkdir(exist_ok=True)
    literature = literature_tables.literature_records(run)
    tables = {
        "summary": summary_records(run.methods),
        "subjects": subject_records(run.methods),
        "table6": paper_tables.table6(run.methods),
        "table7": paper_tables.table7(run.methods),
        "dice_by_subtype": paper_tables.dice_by_subtype(run.methods),
        "dice_by_age": paper_tables.dice_by_age(run.methods),
        "thresholds": paper_tables.gray_levels(run.methods),
        "subtype_auc": subtype_auc(run.methods),
        "subtype_confusion": detection_tables.confusion_records(run.methods),
        "detection": detection_tables.detection_records(run.methods),
        "detection_lesions": detection_tables.lesion_records(run.methods),
        "subtype_dice": subtype_tables.subtype_dice(run.methods),
        "lesion_wise": lesion_tables.lesion_wise_records(run.methods),
        "lesion_wise_scans": lesion_tables.lesion_wise_scans(run.methods),
        "raters": rater_tables.rater_records(run.methods),
        "raters_scans": rater_tables.rater_scans(run.methods),
        "literature": literature,
        "literature_differences": literature_tables.difference_records(run) if literature else [],
        "literature_published": literature_tables.reviewed_records() if literature else [],
        "detection_at_prevalence": prevalence_tables.prevalence_records(run.methods),
    }
    for name in (name for name, records in tables.items() if not records):
        (folder / f"{name}.csv").unlink(missing_ok=True)
    return [write_csv(folder / f"{name}.csv", records) for name, records in tables.items() if records]


def _spacing(results: Results) -> str:
    """Whether mm and mL are measured or nominal."""
    return "nominal" if results.get("nominal_spacing") else "measured"


def _summary_record(
    method: str, score: str, convention: str, values: Mapping, spacing: str = ""
) -> paper_tables.CsvRecord:
    """A line of summary.csv, from a `statistics.Summary` or a part of one."""
    return {
        "method": method,
        "score": score,
        "convention": convention,
        **{key: values.get(key) for key in ("mean", "std", "min", "max")},
        **interval_cells(values.get("ci95")),
        **interval_cells(values.get("ci95_bca"), "ci95_bca"),
        "n": values.get("n"),
        "unit": values.get("unit"),
        "spacing": spacing,
        "in_words": CONVENTIONS[convention],
    }


def summary_records(methods: Mapping[str, Results]) -> list[paper_tables.CsvRecord]:
    """A record for each method, score and convention, then the paper's."""
    records = []
    for name, results in methods.items():
        for convention, scores in results["conventions"].items():
            records += [_summary_record(name, score, convention, summary) for score, summary in scores.items()]
        detection, free = results["reported_slice_detection"], results["hemorrhage_free"]
        for rate in DETECTION_RATES:
            records.append(_summary_record(name, rate, "slice_detection", detection["per_subject"][rate]))
        for rate in DETECTION_RATES:
            pooled = {"mean": detection["pooled"][rate], "unit": "slices", "n": results["counts"]["slices"]}
            records.append(_summary_record(name, rate, "slice_detection_pooled", pooled))
        counted = {"n": free["n"], "unit": "subjects"}
        alarms = {"mean": free["false_alarm_rate"], **counted}
        volume = {
            "mean": free["false_positive_ml"],
            "ci95": free["false_positive_ml_ci95"],
            "max": free.get("false_positive_ml_max"),
            **counted,
        }
        records.append(_summary_record(name, "false_alarm_rate", "false_alarm_rate", alarms))
        records.append(_summary_record(name, "false_positive_ml", "false_positive_ml", volume, _spacing(results)))
    for name, results in methods.items():
        for score, values in published.of(results).get("table6", {}).items():
            source = "paper" if score in ("dice", "jaccard") else "slice_detection"
            records.append(_summary_record(f"{PAPER}: {name}", score, source, values))
    return records


def subject_records(methods: Mapping[str, Results]) -> list[paper_tables.CsvRecord]:
    """A record for each method and subject; 'volume_ml_low' and 'volume_ml_high' are the interval of its volume."""
    return [
        {
            "method": name,
            **{key: value for key, value in subject.items() if key != "volume_interval_ml"},
            "subtypes": " ".join(subject["subtypes"]),
            "spacing": _spacing(results),
            **interval_cells(_volume_interval(subject), "volume_ml"),
        }
        for name, results in methods.items()
        for subject in results["subjects"]
    ]


def _volume_interval(subject: SubjectRecord) -> list[float] | None:
    interval = subject.get("volume_interval_ml")
    return [interval["low"], interval["high"]] if interval else None


def subtype_auc(methods: Mapping[str, Results]) -> list[paper_tables.CsvRecord]:
    """A record for each method, sub-type and unit (slices, scans); none for methods that do not score sub-types."""
    return [
        {
            "method": name,
            "subtype": subtype,
            "unit": unit,
            "area": curve and curve["area"],
            "average_precision": curve and curve["average_precision"],
            "positives": curve and curve["positives"],
            "negatives": curve and curve["negatives"],
            "in_words": SUBTYPES_IN_WORDS,
        }
        for name, results in methods.items()
        if "beyond" in results
        for subtype, both in results["beyond"].get("subtype_roc", {}).items()
        for unit, curve in (("slices", both["slices"]), ("scans", both["scans"]))
    ]
