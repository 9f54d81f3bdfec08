"""The Jinja environment of the report: its templates and filters."""

import pathlib

import jinja2

from ichjax.report.figures.case import data_uri
from ichjax.report.html import rows
from ichjax.report.tables import summary as summary_tables
from ichjax.report.workdir import Run

FOLDER = pathlib.Path(__file__).parent


def picture_uri(run: Run, name: str) -> str | None:
    """figures/NAME.png of a run as a data URI; None if the figure was not drawn."""
    path = run.path / "figures" / f"{name}.png"
    return data_uri(path.read_bytes(), "png") if path.is_file() else None


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.do"],
)
ENVIRONMENT.filters.update(
    number=summary_tables.number_text, interval=summary_tables.interval_text, text=rows.text, picture_uri=picture_uri
)
