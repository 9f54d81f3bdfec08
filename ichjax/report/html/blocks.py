"""The templates of the report: their environment, their filters, and the figures of a run."""

import base64
import pathlib

import jinja2

from ichjax.report.html import rows
from ichjax.report.tables import summary as summary_tables
from ichjax.report.workdir import Run


def picture_uri(run: Run, name: str) -> str | None:
    """A figure in a run's figures/ as a data URI; None where it is not drawn. The name is without '.png'."""
    path = run.path / "figures" / f"{name}.png"
    if not path.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.do"],
)
ENVIRONMENT.filters.update(
    number=summary_tables.write_number, interval=summary_tables.write_interval, text=rows.text, picture_uri=picture_uri
)
