"""Tables of detection by scores: slices, scans and sub-types, lesions touched, and confusion between sub-types.

The argument `methods` of all functions is {display name: results.json}; methods without 'detection_scores', scored by
an older version, are skipped.
"""

from collections.abc import Mapping

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics.detection_records import Confusion, DetectionScores, FigureWithInterval, Unit, UnitDetection
from ichjax.metrics.records import Results
from ichjax.metrics.statistics import Share
from ichjax.report.tables.paper import CsvRecord
from ichjax.report.tables.text import interval_cells

DETECTED_UNITS: tuple[Unit, ...] = ("scans", "slices")


def detected(methods: Mapping[str, Results]) -> dict[str, DetectionScores]:
    """{method: its detection scores}."""
    return {name: results["detection_scores"] for name, results in methods.items() if "detection_scores" in results}


def detection_records(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """A record for each method, unit (scans, slices) and what is detected: 'any' (hemorrhage), or a sub-type.

    Returns:
      [{'method', 'unit', 'detected', 'ranked_by', 'auc', 'auc_interval', 'average_precision',
      'sensitivity_at_90_specificity', 'specificity_at_90_sensitivity' (each with '..._ci95_low' and '..._ci95_high'),
      'brier', 'brier_of_share' and 'expected_calibration_error' of scans, 'positives', 'negatives', 'scans'}]; None
      where a class is missing.
    """
    return [
        {"method": name, "unit": unit, "detected": what, "ranked_by": scores["ranked_by"][unit], **_figures(figures)}
        for name, scores in detected(methods).items()
        for unit in DETECTED_UNITS
        for what, figures in scores[unit].items()
    ]


def _figures(unit: UnitDetection | None) -> CsvRecord:
    calibration = unit.get("calibration") if unit else None
    return {
        **_cells("auc", unit and unit["auc"]),
        "auc_interval": unit and unit["auc_interval"],
        **_cells("average_precision", unit and unit["average_precision"]),
        **_cells("sensitivity_at_90_specificity", unit and unit["sensitivity_at_90_specificity"]),
        **_cells("specificity_at_90_sensitivity", unit and unit["specificity_at_90_sensitivity"]),
        **_cells("brier", calibration and calibration["brier"]),
        "brier_of_share": calibration and calibration["brier_of_share"],
        "expected_calibration_error": calibration and calibration["reliability"]["expected_calibration_error"],
        "positives": unit and unit["positives"],
        "negatives": unit and unit["negatives"],
        "scans": unit and unit["scans"],
    }


def _cells(name: str, figure: FigureWithInterval | Share | None) -> CsvRecord:
    return {name: figure and figure["value"], **interval_cells(figure and figure["ci95"], f"{name}_ci95")}


def subtype_records(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """A record for each method that scores sub-types: of each, the record of scans; and how often the right one wins.

    Returns:
      [{'method', by sub-type its record of `detection_records`, 'right_scans', 'right_slices' (with intervals),
      'n_scans', 'n_slices'}]; a sub-type without a score is missing.
    """
    found: dict[str, CsvRecord] = {}
    for record in detection_records(methods):
        if record["unit"] == "scans" and record["detected"] in SUBTYPES:
            found.setdefault(record["method"], {"method": record["method"]})[record["detected"]] = record
    for unit in DETECTED_UNITS:
        confusion = confusions(methods, unit)
        for name, record in found.items():
            right = confusion[name]["right"] if name in confusion else None
            record |= {**_cells(f"right_{unit}", right), f"n_{unit}": right and right["n"]}
    return list(found.values())


def lesion_records(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """A record for each method: lesions touched by its mask and covered by a tenth, components on lesions, and Dice.

    Returns:
      [{'method', 'lesions', 'lesions_touched', 'lesions_covered' (a tenth of their voxels), 'components',
      'components_on_lesions', 'dice' (the paper's)}], with intervals.
    """
    records = []
    for name, scores in detected(methods).items():
        results = methods[name]
        froc, dice = results["beyond"]["froc"] if "beyond" in results else None, results["conventions"]["paper"]["dice"]
        records.append(
            {
                "method": name,
                "lesions": scores["lesions_touched"]["n"],
                **_cells("lesions_touched", scores["lesions_touched"]),
                "lesions_covered": froc["found"] / froc["lesions"] if froc and froc["lesions"] else None,
                "components": scores["components_on_lesions"]["n"],
                **_cells("components_on_lesions", scores["components_on_lesions"]),
                "dice": dice["mean"],
                **interval_cells(dice["ci95"], "dice_ci95"),
            }
        )
    return records


def brier_of_share(methods: Mapping[str, Results]) -> float | None:
    """The Brier score of always saying the share of scans with a hemorrhage; None if methods scored different scans."""
    values = {record["brier_of_share"] for record in detection_records(methods) if record["detected"] == "any"} - {None}
    return values.pop() if len(values) == 1 else None


def confusions(methods: Mapping[str, Results], unit: Unit) -> dict[str, Confusion]:
    """{method: which sub-type it takes for which} in slices or scans, of methods that score at least two sub-types."""
    found = {name: scores.get("confusion", {}) for name, scores in detected(methods).items()}
    return {name: by_unit[unit] for name, by_unit in found.items() if unit in by_unit}


def confusion_records(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """A record for each method, unit and true sub-type: how often each sub-type has the highest score.

    Returns:
      [{'method', 'unit', 'true', a column for each sub-type, 'undecided', 'n'}].
    """
    return [
        {
            "method": name,
            "unit": unit,
            "true": true,
            **confusion["counts"][true],
            "undecided": confusion["undecided"][true],
            "n": sum(confusion["counts"][true].values()) + confusion["undecided"][true],
        }
        for unit in DETECTED_UNITS
        for name, confusion in confusions(methods, unit).items()
        for true in SUBTYPES
    ]
