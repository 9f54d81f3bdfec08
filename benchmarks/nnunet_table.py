"""The records of ichjax's and nnU-Net's folds: written one by one, compared subject by subject in a table."""

import json
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.contest import OURS
from ichjax.errors import InputError
from ichjax.files import RESULTS_FILE, read_json, write_json
from ichjax.metrics import statistics
from ichjax.metrics.records import SubjectRecord
from ichjax.report.compare.compare import COMPARED_SCORES

NNUNET_TITLES = {"nnunet": "nnU-Net", "nnunet_mirrored": "nnU-Net, mirrored"}
TABLE_SCORES = [score for score in COMPARED_SCORES if score.key in ("volume_dice", "dice", "false_positive_ml")]


def record_path(output: pathlib.Path, method: str, seed: int, fold: int) -> pathlib.Path:
    """The file of one finished (method, seed, fold)."""
    return output / "records" / f"{method}-seed_{seed}-fold_{fold}.json"


def write_record(
    output: pathlib.Path,
    method: str,
    seed: int,
    fold: int,
    *,
    evaluated: pathlib.Path,
    test: Iterable[int],
    facts: dict,
) -> None:
    """Writes {'method', 'seed', 'fold', 'subjects': {number: {score: value or None}}, 'facts'} of a scored fold.

    Args:
      output: the benchmark's folder.
      method: `OURS` or one of `NNUNET_TITLES`.
      seed, fold: of the training.
      evaluated: the work directory of the `evaluate` command.
      test: the subjects of the fold's test part.
      facts: of the training and prediction, with their 'cpu_s' and 'wall_s' in all.

    Raises:
      InputError: the scored subjects are not those of the test part.
    """
    results = read_json(evaluated / RESULTS_FILE)
    left_out = set(results["left_out_of_paper"])
    subjects = {row["subject"]: _scores(row, row["subject"] in left_out) for row in results["subjects"]}
    if set(subjects) != set(test):
        raise InputError(f"{evaluated}: has subjects {sorted(subjects)}; expected the test part, {sorted(test)}")
    path = record_path(output, method, seed, fold)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"method": method, "seed": seed, "fold": fold, "subjects": subjects, "facts": facts})


def _scores(row: SubjectRecord, left_out_of_paper: bool) -> dict[str, float | None]:
    """{score: value} of a subject's record; None where it has no such score."""
    return {score.key: None if score.as_paper and left_out_of_paper else score.value(row) for score in TABLE_SCORES}


def read_records(output: pathlib.Path) -> list[dict]:
    """All finished records, by name; InputError if one cannot be read."""
    return [read_json(path) for path in sorted((output / "records").glob("*.json"))]


def rows(records: Sequence[dict]) -> list[dict]:
    """The table: a row per score and peer, over the subjects that both methods have.

    'ichjax' and 'peer' are means over the subjects, 'difference' is that of ichjax less the peer with its percentile
    bootstrap interval and Wilcoxon's p, and 'CPU minutes' are means per fold from the start of training to the masks.
    None where a figure does not exist, and for intervals and p below `statistics.MIN_SUBJECTS` subjects.
    """
    table = []
    for score in TABLE_SCORES:
        for peer, title in NNUNET_TITLES.items():
            ours, theirs = paired(records, score.key, OURS, peer)
            difference = statistics.paired_difference(theirs, ours)
            low, high = difference["ci95"] or (None, None)
            table.append(
                {
                    "score": f"{score.title}, {score.unit}" if score.unit else score.title,
                    "peer": title,
                    "subjects": difference["n"],
                    "ichjax": _mean(ours),
                    "of the peer": _mean(theirs),
                    "difference": difference["mean"],
                    "95 % from": low,
                    "to": high,
                    "p": difference["wilcoxon_p"],
                    "CPU minutes": _cpu_minutes(records, OURS),
                    "of the peer's": _cpu_minutes(records, peer),
                }
            )
    return table


def paired(records: Sequence[dict], key: str, a: str, b: str) -> tuple[np.ndarray, np.ndarray]:
    """(float [N], float [N]): a score of methods a and b of each subject that both have, in the order of their numbers.

    A subject's value is the mean over the method's seeds, so that the unit stays the subject however many seeds were
    run. A seed also draws the folds; each subject is held out once for each seed.
    """
    one, other = (_values(records, key, method) for method in (a, b))
    shared = sorted(one.keys() & other.keys())
    means = [[np.mean(values[number]) for number in shared] for values in (one, other)]
    return np.array(means[0], np.float64), np.array(means[1], np.float64)


def _values(records: Sequence[dict], key: str, method: str) -> dict[int, list[float]]:
    """{subject: scores} of a method, one for each seed that has the score."""
    values: dict[int, list[float]] = {}
    for record in records:
        for number, scores in record["subjects"].items() if record["method"] == method else ():
            if scores[key] is not None:
                values.setdefault(int(number), []).append(scores[key])
    return values


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _cpu_minutes(records: Sequence[dict], method: str) -> float | None:
    seconds = [record["facts"]["cpu_s"] for record in records if record["method"] == method]
    return sum(seconds) / len(seconds) / 60 if seconds else None


def describe(settings: dict, records: Sequence[dict]) -> str:
    """What was measured and how, in sentences.

    Args:
      settings: as of `require_settings`.
      records: the finished ones; with none of nnU-Net the versions and iterations are left out.
    """
    ours = settings["ours"].replace("{minutes}", f"{settings['minutes']:g}")
    of_method = {method: [one for one in records if one["method"] == method] for method in (OURS, *NNUNET_TITLES)}
    counts = ", ".join(f"{len(done)} of {method}" for method, done in of_method.items())
    data = f"the data set {settings['root']}" if settings["root"] else f"the synthetic head CTs of {settings['config']}"
    changed = [f"{name} {settings[name]}" for name in ("preset", "subjects") if settings[name] is not None]
    sentences = [
        f"nnU-Net with a training budget of {settings['minutes']:g} minutes per fold ({settings['device']}, "
        f"{settings['cores']} cores), and ichjax with the configuration {settings['config']} {ours}".strip()
        + f", on the same folds of {' '.join([data, *changed])}.",
        f"Finished folds: {counts}.",
    ]
    if trained := [one["facts"] for one in of_method["nnunet"]]:
        versions = ", ".join(f"{name} {number}" for name, number in trained[0]["versions"].items())
        iterations = ", ".join(str(one["iterations"]) for one in trained)
        sentences.append(
            f"nnU-Net ({versions}): 2d configuration of the plans {settings['plans']}, {trained[0]['parameters']:,} "
            f"parameters, batches of {trained[0]['batch_size']} patches of "
            f"{' x '.join(map(str, trained[0]['patch_size']))}; iterations per fold: {iterations}."
        )
        cpu_s = 60.0 * settings["minutes"] * settings["cores"]
        short = [one["train_cpu_s"] / cpu_s for one in trained if one["train_cpu_s"] < cpu_s]
        if settings["device"] == "cpu" and short:
            sentences.append(
                f"On {len(short)} of its {len(trained)} folds the wall-clock cap ended its training before the budget "
                f"was used, at {100 * min(short):.0f} % of it or more: too much other load for a fair comparison."
            )
    sentences.append(
        "Differences are ichjax's less the peer's, with 95 % percentile bootstrap intervals over subjects and "
        "Wilcoxon's p. CPU minutes are per fold, of training and prediction; ichjax's are of the whole command."
    )
    return " ".join(sentences)


def require_settings(output: pathlib.Path, settings: dict) -> None:
    """Writes the settings of the benchmark into its folder, or compares them with those that are there.

    Raises:
      InputError: the folder holds results of other settings.
    """
    path = output / "settings.json"
    settings = json.loads(json.dumps(settings))
    if not path.is_file():
        write_json(path, settings)
        return
    there = read_json(path)
    if differing := [name for name in settings if settings[name] != there.get(name)]:
        name = differing[0]
        raise InputError(
            f"{output}: holds results with {name} {there.get(name)!r}, not {settings[name]!r}; expected the same "
            "settings, or another folder"
        )
