"""Compares two runs on the subjects they share: paired differences, confidence intervals and tests."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ichjax.errors import InputError
from ichjax.files import write_csv, write_json
from ichjax.metrics import statistics
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.metrics.records import SubjectRecord
from ichjax.report.compare import load
from ichjax.report.compare.figure import Pairs, draw
from ichjax.report.compare.load import Side
from ichjax.report.figures.style import save
from ichjax.report.tables.text import footnote_numbers, paragraph, ruled_table
from ichjax.report.units import Units, units_of

FILES = ("compare.csv", "compare.json", "compare.png")


@dataclasses.dataclass(frozen=True)
class Score:
    """A score to compare, and how to get it from a subject's record in results.json (None if it has none)."""

    key: str  # in compare.csv and compare.json
    title: str
    in_words: str  # its definition
    value: Callable[[SubjectRecord], float | None]
    unit: str = ""  # 'mL' or ''
    higher_is_better: bool = True
    as_paper: bool = False  # excludes the subjects that the paper's convention excludes
    in_figure: bool = True


COMPARED_SCORES = (
    Score("dice", "Dice", CONVENTIONS["paper"], lambda row: row["dice"], as_paper=True),
    Score("jaccard", "Jaccard", CONVENTIONS["paper"], lambda row: row["jaccard"], as_paper=True, in_figure=False),
    Score("volume_dice", "Volume Dice", CONVENTIONS["volume"], lambda row: row["volume_dice"], in_figure=False),
    Score(
        "volume_error_ml",
        "Volume error",
        "Absolute difference between predicted and true volume; mean over the subjects with a hemorrhage.",
        lambda row: abs(row["predicted_ml"] - row["truth_ml"]) if row["truth_ml"] else None,
        "mL",
        higher_is_better=False,
    ),
    Score(
        "false_positive_ml",
        "False-positive volume",
        CONVENTIONS["false_positive_ml"],
        lambda row: None if row["truth_ml"] else row["predicted_ml"],
        "mL",
        higher_is_better=False,
    ),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A score with its paired values, and its p-value corrected for the number of scores tested."""

    score: Score
    pairs: Pairs
    holm_p: float | None


def compare(run_a: pathlib.Path | str, run_b: pathlib.Path | str, output: pathlib.Path | str | None = None) -> str:
    """Compares the main methods of two finished runs on the subjects they share.

    Args:
      run_a, run_b: folders with a results.json: work directories, or the folder of a baseline inside one.
      output: folder for compare.csv (one record per score), compare.json (with the values of each subject) and
        compare.png; created if missing; None writes nothing.

    Returns:
      Text for a terminal: a table of the differences B - A, the definitions of the scores, and warnings.

    Raises:
      InputError: a run cannot be read, the runs share no subject, the true volumes of a subject differ
        (`load.shared_subjects`), or the output folder cannot be written.
    """
    a, b = load.read_side("A", run_a), load.read_side("B", run_b)
    shared = load.shared_subjects(a, b)
    units = units_of(a.run.results, b.run.results)
    pairs = [_pairs(score, a, b, shared, units) for score in COMPARED_SCORES]
    holm = statistics.holm([p.difference["wilcoxon_p"] for p in pairs])
    rows = [Row(*row) for row in zip(COMPARED_SCORES, pairs, holm, strict=True)]
    notes = load.notes(a, b, shared)
    lines = [*_heading(a, b, shared), "", *_table(rows), *_explanations(notes)]
    if output is not None:
        folder = pathlib.Path(output)
        _write(folder, a, b, rows, _content(a, b, shared, rows, notes))
        lines.append(f"Written to {folder}: {', '.join(FILES)}")
    return "\n".join(lines)


def _pairs(score: Score, a: Side, b: Side, shared: Sequence[int], units: Units) -> Pairs:
    """The score of each shared subject that has it in both runs."""
    excluded = a.numbers("left_out_of_paper") | b.numbers("left_out_of_paper") if score.as_paper else set()
    kept = np.array([n for n in shared if n not in excluded], dtype=np.int64)
    of_a, of_b = (np.array([score.value(side.rows[n]) for n in kept.tolist()], dtype=np.float64) for side in (a, b))
    exists = ~(np.isnan(of_a) | np.isnan(of_b))
    of_a, of_b = of_a[exists], of_b[exists]
    difference = statistics.paired_difference(of_a, of_b)
    return Pairs(score.title, units.display(score.unit), score.higher_is_better, kept[exists], of_a, of_b, difference)


def _heading(a: Side, b: Side, shared: Sequence[int]) -> list[str]:
    positive = sum(a.rows[n]["truth_ml"] > 0 for n in shared)
    count = f"{len(shared)} subjects in both: {positive} with a hemorrhage, {len(shared) - positive} without."
    digests = [str(side.run.results.get("config_digest") or "unknown")[:16] for side in (a, b)]
    return [*(f"{side.letter}: {side.name} (config {d})" for side, d in zip((a, b), digests, strict=True)), count]


def _footnotes() -> dict[str, int]:
    return footnote_numbers(score.in_words for score in COMPARED_SCORES)


def _table(rows: Sequence[Row]) -> list[str]:
    """The aligned table, one line per score."""
    marks = _footnotes()
    cells = []
    for row in rows:
        digits, pairs, difference = 2 if row.score.unit else 3, row.pairs, row.pairs.difference
        means = [f"{x.mean():.{digits}f}" if len(x) else "-" for x in (pairs.a, pairs.b)]
        mean = "-" if difference["mean"] is None else f"{difference['mean']:+.{digits}f}"
        interval = " to ".join(f"{bound:+.{digits}f}" for bound in difference["ci95"] or ()) or "-"
        p_values = [_p_text(difference["wilcoxon_p"]), _p_text(row.holm_p)]
        title = f"{pairs.axis} [{marks[row.score.in_words]}]"
        cells.append([title, *means, mean, interval, *p_values, str(difference["n"])])
    return ruled_table([["Score", "A", "B", "B - A", "95 % CI", "p", "Holm p", "n"]], cells)


def _p_text(p: float | None) -> str:
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _explanations(notes: Sequence[str]) -> list[str]:
    """What the table means, then notes and warnings, a paragraph each."""
    paragraphs = [
        *(f"[{n}] {words}" for words, n in _footnotes().items()),
        "A, B: means over the n subjects that have the score in both runs. B - A: mean of the paired differences; a "
        "positive value favors B for Dice and Jaccard, and A for volume error and false-positive volume.",
        "95 % CI: confidence interval, percentile bootstrap over paired subjects; none below "
        f"{statistics.MIN_SUBJECTS} subjects. p: Wilcoxon signed-rank test, two-sided. Holm p: corrected for the "
        "number of scores tested here.",
        *notes,
    ]
    return [paragraph(text) for text in paragraphs]


def _record(row: Row) -> dict[str, object]:
    """One record of the CSV; None for a value that does not exist."""
    pairs, difference = row.pairs, row.pairs.difference
    low, high = difference["ci95"] or (None, None)
    bca_low, bca_high = difference["ci95_bca"] or (None, None)
    return {
        "score": row.score.key,
        "unit": pairs.unit,
        "n": difference["n"],
        "mean_a": float(pairs.a.mean()) if len(pairs.a) else None,
        "mean_b": float(pairs.b.mean()) if len(pairs.b) else None,
        "difference": difference["mean"],
        "ci95_low": low,
        "ci95_high": high,
        "ci95_bca_low": bca_low,
        "ci95_bca_high": bca_high,
        "wilcoxon_p": difference["wilcoxon_p"],
        "holm_p": row.holm_p,
        "better": "higher" if row.score.higher_is_better else "lower",
        "in_words": row.score.in_words,
    }


def _content(a: Side, b: Side, shared: Sequence[int], rows: Sequence[Row], notes: Sequence[str]) -> dict[str, object]:
    """compare.json: the runs, the records of the CSV, the notes, and the paired values of each subject."""
    subjects: dict[int, dict[str, float | None]] = {
        n: {"subject": n, "fold_a": a.rows[n]["fold"], "fold_b": b.rows[n]["fold"]} for n in shared
    }
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


def _write(folder: pathlib.Path, a: Side, b: Side, rows: Sequence[Row], content: Mapping[str, object]) -> None:
    """Writes the three files; InputError if the folder cannot be written."""
    figure = draw([row.pairs for row in rows if row.score.in_figure], a.name, b.name)
    table, record, picture = (folder / name for name in FILES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(table, [_record(row) for row in rows])
        write_json(record, content)
        save(figure, picture)
    except OSError as error:
        raise InputError(f"{folder}: not writable ({error.strerror}); expected a folder for the results") from error
