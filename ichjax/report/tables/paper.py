"""The paper's tables of results, in its own shape, each figure beside the published one."""

from collections.abc import Mapping

from ichjax.metrics import published
from ichjax.metrics.protocol import CONVENTIONS
from ichjax.metrics.slice_detection import DETECTION_RATES

PAPER_SCORES = ("jaccard", "dice", "sensitivity", "specificity")
STATISTICS = {"min": "minimum", "max": "maximum", "std": "SD", "mean": "mean"}  # in the order of the paper's Table 6
DIFFERENCE = "difference"  # the last record of the table by age


def table6(methods: Mapping[str, Mapping]) -> list[dict]:
    """Table 6: minimum, maximum, SD and mean over subjects, a record each for each method.

    Jaccard and Dice follow the convention 'paper', sensitivity and specificity are rates of slices per subject.

    Args:
      methods: {name to print: results.json}.

    Returns:
      [{'method', 'statistic', then each of `PAPER_SCORES`, 'n_...' (subjects it rests on) and 'paper_...',
      'in_words'}]; fractions, None where a figure does not exist.
    """
    records = []
    for name, results in methods.items():
        overlap, rates = results["conventions"]["paper"], results["reported_slice_detection"]["per_subject"]
        ours = {**{s: overlap[s] for s in ("jaccard", "dice")}, **{s: rates[s] for s in ("sensitivity", "specificity")}}
        paper = published.of(results).get("table6", {})
        for statistic, words in STATISTICS.items():
            record = {"method": name, "statistic": words}
            record |= {score: ours[score][statistic] for score in PAPER_SCORES}
            record |= {f"n_{score}": ours[score]["n"] for score in PAPER_SCORES}
            record |= {f"paper_{score}": paper.get(score, {}).get(statistic) for score in PAPER_SCORES}
            in_words = (
                f"Jaccard, Dice: {CONVENTIONS['paper']} Sensitivity, specificity: {CONVENTIONS['slice_detection']}"
            )
            records.append({**record, "in_words": in_words})
    return records


def table7(methods: Mapping[str, Mapping]) -> list[dict]:
    """Table 7: slice detection by the threshold on the probability, a record for each method and threshold.

    Args:
      methods: {name to print: results.json}.

    Returns:
      [{'method', 'threshold', then each of `DETECTION_RATES` as the mean over subjects, 'pooled_...' over all slices
      and 'paper_...', 'in_words'}]; fractions. Only the paper's own method has the paper's figures.
    """
    records = []
    for name, results in methods.items():
        paper = {row["threshold"]: row for row in published.of(results).get("table7", ())}
        for row in results["slice_detection"]:
            theirs = paper.get(round(row["threshold"], 6), {})
            record = {"method": name, "threshold": row["threshold"]}
            record |= {rate: row[rate] for rate in DETECTION_RATES}
            record |= {f"pooled_{rate}": row["pooled"][rate] for rate in DETECTION_RATES}
            record |= {f"paper_{rate}": theirs.get(rate) for rate in DETECTION_RATES}
            in_words = f"{CONVENTIONS['slice_detection']} Pooled: {CONVENTIONS['slice_detection_pooled']}"
            records.append({**record, "in_words": in_words})
    return records


def _of_groups(methods: Mapping[str, Mapping], key: str, column: str) -> list[dict]:
    """A record for each method and group; only the paper's own method has the paper's Dice."""
    records = []
    for name, results in methods.items():
        paper = published.of(results).get(key, {})
        for group, units in results[key].items():
            low, high = units["subjects"]["ci95"] or (None, None)
            records.append(
                {
                    "method": name,
                    column: group,
                    "dice": units["subjects"]["mean"],
                    "std": units["subjects"]["std"],
                    "ci95_low": low,
                    "ci95_high": high,
                    "subjects": units["subjects"]["n"],
                    "dice_by_slice": units["slices"]["mean"],
                    "slices": units["slices"]["n"],
                    "paper_dice": paper.get(group),
                    "in_words": f"{CONVENTIONS[key]} Mean over subjects, and by slice over all of them.",
                }
            )
    return records


def dice_by_subtype(methods: Mapping[str, Mapping]) -> list[dict]:
    """Dice by sub-type; a slice counts in each sub-type it carries.

    Args:
      methods: {name to print: results.json}.

    Returns:
      [{'method', 'subtype', 'dice', 'std', 'ci95_low', 'ci95_high', 'subjects', 'dice_by_slice', 'slices',
      'paper_dice', 'in_words', 'paper_subjects', 'paper_slices'}]: 'dice' is the mean over subjects, likely the
      paper's unit.
    """
    records = _of_groups(methods, "by_subtype", "subtype")
    subjects, slices = published.COHORT["by_subtype"], published.SLICE_COUNTS["by_subtype"]
    return [
        {**r, "paper_subjects": subjects.get(r["subtype"]), "paper_slices": slices.get(r["subtype"])} for r in records
    ]


def dice_by_age(methods: Mapping[str, Mapping]) -> list[dict]:
    """Dice by age group, and the test of the difference where results.json has one.

    Args:
      methods: {name to print: results.json}.

    Returns:
      As `dice_by_subtype` with 'age_group', and 'mann_whitney_p'. A method with 'by_age_test' has one more record,
      `DIFFERENCE` (under 18 less 18 and over), beside the paper's own difference.
    """
    records = []
    for name, results in methods.items():
        groups = _of_groups({name: results}, "by_age", "age_group")
        records += [{**record, "mann_whitney_p": None} for record in groups]
        test = results.get("by_age_test")
        if test:
            records.append(_difference(name, test, published.of(results).get("by_age")))
    return records


def _difference(name: str, test: Mapping, paper: Mapping | None) -> dict:
    low, high = test["ci95"] or (None, None)
    return {
        "method": name,
        "age_group": DIFFERENCE,
        "dice": test["difference"],
        "std": None,
        "ci95_low": low,
        "ci95_high": high,
        "subjects": test["n"],
        "dice_by_slice": None,
        "slices": None,
        "paper_dice": round(paper["under_18"] - paper["18_and_over"], 3) if paper else None,
        "in_words": "Mean Dice under 18 years less mean Dice from 18 on; Mann-Whitney U test, two-sided.",
        "mann_whitney_p": test["mann_whitney_p"],
    }


def grey_levels(methods: Mapping[str, Mapping]) -> list[dict]:
    """Experiment 1: the pair of grey levels that each fold chose on its training subjects.

    Args:
      methods: {name to print: results.json}; those that chose no grey levels are passed over.

    Returns:
      [{'method', 'fold', 'lower', 'upper', 'training_jaccard', 'paper_lower', 'paper_upper'}]; grey levels 0 to 255
      of the brain window.
    """
    nothing = {"lower": None, "upper": None}
    return [
        {
            "method": name,
            "fold": fold,
            "lower": chosen["thresholds"][0],
            "upper": chosen["thresholds"][1],
            "training_jaccard": chosen.get("training_jaccard"),
            "paper_lower": published.of(results).get("grey_levels", nothing)["lower"],
            "paper_upper": published.of(results).get("grey_levels", nothing)["upper"],
        }
        for name, results in methods.items()
        for fold, chosen in enumerate(results.get("chosen_by_fold") or [])
        if chosen and "thresholds" in chosen
    ]
