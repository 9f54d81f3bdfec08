"""The model card of an exported model (Mitchell et al., 2019): training data, scores and limits, as Markdown."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from ichjax.errors import InputError
from ichjax.files import CONFIG_FILE, RESULTS_FILE, read_json
from ichjax.inference.records import ProgramRecord

CONVENTION_TITLES = {"paper": ", the paper's convention", "volume": " of whole scans"}
LIMITS = """\
- For research. Not a medical device: its safety and its benefit to patients have not been shown.
- It detects what its training scans contained. Other scanners and kernels, contrast, metal, surgery, children, old
  bleeds and other diseases can make it wrong, in either direction, with high probabilities.
- An empty mask does not mean that there is no hemorrhage.
"""


class ScoreRow(NamedTuple):
    """A score: its name, mean and 95 % interval (None where too few subjects give one), number of subjects, digits."""

    what: str
    mean: float | None
    interval: list[float] | None
    subjects: int
    digits: int


def format_card(workdir: pathlib.Path, record: ProgramRecord, *, method: str) -> str:
    """The card of a run as Markdown.

    Args:
      workdir: the run; the scores are from its results.json, where there is one.
      record: model.json.
      method: `Method.card`.
    """
    config = read_json(workdir / CONFIG_FILE)
    synthetic = config.get("data", {}).get("synthetic")
    data = "synthetic head CTs (phantoms); it has never seen a patient" if synthetic else "the data set named in config"
    lines = [
        "# Model card: segmentation of intracranial hemorrhage in head CT",
        "",
        "## Model",
        f"{method}, in ichjax; folds {', '.join(map(str, record['folds']))} averaged; configuration "
        f"{record['config_digest']}.",
        f"Takes {record['takes']}, of pixels of {record['pixel_mm'][0]:.3f} x {record['pixel_mm'][1]:.3f} mm. "
        f"Gives {record['gives']}.",
        f"A pixel is positive above a probability of {record['threshold']:g} ({record['threshold_chosen_on']}); the "
        f"mask is then closed by {record['closing_px']} and opened by {record['opening_px']} pixels.",
        *_format_gates(record),
        "",
        "## Training data",
        f"Trained on {data}.",
        "",
        "## Scores",
        *_format_scores(workdir),
        "",
        "## Limits",
        LIMITS,
    ]
    return "\n".join(lines)


def _format_gates(record: ProgramRecord) -> list[str]:
    """What the run does and the program does not; [] for a run without gates."""
    gates = ", ".join(f"{name} {value:g}" for name, value in record.get("gates_not_applied", {}).items())
    return [f"The run also drops lesions by {gates}; this program does not."] if gates else []


def _format_scores(workdir: pathlib.Path) -> list[str]:
    try:
        results = read_json(workdir / RESULTS_FILE)
    except InputError:
        return ["No fold of this run has been tested."]
    lines = [
        "Cross-validated: each scan was scored by the fold that had not seen it. The average of folds was not tested.",
        "",
        "| score | value | 95 % interval | subjects |",
        "| --- | --- | --- | --- |",
        *(_format_row(*row) for row in score_rows(results)),
    ]
    if "invalid" in results:
        lines += ["", f"INVALID: {results['invalid']}"]
    return lines


def score_rows(results: dict) -> Iterator[ScoreRow]:
    """The scores of results.json that describe a run in a few lines."""
    conventions, free = results["conventions"], results["hemorrhage_free"]
    for convention, title in CONVENTION_TITLES.items():
        for name, score in conventions.get(convention, {}).items():  # runs of earlier versions lack some
            yield ScoreRow(f"{name.capitalize()}{title}", score["mean"], score["ci95"], score["n"], digits=3)
    if free["n"]:
        what = "false positives without a hemorrhage, mL"
        yield ScoreRow(what, free["false_positive_ml"], free["false_positive_ml_ci95"], free["n"], digits=1)


def _format_row(what: str, value: float | None, interval: list[float] | None, subjects: int, digits: int) -> str:
    """A row of the table of scores; '-' where too few subjects give no value or no interval."""
    value_text = "-" if value is None else f"{value:.{digits}f}"
    interval_text = "-" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
    return f"| {what} | {value_text} | {interval_text} | {subjects} |"
