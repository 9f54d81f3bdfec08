"""Writes tables, figures and the report of a finished run, and prints the summary."""

import pathlib

from ichjax.report.figures import literature as literature_figures
from ichjax.report.figures import paper as paper_figures
from ichjax.report.figures import run as run_figures
from ichjax.report.figures import secondary as secondary_figures
from ichjax.report.html import page as report_page
from ichjax.report.tables import csv as csv_tables
from ichjax.report.tables import summary as summary_tables
from ichjax.report.workdir import read_run


def publish(workdir: pathlib.Path) -> None:
    """Writes tables, figures and the report of a work directory, and prints the summary.

    Raises:
      InputError: as `workdir.read_run`.
    """
    run = read_run(workdir)
    csv_tables.write_tables(run)
    run_figures.write_figures(run)
    paper_figures.write_paper_figures(run)
    secondary_figures.write_secondary_figures(run)
    literature_figures.write_literature_figures(run)
    path = report_page.write_report(run)
    print(f"\n{summary_tables.summary_text(run.methods)}\n\nreport: {path}", flush=True)
