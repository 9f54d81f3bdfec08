"""Ablation of the training recipe: one ingredient at a time against the same base, on the same subjects.

    python -m benchmarks.ablation [--stage=screening|finalists|all] [--epochs=N] [--only=NAME,NAME] [--jobs=N] [--table]

The base is a configuration file (`--config`, by default configs/ich_small.py); `ingredients.py` lists the changes. The
screening trains each on one fold with one seed; the finalists, named there too, are trained on all folds with three
seeds. All see the same number of examples, whatever else the machine does, and CPU minutes tell what an ingredient
costs. Each is also tested on phantoms of another seed, because a fold has few; false positives are of those alone. A
finished row is a small file under results/ablation/DEVICE/, so a run that is stopped goes on where it was; rows of
different devices are never compared. Hours on two CPU cores; a GPU has room for several trainings at once (`--jobs`).
`--table` only prints the tables.
"""

import argparse
import concurrent.futures
import datetime
import functools
import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from benchmarks import ablation_table, contest, process, record
from benchmarks.ingredients import BASE, FINALISTS, INGREDIENTS
from ichjax import config as configs
from ichjax.data import dataset as datasets
from ichjax.errors import InputError
from ichjax.files import CONFIG_FILE, RESULTS_FILE, SPLITS_FILE, read_json, write_json
from ichjax.methods.base import MODEL_FILE, WEIGHTS_FOLDER
from ichjax.phantom import store

ROWS = record.RESULTS / "ablation"  # a folder a device
SEEDS = (0, 1, 2)  # of the finalists; the screening has the first
OTHER_SEED, OTHER_SUBJECTS = 101, 40  # of the phantoms that all are tested on besides
TRAINED_EPOCHS = 12  # three to six of ich_small's 15 minutes a fold, so that the screening takes about two hours
SAME_ML = 0.01  # between the true volumes of a phantom made on two machines
BASE_WEIGHTS = process.ROOT / "runs" / "ablation"  # of the base, for ingredients that train nothing


def main(argv: list[str] | None = None) -> int:
    """Trains and scores what is missing, then prints the tables; returns how many trainings failed."""
    contest.share_gpu()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="ich_small", help="the base")
    parser.add_argument("--stage", choices=("screening", "finalists", "all"), default="all")
    parser.add_argument("--epochs", type=int, default=TRAINED_EPOCHS, help="of each training")
    parser.add_argument("--only", default="", help="some of " + ", ".join(INGREDIENTS))
    parser.add_argument("--folds", type=int, default=4, help="of the finalists: those of the base")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once; more than 1 only on a GPU")
    parser.add_argument("--table", action="store_true", help="only print the tables of what is finished")
    parser.add_argument("--one", nargs=3, metavar=("NAME", "FOLD", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        name, fold, seed = options.one
        train_and_score(Training(options.config, options.epochs, name, int(fold), int(seed)))
        return 0
    try:
        planned_rows = planned(options.stage, options.only, options.folds)
        trainings = [Training(options.config, options.epochs, *row) for row in planned_rows]
        missing = [training for training in trainings if not options.table and not is_finished(training)]
    except InputError as error:
        parser.error(str(error))
    failed = 0
    if options.jobs > 1:  # with the threads of all cores each, scans are resampled in minutes, not seconds
        threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for wave in waves(missing):
            failed += sum(pool.map(_train_in_a_process, wave))
    for folder in sorted(path for path in ROWS.iterdir() if path.is_dir()):
        rows = [read_json(path) for path in sorted(folder.glob(f"{_stem(options.config, options.epochs)}-*.json"))]
        if rows:
            print(f"\n{folder.name}\n{record.table(ablation_table.table(rows))}")
    return failed


def waves(missing: list["Training"]) -> list[list["Training"]]:
    """What may run at the same time: one training of each ingredient, as the others find its programs in JAX's
    compilation cache if there is one; then the base; then the others, some of which use its weights."""
    first = {training.name: training for training in reversed(missing) if not of_prediction(training.name)}
    rest = [training for training in missing if training not in first.values()]
    bases = [training for training in rest if training.name == BASE]
    return [[*reversed(first.values())], bases, [training for training in rest if training.name != BASE]]


def of_prediction(name: str) -> bool:
    """Whether an ingredient changes the prediction alone."""
    return name != BASE and all(field.startswith("predict.") for field in INGREDIENTS[name])


def _train_in_a_process(training: "Training") -> bool:
    """Whether it failed. A process each, so that no row's memory or settings reach the next."""
    base, epochs, name, fold, seed = training
    print(f"\n== {name}, fold {fold}, seed {seed}", flush=True)
    command = [sys.executable, "-m", "benchmarks.ablation", f"--config={base}", f"--epochs={epochs}"]
    return subprocess.run([*command, "--one", name, str(fold), str(seed)]).returncode != 0


class Training(NamedTuple):
    """A training: the base, the epochs, the ingredient, the fold and the seed."""

    base: str
    epochs: int
    name: str
    fold: int
    seed: int

    @property
    def path(self) -> pathlib.Path:
        """The file of its row."""
        name = f"{_stem(self.base, self.epochs)}-{self.name}-fold_{self.fold}-seed_{self.seed}.json"
        return ROWS / record.device_name() / name

    @property
    def weights(self) -> pathlib.Path:
        """The folder of the base's weights of this fold and seed."""
        return BASE_WEIGHTS / f"{_stem(self.base, self.epochs)}-fold_{self.fold}-seed_{self.seed}"


def _stem(base: str, epochs: int) -> str:
    return f"{pathlib.Path(base).stem}-{epochs}_epochs"


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


def is_finished(training: Training) -> bool:
    """Whether a row is there already.

    Raises:
      InputError: it is of another change or of other phantoms.
    """
    if not training.path.is_file():
        return False
    row, expected = read_json(training.path), _plain(INGREDIENTS[training.name])
    if row["changes"] != expected:
        raise InputError(f"{training.path}: is of {row['changes']}; expected {expected}: delete it to train it again")
    truth = true_volumes(training.base)
    for subject in row["subjects"]:
        here_ml = truth.get(subject["subject"], float("nan"))
        if not abs(subject["truth_ml"] - here_ml) <= SAME_ML:
            raise InputError(
                f"{training.path}: is of a phantom {subject['subject']} with {subject['truth_ml']:.2f} mL; expected "
                f"{here_ml:.2f} mL: delete it to train it again"
            )
    return True


@functools.cache
def true_volumes(base: str) -> dict[int, float]:
    """{subject: mL of its mask} of the base's phantoms: the same on every machine, while HU may differ by rounding."""
    config = runpy.run_path(str(process.ROOT / "configs" / f"{pathlib.Path(base).stem}.py"))["get_config"]()
    subjects = datasets.read_dataset(store.dataset_root("", **configs.fields_of(config.phantom))).subjects
    scans = ((subject.number, datasets.load_scan(subject)) for subject in subjects)
    return {number: float(scan.mask.sum(axis=(1, 2)) @ scan.volume.pixel_ml) for number, scan in scans}


def _plain(changes: dict[str, Any]) -> dict[str, Any]:
    """Changes as JSON holds them."""
    return json.loads(json.dumps(changes))


def flags(fields: dict[str, Any]) -> list[str]:
    """The fields as options of `launch.py`."""
    return [f"--config.{field}={value}" for field, value in fields.items()]


def train_and_score(training: Training) -> None:
    """Trains one fold with one ingredient changed, by the commands that users have, and writes its row.

    An ingredient of the prediction alone has the weights of the base.

    Raises:
      RuntimeError: a command failed; its message is on the terminal.
    """
    base, epochs, name, fold, seed = training
    fields = {"train.minutes": 0.0, "train.epochs": epochs, "seed": seed, "folds": (fold,), "compare_with": ()}
    trains = not of_prediction(name) or not (training.weights / SPLITS_FILE).is_file()
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "run"
        if not trains:
            begin_trained(training.weights, workdir, fold, INGREDIENTS[name])
        options = flags({**fields, **INGREDIENTS[name]})
        cost = process.run(process.ours("crossval", f"--config={base}", f"--workdir={workdir}", *options))
        results, config = read_json(workdir / RESULTS_FILE), read_json(workdir / CONFIG_FILE)
        row = {
            "ingredient": name,
            "changes": INGREDIENTS[name],
            "base": pathlib.Path(base).stem,
            "epochs": epochs,
            "fold": fold,
            "seed": seed,
            "cpu_minutes": round(cost["cpu_s"] / 60, 2) if trains else None,
            "chosen": results["chosen_by_fold"],
            "config_digest": results["config_digest"],
            "device": record.device_name(),
            "date": datetime.date.today().isoformat(),
            "versions": results["versions"],
            "subjects": [_subject(subject) for subject in results["subjects"]],
            "elsewhere": elsewhere(base, config["phantom"]["preset"], workdir),
        }
        if name == BASE:
            keep_weights(workdir, fold, training.weights)
    training.path.parent.mkdir(parents=True, exist_ok=True)
    write_json(training.path, row)


def keep_weights(workdir: pathlib.Path, fold: int, kept: pathlib.Path) -> None:
    """Copies what a fold of a run has learned; nothing that depends on its prediction, such as tuned thresholds."""
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(workdir / f"fold_{fold}" / WEIGHTS_FOLDER, kept / WEIGHTS_FOLDER)
    shutil.copyfile(workdir / f"fold_{fold}" / MODEL_FILE, kept / MODEL_FILE)
    for name in (CONFIG_FILE, SPLITS_FILE):
        shutil.copyfile(workdir / name, kept / name)


def begin_trained(kept: pathlib.Path, workdir: pathlib.Path, fold: int, changes: dict[str, Any]) -> None:
    """Begins the run of a changed configuration with a fold that is trained already."""
    config = read_json(kept / CONFIG_FILE)
    for field, value in changes.items():
        group, _, name = field.rpartition(".")
        (config[group] if group else config)[name] = value
    shutil.copytree(kept, workdir / f"fold_{fold}", ignore=shutil.ignore_patterns(CONFIG_FILE, SPLITS_FILE))
    shutil.copyfile(kept / SPLITS_FILE, workdir / SPLITS_FILE)
    write_json(workdir / CONFIG_FILE, config)


def _subject(row: dict) -> dict:
    """The scores of one test subject."""
    false_ml = None if row["truth_ml"] else row["predicted_ml"]
    return {"subject": row["subject"], "false_positive_ml": false_ml} | {
        score: row[score] for score in ("dice", "volume_dice", "truth_ml", "predicted_ml")
    }


def elsewhere(base: str, preset: str, workdir: pathlib.Path) -> list[dict]:
    """The scores of a run on phantoms of another seed, by the commands that users have."""
    phantoms = {"phantom.preset": preset, "phantom.subjects": OTHER_SUBJECTS, "phantom.seed": OTHER_SEED}
    root = store.dataset_root("", preset=preset, subjects=OTHER_SUBJECTS, seed=OTHER_SEED)
    paths = [str(subject.scan_path) for subject in datasets.read_dataset(root).subjects]
    output, evaluated = workdir / "elsewhere", workdir / "elsewhere_scores"
    shutil.rmtree(evaluated, ignore_errors=True)  # of a run that was stopped before its row was written
    process.run(process.ours("predict", f"--workdir={workdir}", f"--output={output}", "--input", *paths))
    words = [f"--config={base}", f"--predictions={output}", f"--workdir={evaluated}"]
    process.run(process.ours("evaluate", *words, *flags(phantoms)))
    return [_subject(subject) for subject in read_json(evaluated / RESULTS_FILE)["subjects"]]


if __name__ == "__main__":
    sys.exit(main())
