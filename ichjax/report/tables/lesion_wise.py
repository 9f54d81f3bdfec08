"""Tables of the lesion-wise scores: as CSV, for the report, and in a sentence for the terminal.

The argument `methods` of all functions is {display name: results.json}; methods without 'lesion_wise' are skipped.
"""

from collections.abc import Mapping, Sequence

from ichjax.metrics.lesion_wise import LESION_WISE_IN_WORDS
from ichjax.metrics.records import Results
from ichjax.metrics.score_records import LesionWise
from ichjax.metrics.statistics import Share, Summary
from ichjax.report.tables.paper import CsvRecord
from ichjax.report.tables.text import interval_cells
from ichjax.report.units import units_of

LESION_WISE_TITLES = {
    "f1": "Lesion F1",
    "f1_per_scan": "Lesion F1, mean of scans",
    "recall": "Lesion recall",
    "precision": "Lesion precision",
    "recall_under_1_ml": "Lesion recall under 1 mL",
    "hd95_hemorrhage": "HD95, scans with a hemorrhage",
    "hd95_all_scans": "HD95, all scans",
}


def lesion_wise_records(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """A record for each method and score of `LESION_WISE_TITLES`; HD95 is in mm, with its penalty.

    Returns:
      [{'method', 'score', 'value', 'ci95_low', 'ci95_high', 'n', 'unit', 'misses', 'false_alarms', 'penalty_mm_low',
      'penalty_mm_high', 'in_words'}]; 'unit' is what n counts, misses and false alarms are scans with the penalty.
    """
    return [
        {"method": name, "score": score, **cells, "in_words": LESION_WISE_IN_WORDS[_convention(score)]}
        for name, results in methods.items()
        if "lesion_wise" in results
        for score, cells in _cells(results["lesion_wise"]).items()
    ]


def _convention(score: str) -> str:
    return "hd95_mm" if score.startswith("hd95") else score


def _cells(scores: LesionWise) -> dict[str, CsvRecord]:
    hd95 = scores["hd95_mm"]
    penalty = {
        "misses": hd95["misses"],
        "false_alarms": hd95["false_alarms"],
        **interval_cells(hd95["penalty_mm"], "penalty_mm"),
    }
    none = dict.fromkeys(penalty)

    def rate(values: Share) -> CsvRecord:
        return {"value": values["value"], **interval_cells(values["ci95"]), "n": values["n"], "unit": "lesions", **none}

    def mean(values: Summary, more: CsvRecord) -> CsvRecord:
        return {"value": values["mean"], **interval_cells(values["ci95"]), "n": values["n"], "unit": "scans", **more}

    return {
        "f1": rate(scores["f1"]),
        "f1_per_scan": mean(scores["f1_per_scan"], none),
        "recall": rate(scores["recall"]),
        "precision": rate(scores["precision"]),
        "recall_under_1_ml": rate(scores["recall_under_1_ml"]),
        "hd95_hemorrhage": mean(hd95["hemorrhage"], {**penalty, "false_alarms": 0}),
        "hd95_all_scans": mean(hd95["all_scans"], penalty),
    }


def lesion_wise_scans(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """A record for each method and scan: lesions with and without a partner, F1, and HD95 in mm with the penalty."""
    return [
        {"method": name, **scan}
        for name, results in methods.items()
        if "lesion_wise" in results
        for scan in results["lesion_wise"]["subjects"]
    ]


def score_texts(record: CsvRecord, unit_mm: str) -> tuple[str, str, str]:
    """(value, 95 % interval, what it is over) of a record, as text; '-' for a value that does not exist."""
    form, unit = ("{:.1f}", f" {unit_mm}") if record["score"].startswith("hd95") else ("{:.3f}", "")
    value = "-" if record["value"] is None else form.format(record["value"]) + unit
    ends: Sequence[float | None] = (record["ci95_low"], record["ci95_high"])
    interval = "" if None in ends else " to ".join(form.format(end) for end in ends)
    return value, interval, f"{record['n']} {record['unit']}"


def penalty_text(record: CsvRecord, unit_mm: str) -> str:
    """'2 scans with a penalty of 301 to 310 mm' or 'no scan with a penalty', of the record 'hd95_all_scans'."""
    n = record["misses"] + record["false_alarms"]
    if not n:
        return "no scan with a penalty"
    low, high = (f"{record[f'penalty_mm_{end}']:.0f}" for end in ("low", "high"))
    penalty = low if low == high else f"{low} to {high}"
    return f"{n} {'scan' if n == 1 else 'scans'} with a penalty of {penalty} {unit_mm}"


def lesion_wise_paragraphs(methods: Mapping[str, Results]) -> list[str]:
    """A paragraph for each method, for the terminal."""
    paragraphs = []
    for name, results in methods.items():
        records, unit_mm = lesion_wise_records({name: results}), units_of(results).mm
        texts = [
            f"{LESION_WISE_TITLES[record['score']]} {score_texts(record, unit_mm)[0]}"
            for record in records
            if record["score"] in ("f1", "recall", "recall_under_1_ml", "hd95_all_scans")
        ]
        if records:
            paragraphs.append(f"{name}, lesion-wise: {'; '.join(texts)} ({penalty_text(records[-1], unit_mm)}).")
    return paragraphs
