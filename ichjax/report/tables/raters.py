"""Tables of the scores against several raters: as CSV, for the report, and in a sentence for the terminal.

The argument `methods` of all functions is {display name: results.json}; methods without 'raters' are skipped.
"""

from collections.abc import Iterator, Mapping

from ichjax.metrics.raters import RATERS_IN_WORDS
from ichjax.metrics.records import Results
from ichjax.metrics.score_records import RaterScores
from ichjax.metrics.statistics import Summary
from ichjax.report.tables.paper import CsvRecord
from ichjax.report.tables.text import interval_cells

OWN, MBH_SEG = "own", "MBH-Seg 2025"  # whose definition a score has
RATER_TITLES = {
    "dice_by_rater": "Dice, rater",
    "dice_between_raters": "Dice between raters",
    "ged_one_class": "GED, one class",
    "ged": "GED",
    "dice_max": "Dice max",
    "dice_match": "Dice match",
    "dice_soft": "Dice soft",
    "hemorrhage_free": "Empty masks",
}


def rater_records(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """A record for each method and score against raters.

    Returns:
      [{'method', 'definition' (`OWN` or `MBH_SEG`), 'score', 'mean', 'std', 'ci95_low', 'ci95_high', 'n', 'in_words'}].
    """
    return [
        {
            "method": name,
            "definition": definition,
            "score": title,
            "mean": values["mean"],
            "std": values["std"],
            **interval_cells(values["ci95"]),
            "n": values["n"],
            "in_words": RATERS_IN_WORDS[key],
        }
        for name, results in methods.items()
        if "raters" in results
        for definition, key, title, values in _scores(results["raters"])
    ]


def _scores(scores: RaterScores) -> Iterator[tuple[str, str, str, Summary]]:
    """(definition, key in `RATERS_IN_WORDS`, title, values) of each score."""
    own, challenge = scores["own"], scores["mbh_seg_2025"]
    for rater, by_rater in own["dice_by_rater"].items():
        yield OWN, "dice_by_rater", f"{RATER_TITLES['dice_by_rater']} {rater}", by_rater
    for definition, key, values in (
        (OWN, "dice_between_raters", own["dice_between_raters"]),
        (OWN, "ged_one_class", own["ged"]),
        (MBH_SEG, "ged", challenge["ged"]),
        (MBH_SEG, "dice_max", challenge["dice_max"]),
        (MBH_SEG, "dice_match", challenge["dice_match"]),
        (MBH_SEG, "dice_soft", challenge["dice_soft"]),
    ):
        yield definition, key, RATER_TITLES[key], values


def rater_scans(methods: Mapping[str, Results]) -> list[CsvRecord]:
    """A record for each method and scan: its Dice against each rater ('dice_rater_1'), and the other scores."""
    scored = {name: results["raters"] for name, results in methods.items() if "raters" in results}
    numbers = sorted({rater for scores in scored.values() for rater in scores["own"]["dice_by_rater"]}, key=int)
    return [
        {
            "method": name,
            "subject": scan["subject"],
            **{f"dice_rater_{rater}": scan["dice"].get(rater) for rater in numbers},
            "dice_between_raters": scan["between"],
            "ged_one_class": scan["ged_one_class"],
            "ged": scan["ged"],
            "dice_max": scan["dice_max"],
            "dice_match": scan["dice_match"],
            "dice_soft": scan["dice_soft"],
        }
        for name, scores in scored.items()
        for scan in scores["subjects"]
    ]


def rater_paragraphs(methods: Mapping[str, Results]) -> list[str]:
    """A paragraph for each method, for the terminal."""
    paragraphs = []
    for name, results in methods.items():
        if "raters" in results:
            texts = [
                f"{title} {'-' if values['mean'] is None else format(values['mean'], '.3f')}"
                for _, _, title, values in _scores(results["raters"])
            ]
            scans, several = results["raters"]["scans"], results["raters"]["scans_of_several"]
            paragraphs.append(
                f"{name}, {scans} scans scored against raters, {several} of them against several: {'; '.join(texts)}. "
                f"The last four are those of {MBH_SEG}."
            )
    return paragraphs
