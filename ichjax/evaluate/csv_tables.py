"""The tables of a work directory as CSV: a record a line, its convention in words, the paper's figures beside ours."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence

from ichjax.evaluate import published
from ichjax.evaluate.protocol import CONVENTIONS
from ichjax.evaluate.tables import PAPER
from ichjax.evaluate.workdir import read_run
from ichjax.files import write_text


def write_tables(workdir: pathlib.Path | str) -> list[pathlib.Path]:
    """Writes the tables of a work directory as CSV into tables/, each number with its convention in words.

    Returns:
      The files: summary, subjects, slice_detection, by_subtype and by_age.

    Raises:
      InputError: as `workdir.read_run`.
    """
    run = read_run(workdir)
    folder = run.path / "tables"
    folder.mkdir(exist_ok=True)
    makers = {
        "summary": summary_records,
        "subjects": subject_records,
        "slice_detection": detection_records,
        "by_subtype": lambda methods: group_records(methods, "by_subtype", published.DICE_BY_SUBTYPE),
        "by_age": lambda methods: group_records(methods, "by_age", published.DICE_BY_AGE),
    }
    return [_write_csv(folder / f"{name}.csv", make(run.methods)) for name, make in makers.items()]


def _write_csv(path: pathlib.Path, records: Sequence[Mapping]) -> pathlib.Path:
    """One row a record; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(records[0]) if records else ["method"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, text.getvalue())
    return path


def _spread(figures: Mapping) -> dict:
    """A `statistics.summary`, or the part of one that the paper prints, as cells."""
    low, high = figures.get("ci95") or (None, None)
    cells = {key: figures.get(key) for key in ("mean", "std", "min", "max")}
    return {**cells, "ci95_low": low, "ci95_high": high, "n": figures.get("n"), "unit": figures.get("unit")}


def summary_records(methods: Mapping[str, Mapping]) -> list[dict]:
    """A record for each method, score and convention, then the paper's."""
    records = []

    def add(method: str, score: str, convention: str, figures: Mapping) -> None:
        words = CONVENTIONS[convention]
        records.append(
            {"method": method, "score": score, "convention": convention, **_spread(figures), "in_words": words}
        )

    for name, results in methods.items():
        for convention, scores in results["conventions"].items():
            for score, figures in scores.items():
                add(name, score, convention, figures)
        for score, figures in results["reported_slice_detection"]["per_subject"].items():
            add(name, score, "slice_detection", figures)
        for score in ("sensitivity", "specificity", "accuracy"):
            pooled = {"mean": results["reported_slice_detection"]["pooled"][score], "unit": "slices"}
            add(name, score, "slice_detection_pooled", {**pooled, "n": results["counts"]["slices"]})
        free = results["hemorrhage_free"]
        for score in ("false_alarm_rate", "false_positive_ml"):
            figures = {"mean": free[score], "ci95": free.get(f"{score}_ci95"), "max": free.get(f"{score}_max")}
            add(name, score, score, {**figures, "n": free["n"], "unit": "subjects"})
    for name, results in methods.items():
        for score, figures in published.BY_METHOD.get(results.get("method"), {}).items():
            convention = "paper" if score in ("dice", "jaccard") else "slice_detection"
            add(f"{PAPER}: {name}", score, convention, figures)
    return records


def subject_records(methods: Mapping[str, Mapping]) -> list[dict]:
    """A record for each method and subject."""
    return [
        {"method": name, **subject, "subtypes": " ".join(subject["subtypes"])}
        for name, results in methods.items()
        for subject in results["subjects"]
    ]


def detection_records(methods: Mapping[str, Mapping]) -> list[dict]:
    """A record for each method, threshold and convention, then the paper's Table 7."""
    rates = ("sensitivity", "specificity", "accuracy")
    records = []
    for name, results in methods.items():
        for row in results["slice_detection"]:
            for convention, figures in (("slice_detection", row), ("slice_detection_pooled", row["pooled"])):
                records.append(
                    {
                        "method": name,
                        "threshold": row["threshold"],
                        "convention": convention,
                        **{rate: figures[rate] for rate in rates},
                        "in_words": CONVENTIONS[convention],
                    }
                )
    words = "As the paper prints it; its convention cannot be told from the text."
    for row in published.SLICE_DETECTION:
        records.append({"method": f"{PAPER}: U-Net", "convention": "", **row, "in_words": words})
    return records


def group_records(methods: Mapping[str, Mapping], key: str, paper: Mapping[str, float]) -> list[dict]:
    """Dice by sub-type or by age: a record for each method, group and unit, then the paper's.

    Args:
      methods: {name to print: results.json}.
      key: 'by_subtype' or 'by_age'.
      paper: {group: the paper's Dice}.
    """
    records = []
    for name, results in methods.items():
        for group, units in results[key].items():
            for unit in ("subjects", "slices"):
                words = f"{CONVENTIONS[key]} Mean over {unit}."
                records.append({"method": name, "group": group, **_spread(units[unit]), "in_words": words})
    for group, dice in paper.items():
        words = "As the paper prints it; the mean is likely over subjects."
        records.append({"method": f"{PAPER}: U-Net", "group": group, **_spread({"mean": dice}), "in_words": words})
    return records
