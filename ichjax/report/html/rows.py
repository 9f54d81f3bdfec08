"""Rows of the report's tables, from results.json, splits.json and config.json."""

from collections.abc import Mapping
from typing import Any, Literal

from ichjax.metrics import published
from ichjax.metrics.records import Results
from ichjax.report.workdir import Run


def group_rows(methods: Mapping[str, Results], key: Literal["by_subtype", "by_age"]) -> list[dict[str, Any]]:
    """A row for each sub-type or age group: {'group', 'cells' ({method: {'subjects', 'slices', 'each'}}), 'paper'}.

    Args:
      methods: {display name: results.json}.
      key: of the groups; 'paper' is the Dice of the first method for which the paper has it.
    """
    paper: Mapping[str, float] = next((p[key] for p in map(published.of, methods.values()) if key in p), {})
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


def fold_rows(run: Run) -> list[dict[str, Any]]:
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


def subject_rows(methods: Mapping[str, Results]) -> list[dict[str, Any]]:
    """A row for each subject of the first method, worst Dice first, then those without: its record in results.json,
    and 'others' ({method: its record there, or None})."""
    (_, first), *others = methods.items()
    records = {name: {s["subject"]: s for s in results["subjects"]} for name, results in others}
    ordered = sorted(first["subjects"], key=lambda s: (s["dice"] is None, s["dice"] or 0.0, s["subject"]))
    return [{**s, "others": {name: other.get(s["subject"]) for name, other in records.items()}} for s in ordered]


def unscored(run: Run) -> list[int]:
    """Test subjects of the folds that are missing from the results: not tested yet, or unreadable."""
    tested = {number for fold in run.splits.get("folds", []) for number in fold["test"]}
    return sorted(tested - {s["subject"] for s in run.results["subjects"]})


def flatten(fields: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Fields of a configuration as (dotted name, value as text), without the folder of the data set: a path can name
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
    """A value of a record as text: lists with commas, mappings as 'name value'."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(f"[{text(v)}]" if isinstance(v, list | tuple) else text(v) for v in value)
    return "none" if value is None or value == "" else str(value)
