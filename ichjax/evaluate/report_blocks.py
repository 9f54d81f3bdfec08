"""What the added sections of the report are made of: headings, sentences and tables, as plain records."""

import base64
import pathlib
from collections.abc import Sequence

import jinja2
import markupsafe

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def html(blocks: Sequence[dict]) -> markupsafe.Markup:
    """Blocks as HTML, escaped already."""
    return markupsafe.Markup(ENVIRONMENT.get_template("report_blocks.html.j2").render(blocks=blocks))


def heading(text: str) -> dict:
    """A heading within a section."""
    return {"kind": "heading", "text": text}


def words(text: str, *, warning: bool = False) -> dict:
    """A paragraph; a warning is marked as one."""
    return {"kind": "words", "text": text, "warning": warning}


def table(
    head: Sequence[str],
    rows: Sequence[Sequence],
    *,
    left: int = 1,
    numbers: Sequence[int] | None = None,
    paper: Sequence[int] = (),
) -> dict:
    """A table.

    Args:
      head: names of the columns.
      rows: cells, as many a row.
      left: how many columns at the left are words; the others are numbers.
      numbers: which columns are numbers, in place of `left`.
      paper: which columns are the paper's.
    """
    chosen = range(left, len(head)) if numbers is None else numbers
    return {"kind": "table", "head": list(head), "rows": rows, "numbers": list(chosen), "paper": list(paper)}


def picture(workdir: pathlib.Path, name: str, alt: str, caption: str) -> dict:
    """A drawn figure of a work directory as a data URI, or the sentence that it is not there.

    Args:
      workdir: figures/ in it is looked at.
      name: of the file, without '.png'.
      alt: what stands for the picture where it cannot be seen.
      caption: below it.
    """
    path = workdir / "figures" / f"{name}.png"
    if not path.is_file():
        return words(f"{alt}: not drawn, for what it shows is not there (data set, probabilities or scores).")
    uri = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    return {"kind": "figure", "uri": uri, "alt": alt, "caption": caption}
