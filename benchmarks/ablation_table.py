"""The table of an ablation, from the rows of finished trainings."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.ingredients import BASE
from ichjax.metrics import statistics

MEASURES = ("dice", "volume_dice", "false_positive_ml")


def table(rows: list[dict]) -> list[dict]:
    """A row per ingredient: means over its subjects, and paired differences from the base in the same trainings.

    Of a subject that several networks predicted, the mean counts. False positives are of the other seed's subjects.
    """
    base = {(row["fold"], row["seed"]): row for row in rows if row["ingredient"] == BASE}
    lines = []
    for name in sorted({row["ingredient"] for row in rows}, key=lambda name: (name != BASE, name)):
        own = {(row["fold"], row["seed"]): row for row in rows if row["ingredient"] == name}
        shared = sorted(set(own) & set(base))
        line: dict[str, Any] = {"ingredient": name, "trainings": len(own)}
        for measure in MEASURES:
            line[measure] = _mean(list(_by_subject(own.values(), measure).values()))
            if name == BASE:
                line[f"{measure} change"] = ""
                continue
            before, after = (_by_subject([who[key] for key in shared], measure) for who in (base, own))
            pairs = [(before[subject], after[subject]) for subject in before if subject in after]
            line[f"{measure} change"] = _interval(statistics.paired_difference(*np.array(pairs).reshape(-1, 2).T))
        line["CPU minutes"] = _mean([row["cpu_minutes"] for row in own.values()])
        lines.append(line)
    return lines


def _by_subject(rows: Iterable[dict], measure: str) -> dict[tuple[str, int], float]:
    """The mean of a measure over trainings, by (set, subject); subjects without a value are left out."""
    values: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        for part in ("elsewhere",) if measure == "false_positive_ml" else ("subjects", "elsewhere"):
            for subject in row[part]:
                if subject[measure] is not None:
                    values.setdefault((part, subject["subject"]), []).append(subject[measure])
    return {key: float(np.mean(own)) for key, own in values.items()}


def _mean(values: list[float | None]) -> float:
    given = [value for value in values if value is not None]
    return round(float(np.mean(given)), 3) if given else float("nan")


def _interval(difference: statistics.PairedDifference) -> str:
    mean, ci95 = difference["mean"], difference["ci95"]
    if mean is None:
        return ""
    return f"{mean:+.3f}" + (f" [{ci95[0]:+.3f}, {ci95[1]:+.3f}]" if ci95 else "")
