"""Sections of the report: the paper's tables and figures, the secondary metrics, and the scoring conventions."""

from ichjax.metrics import published
from ichjax.metrics.lesions import MIN_COVERED
from ichjax.metrics.roc import SUBTYPES_IN_WORDS
from ichjax.metrics.subtype_dice import SUBTYPE_CONVENTIONS
from ichjax.report.html.blocks import ENVIRONMENT
from ichjax.report.tables.paper import table6
from ichjax.report.tables.subtypes import subtype_dice
from ichjax.report.units import units_of
from ichjax.report.workdir import Run

SECTIONS = {
    "paper_tables": "Comparison with the paper",
    "paper_figures": "Figures of the paper",
    "subtype_dice": "Segmentation of sub-types",
    "beyond": "Secondary metrics",
    "conventions": "Scoring conventions",
}


def sections(run: Run) -> list[dict[str, str]]:
    """The sections, as HTML for the report.

    The figures in figures/ become part of the page, so draw them first; the section names those that are missing.

    Returns:
      [{'id', 'title', 'html'}], the HTML already escaped, as `markupsafe.Markup`: 'paper-tables', 'paper-figures',
      'subtype-dice' (only if a method segments sub-types), 'beyond' (only if results.json has it) and 'conventions'.
    """
    by_subtype = subtype_dice(run.methods)
    present = {"subtype_dice": bool(by_subtype), "beyond": bool(run.results.get("beyond"))}
    macros = ENVIRONMENT.get_template("report_sections.html.j2").make_module(
        {
            "run": run,
            "units": units_of(run.results),
            "table6": table6(run.methods),
            "published": published,
            "min_covered": MIN_COVERED,
            "subtypes_in_words": SUBTYPES_IN_WORDS,
            "by_subtype": by_subtype,
            "subtype_conventions": SUBTYPE_CONVENTIONS,
        }
    )
    return [
        {"id": name.replace("_", "-"), "title": title, "html": getattr(macros, name)()}
        for name, title in SECTIONS.items()
        if present.get(name, True)
    ]
