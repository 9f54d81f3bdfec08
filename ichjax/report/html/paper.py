"""Sections of the report: detection at a stated prevalence, the paper's tables and figures, and further scores."""

from typing import Any

from ichjax.data.label_tables import SUBTYPES
from ichjax.metrics import published
from ichjax.metrics.detection import DETECTION_IN_WORDS
from ichjax.metrics.lesion_wise import LESION_WISE_IN_WORDS
from ichjax.metrics.lesions import MIN_COVERED
from ichjax.metrics.prevalence import PREVALENCE_IN_WORDS
from ichjax.metrics.raters import MBH_SEG_SOURCE, RATERS_IN_WORDS
from ichjax.metrics.roc import SUBTYPES_IN_WORDS
from ichjax.metrics.subtype_dice import SUBTYPE_CONVENTIONS
from ichjax.report.html.blocks import ENVIRONMENT
from ichjax.report.tables import detection_scores as detection_tables
from ichjax.report.tables import lesion_wise as lesion_tables
from ichjax.report.tables import literature as literature_tables
from ichjax.report.tables import prevalence as prevalence_tables
from ichjax.report.tables import raters as rater_tables
from ichjax.report.tables.paper import table6
from ichjax.report.tables.subtypes import subtype_dice
from ichjax.report.units import units_of
from ichjax.report.workdir import Run

SECTIONS = {
    "detection_at_prevalence": "Detection at a stated prevalence",
    "paper_tables": "Comparison with the paper",
    "paper_figures": "Figures of the paper",
    "literature": "The literature",
    "subtype_dice": "Segmentation of sub-types",
    "lesion_wise": "Lesion-wise scores",
    "raters": "Several raters",
    "beyond": "Secondary metrics",
    "conventions": "Scoring conventions",
}


def sections(run: Run) -> list[dict[str, str]]:
    """The sections, as HTML for the report.

    The figures in figures/ become part of the page, so draw them first; the section names those that are missing.

    Returns:
      [{'id', 'title', 'html'}], the HTML already escaped, as `markupsafe.Markup`: 'detection-at-prevalence' (only if a
      prevalence was stated), 'paper-tables', 'paper-figures', 'literature' (only if a method is like a reviewed
      system), 'subtype-dice' (only if a method segments sub-types),
      'lesion-wise', 'raters' and 'beyond' (only if results.json has them) and 'conventions'.
    """
    by_subtype = subtype_dice(run.methods)
    at_prevalence = prevalence_tables.stated(run.methods)
    lesion_records = lesion_tables.lesion_wise_records(run.methods)
    rater_records = rater_tables.rater_records(run.methods)
    literature_records = literature_tables.literature_records(run)
    ranked = literature_tables.rank_methods(run.methods) if literature_records else None
    present = {
        "literature": bool(literature_records),
        "detection_at_prevalence": bool(at_prevalence),
        "subtype_dice": bool(by_subtype),
        "lesion_wise": bool(lesion_records),
        "raters": bool(rater_records),
        "beyond": bool(run.results.get("beyond")),
    }
    context = {
        "run": run,
        "units": units_of(run.results),
        "table6": table6(run.methods),
        "published": published,
        "min_covered": MIN_COVERED,
        "subtypes_in_words": SUBTYPES_IN_WORDS,
        "subtype_names": SUBTYPES,
        "by_subtype": by_subtype,
        "subtype_conventions": SUBTYPE_CONVENTIONS,
        "literature_scores": {
            "records": literature_records,
            "differences": literature_tables.difference_records(run) if literature_records else [],
            "ranking": literature_tables.differ_text(*ranked) if ranked else "",
            "reviewed": literature_tables.reviewed_records(),
            "detection": {
                "records": detection_tables.detection_records(run.methods),
                "subtypes": detection_tables.subtype_records(run.methods),
                "lesions": detection_tables.lesion_records(run.methods),
                "brier_of_share": detection_tables.brier_of_share(run.methods),
                "in_words": DETECTION_IN_WORDS,
            },
            "ours": {record["reference"]: record["method"] for record in literature_records},
        },
        "rater_scores": {
            "records": rater_records,
            "titles": rater_tables.RATER_TITLES,
            "in_words": RATERS_IN_WORDS,
            "source": MBH_SEG_SOURCE,
        },
        "lesion_scores": {
            "records": lesion_records,
            "titles": lesion_tables.LESION_WISE_TITLES,
            "in_words": LESION_WISE_IN_WORDS,
            "texts": lesion_tables.score_texts,
            "penalty": lesion_tables.penalty_text,
        },
        "prevalence": {
            "methods": at_prevalence,
            "titles": prevalence_tables.PREVALENCE_TITLES,
            "in_words": PREVALENCE_IN_WORDS,
            "estimate": prevalence_tables.estimate_text,
            "population": prevalence_tables.population_text,
            "outcome": prevalence_tables.outcome_text,
        },
    }
    macros: dict[str, Any] = {}
    for template in ("report_scores.html.j2", "report_sections.html.j2", "report_literature.html.j2"):
        macros |= vars(ENVIRONMENT.get_template(template).make_module(context))
    return [
        {"id": name.replace("_", "-"), "title": title, "html": macros[name]()}
        for name, title in SECTIONS.items()
        if present.get(name, True)
    ]
