"""Rows of the report's tables, and its sentences, from results.json."""

from collections.abc import Mapping

from ichjax.data import published
from ichjax.evaluate import statistics
from ichjax.evaluate.detection import DETECTION_RATES
from ichjax.evaluate.units import IN_WORDS
from ichjax.evaluate.workdir import Run


def detection_rows(methods: Mapping[str, Mapping]) -> list[dict]:
    """A row for each method and threshold: {'method', 'first' (of its method), 'threshold', 'reported', 'mean',
    'pooled', 'paper' (dicts of DETECTION_RATES; 'paper' None where its Table 7 has no such row)}."""
    rows = []
    for name, results in methods.items():
        table_7 = {row["threshold"]: row for row in published.of(results).get("table7", ())}
        for n, row in enumerate(results["slice_detection"]):
            rows.append(
                {
                    "method": name,
                    "first": n == 0,
                    "of": len(results["slice_detection"]),
                    "threshold": row["threshold"],
                    "reported": row["threshold"] == results["reported_slice_detection"]["threshold"],
                    "mean": {rate: row[rate] for rate in DETECTION_RATES},
                    "pooled": {rate: row["pooled"][rate] for rate in DETECTION_RATES},
                    "paper": table_7.get(round(row["threshold"], 6)),
                }
            )
    return rows


def group_rows(methods: Mapping[str, Mapping], key: str) -> list[dict]:
    """A row for each sub-type or age group: {'group', 'cells' ({method: {'subjects', 'slices', 'each'}}), 'paper'}.

    Args:
      methods: {name to print: results.json}.
      key: 'by_subtype' or 'by_age'; 'paper' is the Dice of the first method for which the paper has it.
    """
    paper = next((published.of(r)[key] for r in methods.values() if key in published.of(r)), {})
    groups = dict.fromkeys(group for results in methods.values() for group in results[key])
    nothing = {"mean": None, "ci95": None, "n": 0}
    absent = {"subjects": nothing, "slices": nothing, "each": None}
    return [
        {
            "group": group,
            "cells": {name: results[key].get(group, absent) for name, results in methods.items()},
            "paper": paper.get(group),
        }
        for group in groups
    ]


def age_sentences(methods: Mapping[str, Mapping]) -> list[str]:
    """What the test of the age difference says, a sentence a method that has one."""
    return [_age_sentence(name, r["by_age_test"]) for name, r in methods.items() if r.get("by_age_test")]


def _age_sentence(name: str, test: Mapping) -> str:
    if test["difference"] is None:
        return f"{name}: no difference between the ages, for one group is empty."
    interval, p = test["ci95"], test["mann_whitney_p"]
    sure = f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else "too few subjects for an interval"
    tested = f"; Mann-Whitney p = {p:.3f}" if p is not None else ""
    words_of_it = f"{name}: Dice under 18 years less Dice from 18 on"
    return f"{words_of_it} {test['difference']:+.3f} ({sure}{tested}; n = {test['n']})."


def fold_rows(run: Run) -> list[dict]:
    """A row for each fold: {'fold', 'parts' ({'train' | 'validation' | 'test': {'n', 'positive', 'numbers'}})}."""
    positive = {s["subject"] for s in run.results["subjects"] if s["positive_slices"]}
    return [
        {
            "fold": fold["fold"],
            "parts": {
                part: {"n": len(fold[part]), "positive": len(positive & set(fold[part])), "numbers": sorted(fold[part])}
                for part in ("train", "validation", "test")
            },
        }
        for fold in run.splits.get("folds", [])
    ]


def subject_rows(methods: Mapping[str, Mapping]) -> list[dict]:
    """A row for each subject of the first method, worst Dice first, then those without: its record in
    results.json, with 'others' ({method: its record there, or None})."""
    (_, first), *others = methods.items()
    records = {name: {s["subject"]: s for s in results["subjects"]} for name, results in others}
    rows = [
        {**s, "others": {name: theirs.get(s["subject"]) for name, theirs in records.items()}} for s in first["subjects"]
    ]
    return sorted(rows, key=lambda s: (s["dice"] is None, s["dice"] or 0.0, s["subject"]))


def unscored(run: Run) -> list[int]:
    """Test subjects of the folds that the results do not hold: not done yet, or not readable."""
    tested = {number for fold in run.splits.get("folds", []) for number in fold["test"]}
    return sorted(tested - {s["subject"] for s in run.results["subjects"]})


def flatten(fields: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Fields of a configuration as (dotted name, value as text). Where the data lie is left out: a path can name
    a person or an institution."""
    rows = []
    for name, value in fields.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{dotted}.")
        elif dotted != "data.root":
            rows.append((dotted, text(value)))
    return rows


def text(value: object) -> str:
    """A value of a record in words: lists with commas, mappings as 'name value'."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(f"[{text(v)}]" if isinstance(v, list | tuple) else text(v) for v in value)
    return "none" if value is None or value == "" else str(value)


def limits(run: Run, *, synthetic: bool | None) -> list[str]:
    """What a reader has to bear in mind, a sentence or two each."""
    results = run.results
    free, odd = results["hemorrhage_free"], results["disagreements"]
    sentences = []
    if results.get("nominal_spacing"):
        sentences.append(IN_WORDS)
    if synthetic:
        sentences.append(
            "The scans are synthetic. They were made to be hard in the ways the real task is hard, but no figure "
            "here says how a method does on patients."
        )
    sentences += [
        "Dice and Jaccard in the paper's convention ignore every false positive on slices without a hemorrhage. "
        f"Read them with the false alarms, the false-positive volume ({free['n']} hemorrhage-free subjects) and "
        "the Dice of the scan.",
        "The paper's figures come from other subjects. They stand here for orientation; a difference is no test. "
        "Its sensitivity and specificity cannot be derived again from the authors' stored code.",
        "Intervals resample the subjects of this one training run. They do not hold what a new run, another "
        "scanner or another hospital would change, and there is none below "
        f"{statistics.LEAST_SUBJECTS} subjects.",
        "Truth is one outline a scan. How far two readers would differ is not known.",
    ]
    if odd["mask_without_label"] or odd["label_without_mask"]:
        sentences.append(
            f"Masks and labels disagree on slices of subjects {text(odd['subjects'])}: "
            f"{odd['mask_without_label']} slices have a mask but no sub-type, {odd['label_without_mask']} a sub-type "
            "but no mask. Masks decide where the hemorrhage is, labels decide sub-types."
        )
    if results["left_out_of_paper"]:
        sentences.append(
            f"Subjects {text(results['left_out_of_paper'])} are left out of the figures in the paper's convention "
            "and of those by sub-type and age, and counted everywhere else."
        )
    notes = [str(note) for note in run.splits.get("notes", [])]
    return sentences + [f"Folds: {note.rstrip('.')}." for note in notes]
