"""What the added sections of the report are made of: headings, sentences and tables, as plain records."""

from collections.abc import Sequence


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
