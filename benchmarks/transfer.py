"""Transfer learning: the demo's U-Net from scratch and from an encoder that was pre-trained on slice labels.

    python -m benchmarks.transfer [--subjects=10,20,60] [--seeds=2] [--table]

The encoder is that of configs/pretrain.py (200 synthetic scans with labels of slices). A U-Net of configs/demo.py is
then trained on so many synthetic scans with masks, half as many more select the epoch, and it is tested on 40 phantoms
of another seed. All trainings make the same number of updates. A finished row is a small file under
results/transfer/DEVICE/, so that a run that is stopped goes on where it was. An hour or two on two CPU cores. `--table`
only prints the table and draws the figure of what there is.
"""

import argparse
import datetime
import pathlib
import sys
import tempfile
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import process, record
from benchmarks.ablation import elsewhere, flags
from ichjax.files import read_json, write_json
from ichjax.metrics import statistics

TRANSFER_ROWS = record.RESULTS / "transfer"  # a folder a device
PRETRAINED = process.ROOT / "runs" / "transfer_pretrained"
STARTS = {"scratch": "from scratch", "pretrained": "pre-trained on slice labels"}
FOLDS = 4  # of which two are trained on, one selects, one is left out
FIGURE = "transfer.png"


class Start(NamedTuple):
    """A training: how it starts, how many scans it is trained on, the seed."""

    start: str
    subjects: int
    seed: int

    @property
    def path(self) -> pathlib.Path:
        """The file of its row."""
        return TRANSFER_ROWS / record.device_name() / f"{self.start}-{self.subjects}_subjects-seed_{self.seed}.json"


def main(argv: list[str] | None = None) -> int:
    """Trains and scores what is missing, prints the table and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", default="10,20,60", help="training scans with masks")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each")
    parser.add_argument("--table", action="store_true", help="only print and draw what is finished")
    options = parser.parse_args(argv)
    counts = [int(word) for word in options.subjects.split(",")]
    starts = [Start(start, count, seed) for seed in range(options.seeds) for count in counts for start in STARTS]
    for start in starts:
        if not options.table and not start.path.is_file():
            train_and_score(start)
    rows = [read_json(path) for path in sorted((TRANSFER_ROWS / record.device_name()).glob("*.json"))]
    if rows:
        print(record.table(table(rows)))
        draw(rows, TRANSFER_ROWS / record.device_name() / FIGURE)
    return 0


def train_and_score(start: Start) -> None:
    """Trains a U-Net, and the encoder before the first that needs it, by the commands that users have.

    Raises:
      RuntimeError: a command failed; its message is on the terminal.
    """
    name, subjects, seed = start
    print(f"\n== {STARTS[name]}, {subjects} training scans, seed {seed}", flush=True)
    if name == "pretrained":  # a finished one is only read
        process.run(process.ours("pretrain", "--config=pretrain", f"--workdir={PRETRAINED}"))
    fields = {
        "seed": seed,
        "compare_with": (),
        "folds": (0,),
        "phantom.subjects": subjects * FOLDS // 2,
        "data.folds": FOLDS,
        "phantom.layout": "own",
        **({"init_from": PRETRAINED} if name == "pretrained" else {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "run"
        cost = process.run(process.ours("train", "--config=demo", f"--workdir={workdir}", *flags(fields)))
        tested = elsewhere("demo", "demo", workdir)
    start.path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        start.path,
        {
            **start._asdict(),
            "cpu_minutes": round(cost["cpu_s"] / 60, 2),
            "device": record.device_name(),
            "date": datetime.date.today().isoformat(),
            "versions": record.versions(),
            "elsewhere": tested,
        },
    )


def scores_of(rows: list[dict], start: str, subjects: int, measure: str) -> dict[int, float]:
    """{test scan: its score, a mean over the seeds}, of the scans that have one."""
    own = [row for row in rows if row["start"] == start and row["subjects"] == subjects]
    values: dict[int, list[float]] = {}
    for row in own:
        for scan in row["elsewhere"]:
            if scan[measure] is not None:
                values.setdefault(scan["subject"], []).append(scan[measure])
    return {scan: float(np.mean(scores)) for scan, scores in values.items()}


def table(rows: list[dict]) -> list[dict]:
    """A row for each number of training scans: both starts, and the paired difference with its interval."""
    lines = []
    for subjects in sorted({row["subjects"] for row in rows}):
        line: dict = {"training scans": subjects}
        for measure in ("dice", "volume_dice", "false_positive_ml"):
            before, after = (scores_of(rows, start, subjects, measure) for start in STARTS)
            for start, scores in zip(STARTS, (before, after), strict=True):
                line[f"{measure} {start}"] = round(float(np.mean(list(scores.values()))), 3) if scores else None
            shared = sorted(set(before) & set(after))
            difference = statistics.paired_difference(
                np.array([before[scan] for scan in shared]), np.array([after[scan] for scan in shared])
            )
            mean, ci95 = difference["mean"], difference["ci95"]
            interval = f" [{ci95[0]:+.3f}, {ci95[1]:+.3f}]" if ci95 else ""
            line[f"{measure} change"] = "" if mean is None else f"{mean:+.3f}{interval}"
        lines.append(line)
    return lines


def draw(rows: list[dict], path: pathlib.Path) -> None:
    """The learning curves of both starts, with 95 % intervals over the test scans."""
    counts, tested = sorted({row["subjects"] for row in rows}), len(rows[0]["elsewhere"])
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for k, (start, words) in enumerate(STARTS.items()):
        found = [(count, scores_of(rows, start, count, "dice")) for count in counts]
        points = [(count, statistics.summary(np.array(list(scores.values())))) for count, scores in found if scores]
        where = [count * (0.98 + 0.04 * k) for count, _ in points]  # apart, so that intervals do not overlap
        means = [summary["mean"] for _, summary in points]
        ends = [summary["ci95"] or [summary["mean"]] * 2 for _, summary in points]
        errors = np.abs(np.array(ends).T - np.array(means)[None])
        axes.errorbar(where, means, yerr=errors, marker="o", capsize=3, label=words)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("training scans with masks")
    axes.set_ylabel("Dice (paper)")
    axes.set_ylim(0.0, 1.0)
    axes.set_title(f"Synthetic scans: the same U-Net, tested on {tested} others, 95 % intervals", fontsize=10)
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
