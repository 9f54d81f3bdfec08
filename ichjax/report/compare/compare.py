"""Two runs compared on the subjects they share: paired differences, their intervals and tests, a table and a figure."""

import dataclasses
import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ichjax.errors import InputError
from ichjax.files import write_csv, write_json
from ichjax.metrics import statistics
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.report.compare import load
from ichjax.report.compare.figure import Pairs, draw
from ichjax.report.compare.load import Side
from ichjax.report.figures.style import save
from ichjax.report.tables.summary import WIDTH, aligned
from ichjax.report.units import Units, units_of

FILES = ("compare.csv", "compare.json", "compare.png")


@dataclasses.dataclass(frozen=True)
class Score:
    """What is compared: its value from a subject's row of results.json, None where it does not exist."""

    key: str
    title: str
    in_words: str
    value: Callable[[Mapping], float | None]
    unit: str = ""  # 'mL' or nothing
    higher_is_better: bool = True
    as_paper: bool = False  # leaves out the subjects that the paper's convention leaves out
    in_figure: bool = True


COMPARED_SCORES = (
    Score("dice", "Dice", CONVENTIONS["paper"], lambda row: row["dice"], as_paper=True),
    Score("jaccard", "Jaccard", CONVENTIONS["paper"], lambda row: row["jaccard"], as_paper=True, in_figure=False),
    Score("volume_dice", "Dice of the scan", CONVENTIONS["volume"], lambda row: row["volume_dice"], in_figure=False),
    Score(
        "volume_error_ml",
        "Volume error",
        "How far the predicted volume lies from the true one, above or below it; mean over the subjects with a "
        "hemorrhage.",
        lambda row: abs(row["predicted_ml"] - row["truth_ml"]) if row["truth_ml"] else None,
        "mL",
        higher_is_better=False,
    ),
    Score(
        "false_positive_ml",
        "False positives",
        CONVENTIONS["false_positive_ml"],
        lambda row: None if row["truth_ml"] else row["predicted_ml"],
        "mL",
        higher_is_better=False,
    ),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A score with its pairs, and its p corrected for all the scores tested."""

    score: Score
    pairs: Pairs
    holm_p: float | None


def compare(run_a: pathlib.Path | str, run_b: pathlib.Path | str, output: pathlib.Path | str | None = None) -> str:
    """Compares two finished runs on the subjects they share, each by its main method.

    Args:
      run_a, run_b: folders with a results.json: work directories, or a baseline's folder inside one.
      output: gets compare.csv (a record a score), compare.json (also each subject's values) and compare.png; made
        where it is not there; None to write nothing.

    Returns:
      Text for a terminal: a table of differences, B less A, its conventions in words, and what to beware of.

    Raises:
      InputError: a run cannot be read, no subject is in both, a subject's true volumes differ
        (`load.shared_subjects`), or the output folder cannot be written.
    """
    a, b = load.read_side("A", run_a), load.read_side("B", run_b)
    shared = load.shared_subjects(a, b)
    units = units_of(a.run.results, b.run.results)
    pairs = [_pairs(score, a, b, shared, units) for score in COMPARED_SCORES]
    holm = statistics.holm([p.difference["wilcoxon_p"] for p in pairs])
    rows = [Row(*row) for row in zip(COMPARED_SCORES, pairs, holm, strict=True)]
    notes = load.notes(a, b, shared)
    lines = [*_heading(a, b, shared), "", *_table(rows), *_words(notes)]
    if output is not None:
        folder = pathlib.Path(output)
        _write(folder, a, b, rows, _content(a, b, shared, rows, notes))
        lines.append(f"Written to {folder}: {', '.join(FILES)}")
    return "\n".join(lines)


def _pairs(score: Score, a: Side, b: Side, shared: Sequence[int], units: Units) -> Pairs:
    """The score of each shared subject that has it in both runs."""
    left_out = a.numbers("left_out_of_paper") | b.numbers("left_out_of_paper") if score.as_paper else set()
    kept = np.array([n for n in shared if n not in left_out], dtype=np.int64)
    of_a, of_b = (np.array([score.value(side.rows[n]) for n in kept.tolist()], dtype=np.float64) for side in (a, b))
    exists = ~(np.isnan(of_a) | np.isnan(of_b))
    of_a, of_b = of_a[exists], of_b[exists]
    difference = statistics.paired_difference(of_a, of_b)
    return Pairs(score.title, units.of(score.unit), score.higher_is_better, kept[exists], of_a, of_b, difference)


def _heading(a: Side, b: Side, shared: Sequence[int]) -> list[str]:
    bleeding = sum(a.rows[n]["truth_ml"] > 0 for n in shared)
    count = f"{len(shared)} subjects in both: {bleeding} with a hemorrhage, {len(shared) - bleeding} without."
    return [*(f"{side.letter}: {side.name} (config {_digest(side)})" for side in (a, b)), count]


def _digest(side: Side) -> str:
    """The configuration's digest in results.json, 16 characters; 'unknown' where there is none."""
    return str(side.run.results.get("config_digest") or "unknown")[:16]


def _table(rows: Sequence[Row]) -> list[str]:
    """The aligned table, a line a score."""
    marks = _footnotes()
    table = [["Score", "A", "B", "B - A", "95 % interval", "p", "Holm p", "n"]]
    for row in rows:
        digits, pairs, figures = 2 if row.score.unit else 3, row.pairs, row.pairs.difference
        means = [f"{x.mean():.{digits}f}" if len(x) else "-" for x in (pairs.a, pairs.b)]
        mean = "-" if figures["mean"] is None else f"{figures['mean']:+.{digits}f}"
        interval = " to ".join(f"{bound:+.{digits}f}" for bound in figures["ci95"] or ()) or "-"
        p_values = [_write_p(figures["wilcoxon_p"]), _write_p(row.holm_p)]
        title = f"{pairs.axis} [{marks[row.score.in_words]}]"
        table.append([title, *means, mean, interval, *p_values, str(figures["n"])])
    lines = aligned(table)
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:], rule]


def _write_p(p: float | None) -> str:
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _footnotes() -> dict[str, int]:
    """{convention in words: its number}, in the order of the scores."""
    return {words: n for n, words in enumerate(dict.fromkeys(score.in_words for score in COMPARED_SCORES), start=1)}


def _words(notes: Sequence[str]) -> list[str]:
    """What the table means, then what to beware of, a paragraph each."""
    paragraphs = [
        *(f"[{n}] {words}" for words, n in _footnotes().items()),
        "A, B: means over the n subjects that have the score in both. B - A: the mean of their differences; above 0 "
        "B is better in Dice and Jaccard, and worse in volume error and false positives.",
        "95 % interval: percentiles of a bootstrap over subjects, pairs drawn together; none below "
        f"{statistics.MIN_SUBJECTS} subjects. p: Wilcoxon's signed-rank test, two-sided. Holm p: corrected for "
        "all the scores tested here.",
        *notes,
    ]
    return [textwrap.fill(text, WIDTH, subsequent_indent="    ") for text in paragraphs]


def _record(row: Row) -> dict:
    """A score as cells of the CSV; None where a figure does not exist."""
    pairs, figures = row.pairs, row.pairs.difference
    low, high = figures["ci95"] or (None, None)
    bca_low, bca_high = figures["ci95_bca"] or (None, None)
    return {
        "score": row.score.key,
        "unit": row.pairs.unit,
        "n": figures["n"],
        "mean_a": float(pairs.a.mean()) if len(pairs.a) else None,
        "mean_b": float(pairs.b.mean()) if len(pairs.b) else None,
        "difference": figures["mean"],
        "ci95_low": low,
        "ci95_high": high,
        "ci95_bca_low": bca_low,
        "ci95_bca_high": bca_high,
        "wilcoxon_p": figures["wilcoxon_p"],
        "holm_p": row.holm_p,
        "better": "higher" if row.score.higher_is_better else "lower",
        "in_words": row.score.in_words,
    }


def _content(a: Side, b: Side, shared: Sequence[int], rows: Sequence[Row], notes: Sequence[str]) -> dict:
    """compare.json: the runs, the records of the CSV, the notes, and the values of each subject that were paired."""
    subjects = {n: {"subject": n, "fold_a": a.rows[n]["fold"], "fold_b": b.rows[n]["fold"]} for n in shared}
    for row in rows:
        for n, of_a, of_b in zip(row.pairs.subjects, row.pairs.a, row.pairs.b, strict=True):
            subjects[int(n)] |= {f"{row.score.key}_a": float(of_a), f"{row.score.key}_b": float(of_b)}
    return {
        "runs": {
            side.letter: {
                "name": side.name,
                "method": side.run.results.get("method"),
                "config_digest": side.run.results.get("config_digest"),
                "only_here": [n for n in side.rows if n not in subjects],
            }
            for side in (a, b)
        },
        "difference": "B less A",
        "scores": [_record(row) for row in rows],
        "notes": list(notes),
        "subjects": list(subjects.values()),
    }


def _write(folder: pathlib.Path, a: Side, b: Side, rows: Sequence[Row], content: Mapping) -> None:
    """Writes the three files; InputError where the folder cannot be written."""
    figure = draw([row.pairs for row in rows if row.score.in_figure], a.name, b.name)
    table, record, picture = (folder / name for name in FILES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(table, content["scores"])
        write_json(record, content)
        save(figure, picture)
    except OSError as error:
        raise InputError(f"{folder}: not writable ({error.strerror}); expected a folder for the results") from error
