"""Ablation of the training recipe: one ingredient at a time against the same base, on the same subjects.

    python -m benchmarks.ablation [--stage=screening|finalists|all] [--only=NAME,NAME] [--table]

The base is a configuration file (`--config`, by default configs/ich_small.py); `ingredients.py` lists the changes. The
screening trains each on one fold with one seed; the finalists, named there too, are trained on all folds with three
seeds. False positives are also measured on hemorrhage-free phantoms of another seed. A finished row is a small file
under results/ablation/, so a run that is stopped goes on where it was. Hours; `--table` only prints the table.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.ingredients import BASE, FINALISTS, INGREDIENTS
from ichjax.data import dataset as datasets
from ichjax.errors import InputError
from ichjax.files import CONFIG_FILE, RESULTS_FILE, read_json, write_json
from ichjax.metrics import statistics
from ichjax.phantom import store

ROWS = record.RESULTS / "ablation"
SEEDS = (0, 1, 2)  # of the finalists; the screening has the first
OTHER_SEED, OTHER_SUBJECTS = 101, 40  # of the phantoms whose hemorrhage-free subjects measure false positives
MEASURES = ("dice", "volume_dice", "false_positive_ml")


def main(argv: list[str] | None = None) -> int:
    """Trains and scores what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="ich_small", help="the base")
    parser.add_argument("--stage", choices=("screening", "finalists", "all"), default="all")
    parser.add_argument("--only", default="", help="some of " + ", ".join(INGREDIENTS))
    parser.add_argument("--folds", type=int, default=4, help="of the finalists: those of the base")
    parser.add_argument("--table", action="store_true", help="only print the table of what is finished")
    parser.add_argument("--one", nargs=3, metavar=("NAME", "FOLD", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        name, fold, seed = options.one
        train_and_score(options.config, name, int(fold), int(seed))
        return 0
    failed = 0
    try:
        trainings = planned(options.stage, options.only, options.folds)
        missing = [row for row in trainings if not is_finished(options.config, *row)]
    except InputError as error:
        parser.error(str(error))
    for name, fold, seed in [] if options.table else missing:
        print(f"\n== {name}, fold {fold}, seed {seed}", flush=True)
        command = [sys.executable, "-m", "benchmarks.ablation", f"--config={options.config}"]
        # A process each: nothing of one row's memory or compiled programs reaches the next.
        failed += subprocess.run([*command, "--one", name, str(fold), str(seed)]).returncode != 0
    rows = [read_json(path) for path in sorted(ROWS.glob(f"{pathlib.Path(options.config).stem}-*.json"))]
    if rows:
        print(record.table(table(rows)))
    return failed


def planned(stage: str, only: str, fold_count: int) -> list[tuple[str, int, int]]:
    """(name, fold, seed) of every training of a stage, the base first.

    Raises:
      InputError: `only` names an unknown ingredient.
    """
    chosen = only.split(",") if only else list(INGREDIENTS)
    if unknown := [name for name in chosen if name not in INGREDIENTS]:
        raise InputError(f"--only names {unknown[0]!r}; expected some of {', '.join(INGREDIENTS)}")
    rows = [(name, 0, SEEDS[0]) for name in INGREDIENTS if name in chosen or name == BASE]
    if stage == "screening":
        return rows
    final = [name for name in (BASE, *FINALISTS) if name in chosen or name == BASE]
    everything = [(name, fold, seed) for seed in SEEDS for fold in range(fold_count) for name in final]
    return everything if stage == "finalists" else [*rows, *(row for row in everything if row not in rows)]


def row_path(config: str, name: str, fold: int, seed: int) -> pathlib.Path:
    """The file of a finished row."""
    return ROWS / f"{pathlib.Path(config).stem}-{name}-fold_{fold}-seed_{seed}.json"


def is_finished(config: str, name: str, fold: int, seed: int) -> bool:
    """Whether a row is there already.

    Raises:
      InputError: it is of another change or of other phantoms.
    """
    path = row_path(config, name, fold, seed)
    if not path.is_file():
        return False
    row = read_json(path)
    found, expected = (row.get("changes"), row.get("phantoms")), (_plain(INGREDIENTS[name]), store.source_digest())
    if found != expected:
        raise InputError(f"{path}: is of {found}; expected {expected}: delete it to train it again")
    return True


def _plain(changes: dict[str, Any]) -> dict[str, Any]:
    """Changes as JSON holds them."""
    return json.loads(json.dumps(changes))


def flags(fields: dict[str, Any]) -> list[str]:
    """The fields as options of `launch.py`."""
    return [f"--config.{field}={value}" for field, value in fields.items()]


def train_and_score(base: str, name: str, fold: int, seed: int) -> None:
    """Trains one fold with one ingredient changed, by the commands that users have, and writes its row.

    Raises:
      subprocess.CalledProcessError: a command failed; its message is on the terminal.
    """
    fields = {**INGREDIENTS[name], "seed": seed, "folds": (fold,), "compare_with": ()}
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "run"
        started = time.perf_counter()
        _launch("crossval", f"--config={base}", f"--workdir={workdir}", *flags(fields))
        minutes = (time.perf_counter() - started) / 60
        results, config = read_json(workdir / RESULTS_FILE), read_json(workdir / CONFIG_FILE)
        row = {
            "ingredient": name,
            "changes": INGREDIENTS[name],
            "phantoms": store.source_digest(),
            "base": pathlib.Path(base).stem,
            "fold": fold,
            "seed": seed,
            "minutes": round(minutes, 2),
            "chosen": results["chosen_by_fold"],
            "config_digest": results["config_digest"],
            "device": record.device_name(),
            "date": datetime.date.today().isoformat(),
            "versions": results["versions"],
            "subjects": [_subject(subject) for subject in results["subjects"]],
            "elsewhere_false_positive_ml": false_positives_ml(config["phantom"]["preset"], workdir),
        }
    ROWS.mkdir(parents=True, exist_ok=True)
    write_json(row_path(base, name, fold, seed), row)


def _launch(command: str, *arguments: str) -> None:
    """Runs `launch.py COMMAND`."""
    root = pathlib.Path(__file__).parents[1]
    subprocess.run([sys.executable, str(root / "launch.py"), command, *arguments], cwd=root, check=True)


def _subject(row: dict) -> dict:
    """The scores of one test subject."""
    false_ml = None if row["truth_ml"] else row["predicted_ml"]
    return {"subject": row["subject"], "false_positive_ml": false_ml} | {
        score: row[score] for score in ("dice", "volume_dice", "truth_ml", "predicted_ml")
    }


def false_positives_ml(preset: str, workdir: pathlib.Path) -> list[float]:
    """Predicted mL on each hemorrhage-free phantom of another seed."""
    root = store.dataset_root("", preset=preset, subjects=OTHER_SUBJECTS, seed=OTHER_SEED)
    clean = [subject for subject in datasets.read_dataset(root).subjects if not subject.labelled_hemorrhage]
    output = workdir / "elsewhere"
    _launch("predict", f"--workdir={workdir}", f"--output={output}", "--input", *(str(s.scan_path) for s in clean))
    return sorted(read_json(path)["volume_ml"] for path in output.glob("*/prediction.json"))


def table(rows: list[dict]) -> list[dict]:
    """A row per ingredient: means over its subjects, and paired differences from the base on the same of them."""
    by_name: dict[str, dict[tuple, dict]] = {}
    for row in rows:
        for subject in row["subjects"]:
            key = (row["seed"], row["fold"], subject["subject"])
            by_name.setdefault(row["ingredient"], {})[key] = subject
    lines = []
    for name, subjects in sorted(by_name.items(), key=lambda item: item[0] != BASE):
        own = [row for row in rows if row["ingredient"] == name]
        shared = sorted(set(subjects) & set(by_name.get(BASE, {})))
        line: dict[str, Any] = {"ingredient": name, "trainings": len(own)}
        for measure in MEASURES:
            line[measure] = _mean([subject[measure] for subject in subjects.values()])
            if name != BASE:
                pair = [[_nan(by_name[who][key][measure]) for key in shared] for who in (BASE, name)]
                difference = statistics.paired_difference(*map(np.array, pair))
                line[f"{measure} change"] = _interval(difference)
            else:
                line[f"{measure} change"] = ""
        line["elsewhere mL"] = _mean([value for row in own for value in row["elsewhere_false_positive_ml"]])
        line["minutes"] = _mean([row["minutes"] for row in own])
        lines.append(line)
    return lines


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _mean(values: list[float | None]) -> float:
    given = [value for value in values if value is not None]
    return round(float(np.mean(given)), 3) if given else float("nan")


def _interval(difference: statistics.PairedDifference) -> str:
    mean, ci95 = difference["mean"], difference["ci95"]
    if mean is None:
        return ""
    return f"{mean:+.3f}" + (f" [{ci95[0]:+.3f}, {ci95[1]:+.3f}]" if ci95 else "")


if __name__ == "__main__":
    sys.exit(main())
