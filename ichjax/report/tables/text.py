"""Shared pieces of tables: aligned text for a terminal, footnotes, and the two cells of an interval."""

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 96  # of paragraphs, in characters
NO_BREAK_SPACE = "\xa0"


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of aligned columns: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def ruled_table(head: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of an aligned table, with a rule below the head and one below the rows."""
    lines = align([*head, *rows])
    rule = "-" * max(map(len, lines))
    return [*lines[: len(head)], rule, *lines[len(head) :], rule]


def paragraph(text: str) -> str:
    """A paragraph wrapped to `WIDTH`, with a hanging indent; a number and its unit stay on one line."""
    text = re.sub(r"(?<=\d) (?=%|mm|mL)", NO_BREAK_SPACE, text)
    return textwrap.fill(text, WIDTH, subsequent_indent="    ").replace(NO_BREAK_SPACE, " ")


def footnote_numbers(notes: Iterable[str]) -> dict[str, int]:
    """{note: its number from 1}, each note once, in order."""
    return {note: number for number, note in enumerate(dict.fromkeys(notes), start=1)}


def interval_cells(interval: Sequence[float] | None, name: str = "ci95") -> dict[str, float | None]:
    """The cells '..._low' and '..._high' of a CSV; None for an interval that does not exist."""
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
