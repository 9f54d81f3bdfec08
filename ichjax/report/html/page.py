"""Writes the HTML report: a single file with everything about a run, which works offline."""

import logging
import pathlib

import markupsafe

from ichjax.errors import InputError
from ichjax.files import write_text
from ichjax.metrics import published, statistics
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.report import units
from ichjax.report.figures import case as cases
from ichjax.report.figures import contact_sheet, contours
from ichjax.report.html import blocks, rows, viewer
from ichjax.report.html import paper as report_paper
from ichjax.report.tables import paper as paper_tables
from ichjax.report.tables import summary as summary_tables
from ichjax.report.workdir import Run, choose_subjects, collapsed_folds


def write_report(run: Run) -> pathlib.Path:
    """Writes report.html into the work directory of a run, from its records and the data set that config.json names.

    The figures in figures/ become part of it, so draw them first; the report names those that are missing. If the
    data set, or a file of a subject, is missing or damaged, the report says so in place of its slices.
    """
    path = run.path / "report.html"
    write_text(path, render(run))
    return path


def render(run: Run) -> str:
    """The report of a run as HTML."""
    viewers, missing = _viewers(run)
    return blocks.ENVIRONMENT.get_template("report.html.j2").render(
        run=run,
        results=run.results,
        synthetic=run.config.get("data", {}).get("synthetic"),
        css=_verbatim("report.css"),
        script=_verbatim("report.js"),
        colors={"truth": contours.TRUTH_COLOR, "prediction": contours.PREDICTION_COLOR},
        conventions=CONVENTIONS,
        columns=summary_tables.SUMMARY_COLUMNS,
        footnotes=summary_tables.column_footnotes(),
        summary=summary_tables.summary(run.methods),
        threshold_texts={name: summary_tables.threshold_text(results) for name, results in run.methods.items()},
        collapsed=collapsed_folds(run.results["subjects"]),
        unscored=rows.unscored(run),
        table7=paper_tables.table7(run.methods),
        by_subtype=rows.group_rows(run.methods, "by_subtype"),
        by_age=rows.group_rows(run.methods, "by_age"),
        age_names=summary_tables.AGE_NAMES,
        min_subjects=statistics.MIN_SUBJECTS,
        folds=rows.fold_rows(run),
        subjects=rows.subject_rows(run.methods),
        units=units.units_of(*run.methods.values()),
        nominal_note=units.NOMINAL_NOTE,
        published=published,
        viewers=viewers,
        bar_mm=contact_sheet.BAR_MM,
        missing=missing,
        sections=report_paper.sections(run),
        settings=rows.flatten(run.config),
    )


def _verbatim(name: str) -> markupsafe.Markup:
    return markupsafe.Markup((blocks.FOLDER / name).read_text(encoding="utf-8"))


def _viewers(run: Run) -> tuple[list[viewer.Viewer], list[str]]:
    """(viewers of the chosen subjects, sentences on what cannot be shown)."""
    try:
        dataset = cases.open_dataset(run)
    except InputError as error:
        logging.warning("the report shows no slices: %s", error)
        return [], ["No slices are shown: the data set is no longer where it was when the run was scored."]
    chosen, missing = [], []
    for reason, number in choose_subjects(run.results):
        try:
            chosen.append((reason, cases.load_case(run, dataset, number)))
        except InputError as error:
            logging.warning("the report skips the slices of subject %d: %s", number, error)
            missing.append(f"Subject {number} ({reason}): its scan, its mask or its prediction could not be read.")
    return viewer.viewers(chosen), missing
