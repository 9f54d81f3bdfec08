"""Active learning on synthetic scans: the scans that `suggest` chooses, against a random choice of as many minutes.

    python -m benchmarks.active_learning [--hours=1.0] [--seeds=3] [--table]

Three networks of configs/demo.py are trained by cross-validation on 12 scans. Of 40 others, `suggest` chooses those to
annotate within the time, and as many minutes are drawn at random, once for each seed. Networks are trained again on
the 12 and the chosen scans, with the same number of updates, and tested on 40 phantoms of another seed. A finished row
is a small file under results/active_learning/DEVICE/. An hour or more on two CPU cores. `--table` only prints the table
and draws the figure of what there is.
"""

import argparse
import csv
import datetime
import pathlib
import shutil
import sys

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import process, record
from benchmarks.ablation import elsewhere, flags
from ichjax.data import dataset as datasets
from ichjax.files import read_json, write_json
from ichjax.metrics import statistics
from ichjax.phantom import store

ACTIVE_ROWS = record.RESULTS / "active_learning"  # a folder a device
ACTIVE_RUNS = process.ROOT / "runs" / "active_learning"
FIRST, POOL, POOL_SEED = 12, 40, 31  # scans of the first networks, and to choose from
FIELDS = {"data.folds": 3, "compare_with": ()}


def main(argv: list[str] | None = None) -> int:
    """Trains and scores what is missing, prints the table and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=1.0, help="of annotation")
    parser.add_argument("--seeds", type=int, default=3, help="random choices")
    parser.add_argument("--table", action="store_true", help="only print and draw what is finished")
    options = parser.parse_args(argv)
    folder = ACTIVE_ROWS / record.device_name()
    choices = ["none", "suggested", *(f"random_{seed}" for seed in range(options.seeds))]
    for choice in choices:
        if not options.table and not (folder / f"{choice}.json").is_file():
            train_and_score(choice, options.hours, folder / f"{choice}.json")
    rows = [read_json(path) for path in sorted(folder.glob("*.json"))]
    if rows:
        print(record.table(table(rows)))
        draw(rows, folder / "active_learning.png")
    return 0


def train_and_score(choice: str, hours: float, path: pathlib.Path) -> None:
    """Trains on the first scans and those of a choice, and writes its row.

    Raises:
      RuntimeError: a command failed; its message is on the terminal.
    """
    print(f"\n== {choice}", flush=True)
    root = store.dataset_root("", preset="demo", subjects=FIRST + POOL, seed=POOL_SEED, layout="own")
    names = [subject.name for subject in datasets.read_dataset(root).subjects]
    chosen = [] if choice == "none" else choose(choice, hours, root, names[FIRST:])
    subset = ACTIVE_RUNS / f"{choice}_scans"
    copy_scans(root, subset, [*names[:FIRST], *(name for name, _ in chosen)])
    workdir = ACTIVE_RUNS / choice
    words = [f"--workdir={workdir}", *flags({**FIELDS, "data.root": subset})]
    process.run(process.ours("crossval", "--config=demo", *words))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "choice": choice,
            "hours": hours,
            "scans": len(chosen),
            "minutes": round(sum(minutes for _, minutes in chosen), 1),
            "device": record.device_name(),
            "date": datetime.date.today().isoformat(),
            "versions": record.versions(),
            "elsewhere": elsewhere("demo", "demo", workdir),
        },
    )


def choose(choice: str, hours: float, root: pathlib.Path, pool: list[str]) -> list[tuple[str, float]]:
    """(name, minutes) of the chosen scans of the pool, as `suggest` estimates them by the first networks."""
    output = ACTIVE_RUNS / f"suggestions_{hours:g}_hours"
    if not (output / "suggestions.csv").is_file():  # the same for every choice
        paths = [str(root / "images" / f"{name}.nii.gz") for name in pool]
        words = [f"--workdir={ACTIVE_RUNS / 'none'}", f"--output={output}", f"--hours={hours}", "--input", *paths]
        process.run(process.ours("suggest", *words))
    rows = list(csv.DictReader((output / "suggestions.csv").read_text().splitlines()))
    if choice == "suggested":
        return [(row["scan"], float(row["minutes"])) for row in rows if row["chosen"] == "yes"]
    rng, left, drawn = np.random.default_rng(int(choice.rpartition("_")[2])), 60.0 * hours, []
    for k in rng.permutation(len(rows)).tolist():
        minutes = float(rows[k]["minutes"])
        if minutes <= left:
            drawn.append((rows[k]["scan"], minutes))
            left -= minutes
    return drawn


def copy_scans(root: pathlib.Path, target: pathlib.Path, names: list[str]) -> None:
    """Copies some scans of a data set in the layout of one's own scans, with its tables."""
    shutil.rmtree(target, ignore_errors=True)
    for folder in ("images", "masks"):
        (target / folder).mkdir(parents=True)
        for name in names:
            shutil.copyfile(root / folder / f"{name}.nii.gz", target / folder / f"{name}.nii.gz")
    for table_file in root.glob("*.csv"):
        lines = table_file.read_text(encoding="utf-8").splitlines(keepends=True)
        of_scans = "name" not in table_file.name
        kept = [line for line in lines[1:] if not of_scans or line.split(",")[0] in names]
        (target / table_file.name).write_text("".join([lines[0], *kept]), encoding="utf-8")


def table(rows: list[dict]) -> list[dict]:
    """A row for each choice: scans, minutes, and scores with intervals over the test scans."""
    lines = []
    for row in rows:
        line = {"choice": row["choice"], "scans": row["scans"], "minutes": row["minutes"]}
        for measure in ("dice", "volume_dice", "false_positive_ml"):
            values = [scan[measure] for scan in row["elsewhere"] if scan[measure] is not None]
            line[measure] = round(float(np.mean(values)), 3)
        lines.append(line)
    return lines


def draw(rows: list[dict], path: pathlib.Path) -> None:
    """Dice of each choice, with 95 % intervals over the test scans."""
    figure, axes = plt.subplots(figsize=(6.4, 0.55 * len(rows) + 1.6), layout="constrained")
    for k, row in enumerate(rows):
        values = np.array([scan["dice"] for scan in row["elsewhere"] if scan["dice"] is not None])
        summary = statistics.summary(values)
        low, high = summary["ci95"] or [summary["mean"]] * 2
        color = "tab:blue" if row["choice"] == "suggested" else "0.45"
        axes.plot([low, high], [k, k], color=color)
        axes.plot(summary["mean"], k, "o", color=color)
    words = [
        f"the first {FIRST} alone"
        if row["choice"] == "none"
        else f"and {row['scans']} {row['choice'].partition('_')[0]}"
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), words)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("Dice (paper) on other synthetic scans, 95 % intervals")
    axes.grid(alpha=0.3, axis="x")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
