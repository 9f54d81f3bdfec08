"""The table of predictions against labels of whole scans, as text for a terminal."""

from typing import cast

from ichjax.metrics.detection_records import FigureWithInterval, ReadsDetection, UnitDetection
from ichjax.metrics.records import Results
from ichjax.metrics.score_records import RateEstimate
from ichjax.report.tables.prevalence import estimate_text, prevalence_paragraphs
from ichjax.report.tables.text import paragraph, ruled_table

READS_HEAD = (
    ("", "Scans", "AUC, 95 %", "Average", "Sensitivity at", "Specificity at"),
    ("", "with it", "interval", "precision", "90 % specificity", "90 % sensitivity"),
)


def reads_text(scored: ReadsDetection) -> str:
    """A line for any hemorrhage and for each sub-type that has a score, then what the predicted masks flag."""
    ranked = {name: unit for name, unit in scored["detected"].items() if unit is not None}
    missing = [name for name in scored["detected"] if name not in ranked]
    lines = [f"{scored['method']}: {len(scored['scans'])} scans, labels: the majority of three readers", ""]
    if ranked:
        lines += ruled_table(READS_HEAD, [_cells(name, unit) for name, unit in ranked.items()])
    if missing:
        lines.append(
            paragraph(f"Not ranked, since none or all of the scans with a score have it: {', '.join(missing)}.")
        )
    found, spared = (_rate_text("sensitivity", scored["sensitivity"]), _rate_text("specificity", scored["specificity"]))
    too_few = any(unit["auc"]["ci95"] is None for unit in ranked.values())
    interval = "The interval is DeLong's, and not given for so few scans." if too_few else "The interval is DeLong's."
    texts = [
        f"Ranked by: {', '.join(scored['ranked_by'])}. {interval} "
        "Sensitivity and specificity at 90 % are read off the scored scans themselves, so a cut fixed beforehand would "
        "usually do worse.",
        f"Flagged, that is, with any slice predicted positive: sensitivity {found}, specificity {spared}.",
        *prevalence_paragraphs({scored["method"]: cast(Results, scored)}),
    ]
    return "\n".join([*lines, *map(paragraph, texts)])


def _cells(name: str, unit: UnitDetection) -> list[str]:
    area = unit["auc"]
    interval = "" if area["ci95"] is None else f" ({area['ci95'][0]:.3f} to {area['ci95'][1]:.3f})"
    others: list[FigureWithInterval] = [
        unit["average_precision"],
        unit["sensitivity_at_90_specificity"],
        unit["specificity_at_90_sensitivity"],
    ]
    share = f"{unit['positives']} of {unit['scans']}"
    return [name, share, f"{area['value']:.3f}{interval}", *(f"{figure['value']:.3f}" for figure in others)]


def _rate_text(key: str, rate: RateEstimate) -> str:
    value, interval = estimate_text(key, rate)
    return f"{value} ({interval})" if interval else "unknown"
