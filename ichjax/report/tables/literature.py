"""Tables of the methods of the literature in one run: their scores, what they cost, and who differs from whom."""

import itertools
import statistics as middle
from collections.abc import Callable, Mapping

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.files import SECONDS_FILE, read_json
from ichjax.metrics import ranking, statistics
from ichjax.metrics.literature import REVIEWED
from ichjax.metrics.ranking import Ranking
from ichjax.metrics.records import Results, SubjectRecord
from ichjax.report.tables.paper import CsvRecord
from ichjax.report.tables.text import interval_cells
from ichjax.report.workdir import Run

PAIRED: dict[str, Callable[[SubjectRecord], float | None]] = {  # scores compared subject by subject
    "dice": lambda row: row["dice"],
    "volume_dice": lambda row: row["volume_dice"],
}


def reviewed_records() -> list[CsvRecord]:
    """The systems that the paper reviews, as it quotes them."""
    return [{"reference": key, **row._asdict()} for key, row in REVIEWED.items()]


def literature_records(run: Run) -> list[CsvRecord]:
    """The methods of a run, a record each; none unless one of them is like a reviewed system.

    'dice' (the paper's, over slices with a hemorrhage), 'dice_pooled', 'volume_dice' and 'dice_all_slices'; a Dice for
    each sub-type; areas under the ROC curves of slices and scans; sensitivity and specificity of slices;
    'false_positive_ml'; bias and concordance of volumes; 'fit_s' of a fold (median) and 'predict_s' of a scan (median
    without the first of each fold, which compiles). None for what does not exist.
    """
    if not any(results.get("reference") for results in run.methods.values()):
        return []
    return [_record(run, name, results) for name, results in run.methods.items()]


def _record(run: Run, name: str, results: Results) -> CsvRecord:
    conventions, free = results["conventions"], results["hemorrhage_free"]
    dice, volume = conventions["paper"]["dice"], conventions["volume"]["dice"]
    rates = results["reported_slice_detection"]["per_subject"]
    beyond = results.get("beyond")
    slices, scans = (beyond["slice_roc"], beyond["scan_roc"]) if beyond else (None, None)
    agreement = beyond["volume_agreement"] if beyond else None
    by_subtype = results["by_subtype"]
    return {
        "method": name,
        "reference": results.get("reference"),
        "n": dice["n"],
        "dice": dice["mean"],
        **interval_cells(dice["ci95"], "dice_ci95"),
        "dice_pooled": conventions["pooled"]["dice"]["mean"],
        "volume_dice": volume["mean"],
        **interval_cells(volume["ci95"], "volume_dice_ci95"),
        "dice_all_slices": conventions["all_slices"]["dice"]["mean"],
        **{key: by_subtype[key]["subjects"]["mean"] if key in by_subtype else None for key in SUBTYPES},
        "slice_auc": slices["area"] if slices else None,
        "scan_auc": scans["area"] if scans else None,
        "sensitivity": rates["sensitivity"]["mean"],
        "specificity": rates["specificity"]["mean"],
        "false_positive_ml": free["false_positive_ml"],
        **interval_cells(free["false_positive_ml_ci95"], "false_positive_ml_ci95"),
        "volume_bias_ml": agreement["bias_ml"] if agreement else None,
        "volume_concordance": agreement["concordance"] if agreement else None,
        **_seconds(run, name),
    }


def _seconds(run: Run, name: str) -> CsvRecord:
    files = sorted(run.folders[name].glob(f"fold_*/{SECONDS_FILE}")) if name in run.folders else []
    records = [read_json(file) for file in files]
    fits = [record["fit_s"][0] for record in records if record.get("fit_s")]
    scans = [seconds for record in records for seconds in record.get("predict_s", [])[1:]]
    return {"fit_s": middle.median(fits) if fits else None, "predict_s": middle.median(scans) if scans else None}


def difference_records(run: Run) -> list[CsvRecord]:
    """Paired differences between each method and the run's main one, on the subjects that both score.

    Returns:
      [{'method', 'score', 'n', 'difference' (method less main), 'ci95_low', 'ci95_high', 'wilcoxon_p', 'holm_p'}]; the
      p-values of a score are corrected for the number of methods (Holm).
    """
    records: list[CsvRecord] = []
    for score, value in PAIRED.items():
        values = {name: _by_subject(results, value) for name, results in run.methods.items()}
        main = values.pop(run.name)
        compared = []
        for name, other in values.items():
            shared = sorted(main.keys() & other.keys())
            pairs = np.array([[main[number], other[number]] for number in shared]).reshape(-1, 2)
            compared.append((name, statistics.paired_difference(*pairs.T)))
        corrected = statistics.holm([difference["wilcoxon_p"] for _, difference in compared])
        records += [
            {
                "method": name,
                "score": score,
                "n": difference["n"],
                "difference": difference["mean"],
                **interval_cells(difference["ci95"]),
                "wilcoxon_p": difference["wilcoxon_p"],
                "holm_p": p,
            }
            for (name, difference), p in zip(compared, corrected, strict=True)
        ]
    return records


def _by_subject(results: Results, value: Callable[[SubjectRecord], float | None]) -> dict[int, float]:
    excluded = set(results["left_out_of_paper"])
    rows = [(row["subject"], value(row)) for row in results["subjects"] if row["subject"] not in excluded]
    return {subject: score for subject, score in rows if score is not None}


def rank_methods(methods: Mapping[str, Results]) -> tuple[list[str], Ranking] | None:
    """(names, their ranking) by the paper's Dice on the subjects that all methods score; None with fewer than two."""
    scores = {name: _by_subject(results, PAIRED["dice"]) for name, results in methods.items()}
    shared = sorted(set.intersection(*(set(by_subject) for by_subject in scores.values())))
    if len(shared) < 2 or len(scores) < 2:
        return None
    table = np.array([[by_subject[number] for by_subject in scores.values()] for number in shared])
    return list(scores), ranking.rank(table)


def differ_text(names: list[str], result: Ranking) -> str:
    """A sentence on which methods the critical difference separates."""
    together = {frozenset(pair) for group in result.groups for pair in itertools.combinations(group, 2)}
    pairs = len(names) * (len(names) - 1) // 2
    return (
        f"Mean ranks over {result.n} subjects; {pairs - len(together)} of {pairs} pairs of methods differ by more than "
        f"the critical difference of {result.critical_difference:.2f} (Nemenyi, level {ranking.ALPHA:g})."
    )
