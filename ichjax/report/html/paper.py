"""Sections of the report: the paper's tables and figures, what lies beyond them, and the conventions of scoring."""

from collections.abc import Mapping, Sequence

from ichjax.metrics import published
from ichjax.metrics.roc import SUBTYPES_IN_WORDS
from ichjax.report.html.blocks import ENVIRONMENT
from ichjax.report.tables.paper import table6
from ichjax.report.units import units_of
from ichjax.report.workdir import Run

SECTIONS = {
    "paper_tables": "Beside the paper",
    "paper_figures": "Figures of the paper",
    "beyond": "Beyond the paper",
    "conventions": "Conventions",
}


def sections(run: Run, *, layers: Sequence[Mapping] = ()) -> list[dict]:
    """The sections, as HTML to put into the report.

    Images are read from the run's figures/ and become part of the page, so draw them first; one that is not there
    is said to be missing.

    Args:
      run: a finished run.
      layers: the network's, in order: {'name', 'kernel', 'output shape', 'parameters', 'receptive field px'}, any of
        which may lack ('_' may stand for a space); () for none.

    Returns:
      [{'id', 'title', 'html'}], the HTML escaped already, as `markupsafe.Markup`: 'paper-tables', 'paper-figures',
      'beyond' (only where results.json has it) and 'conventions'.
    """
    macros = ENVIRONMENT.get_template("report_sections.html.j2").make_module(
        {
            "run": run,
            "layers": layers,
            "units": units_of(run.results),
            "table6": table6(run.methods),
            "published": published,
            "subtypes_in_words": SUBTYPES_IN_WORDS,
        }
    )
    return [
        {"id": name.replace("_", "-"), "title": title, "html": getattr(macros, name)()}
        for name, title in SECTIONS.items()
        if name != "beyond" or run.results.get("beyond")
    ]
