"""The report: one HTML file with everything about a run, that works offline."""

import logging
import pathlib

import markupsafe

from ichjax.errors import InputError
from ichjax.files import write_text
from ichjax.metrics import published, statistics
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.report import units
from ichjax.report.figures import case as cases
from ichjax.report.figures import contours
from ichjax.report.html import blocks, rows, viewer
from ichjax.report.html import paper as report_paper
from ichjax.report.tables import paper as paper_tables
from ichjax.report.tables import summary as summary_tables
from ichjax.report.workdir import Run, choose_subjects, collapsed_folds, read_run

FOLDER = pathlib.Path(__file__).parent


def write_report(workdir: pathlib.Path | str) -> pathlib.Path:
    """Writes report.html into a work directory, from what lies there and the data set that config.json names.

    The figures in figures/ become part of it, so draw them first; it says which of them is not there.
    Where the data set, or a file of a subject, is gone or damaged, the viewer says so and the rest stands.

    Raises:
      InputError: as `workdir.read_run`.
    """
    run = read_run(workdir)
    path = run.path / "report.html"
    write_text(path, render(run))
    return path


def render(run: Run) -> str:
    """The report of a run as HTML."""
    shown, missing = _look(run)
    return blocks.ENVIRONMENT.get_template("report.html.j2").render(
        run=run,
        results=run.results,
        synthetic=run.config.get("data", {}).get("synthetic"),
        css=_verbatim("report.css"),
        script=_verbatim("report.js"),
        colors={"truth": contours.TRUTH_COLOR, "prediction": contours.PREDICTION_COLOR},
        conventions=CONVENTIONS,
        columns=summary_tables.SUMMARY_COLUMNS,
        marks=summary_tables.footnotes(),
        summary=summary_tables.summary(run.methods),
        threshold_texts={name: summary_tables.threshold_text(results) for name, results in run.methods.items()},
        collapsed=collapsed_folds(run.results),
        unscored=rows.unscored(run),
        table7=paper_tables.table7(run.methods),
        by_subtype=rows.group_rows(run.methods, "by_subtype"),
        by_age=rows.group_rows(run.methods, "by_age"),
        age_names=summary_tables.AGE_NAMES,
        least_subjects=statistics.MIN_SUBJECTS,
        folds=rows.fold_rows(run),
        subjects=rows.subject_rows(run.methods),
        units=units.units_of(*run.methods.values()),
        nominal_in_words=units.IN_WORDS,
        published=published,
        viewers=shown,
        missing=missing,
        sections=report_paper.sections(run, layers=run.results.get("layers", ())),
        settings=rows.flatten(run.config),
    )


def _verbatim(name: str) -> markupsafe.Markup:
    return markupsafe.Markup((FOLDER / name).read_text(encoding="utf-8"))


def _look(run: Run) -> tuple[list[dict], list[str]]:
    """(viewers of the chosen subjects, sentences on what cannot be shown)."""
    try:
        dataset = cases.open_dataset(run)
    except InputError as error:
        logging.warning("the report has no slices to look at: %s", error)
        return [], ["The data set is not where it was when the run was scored, so there are no slices to look at."]
    found, missing = [], []
    for why, number in choose_subjects(run.results):
        try:
            found.append((why, cases.load_case(run, dataset, number)))
        except InputError as error:
            logging.warning("the report leaves out the slices of subject %d: %s", number, error)
            missing.append(f"Subject {number} ({why}): its scan, its mask or its prediction could not be read.")
    return viewer.viewers(found), missing
