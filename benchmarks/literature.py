"""The methods of the literature on the same folds: trains and scores them, and keeps a small file of each.

    python -m benchmarks.literature [--folds=0] [--workdir=runs/literature] [--table] [--config.FIELD=VALUE ...]

`launch.py crossval --config=configs/literature/all.py` of all folds, or of those given; it goes on where it stopped.
Each method that has been scored gets a file results/literature/DEVICE/METHOD-N_folds.json, also when a later one fails
or the command is stopped. Of another configuration or a data set of your own nothing is kept. `--table` only prints the
table of what there is.
"""

import argparse
import datetime
import pathlib
import runpy
import sys

import numpy as np

from benchmarks import process, record
from ichjax import config as configs
from ichjax.files import CONFIG_FILE, RESULTS_FILE, SECONDS_FILE, read_json, write_json

LITERATURE_ROWS = record.RESULTS / "literature"  # a folder a device
ALL_METHODS = "literature/all"


def main(argv: list[str] | None = None) -> int:
    """Runs what is missing, keeps the rows and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", default="", help="numbers, such as 0,1; all without")
    parser.add_argument("--workdir", type=pathlib.Path, default=process.ROOT / "runs" / "literature")
    parser.add_argument("--table", action="store_true", help="only print what is kept")
    options, fields = parser.parse_known_args(argv)
    if other := [word for word in fields if not word.startswith("--config.")]:
        parser.error(f"unknown argument {other[0]}; expected --config.FIELD=VALUE")
    folder = LITERATURE_ROWS / record.device_name()
    if options.table:
        rows = [read_json(path) for path in sorted(folder.glob("*.json"))]
    else:
        rows = run(options.workdir.resolve(), options.folds, fields, folder)
    if rows:
        print(record.markdown(table(rows)))
    return 0


def run(workdir: pathlib.Path, folds: str, fields: list[str], folder: pathlib.Path) -> list[dict]:
    """Cross-validates, and returns a row for each scored method; they are kept in `folder` if the run `is_shipped`.

    Raises:
      RuntimeError: a command failed; its message is on the terminal.
    """
    if folds:
        fields = [*fields, f"--config.folds=({folds.rstrip(',')},)"]
    try:
        process.run(process.ours("crossval", f"--config={ALL_METHODS}", f"--workdir={workdir}", *fields))
    finally:
        rows = [row_of(path.parent) for path in finished(workdir)]
        for row in rows if is_shipped(workdir) else ():
            keep(row, folder / f"{row['method']}-{len(row['folds'])}_folds.json")
    return rows


def is_shipped(workdir: pathlib.Path) -> bool:
    """Whether a run has the shipped configuration and its synthetic scans, whatever this command was called with."""
    if not (workdir / CONFIG_FILE).is_file():
        return False
    shipped = runpy.run_path(str(process.ROOT / "configs" / f"{ALL_METHODS}.py"))["get_config"]()
    stored = read_json(workdir / CONFIG_FILE)
    synthetic = stored["data"].pop("synthetic", False)
    return synthetic and configs.without_location(stored) == configs.without_location(configs.to_dict(shipped))


def finished(workdir: pathlib.Path) -> list[pathlib.Path]:
    """The results of every method that has been scored, the run's own first."""
    return [
        path
        for path in (workdir / RESULTS_FILE, *sorted(workdir.glob(f"baselines/*/{RESULTS_FILE}")))
        if path.is_file()
    ]


def row_of(folder: pathlib.Path) -> dict:
    """The row of a method from its folder: scores with 95 % intervals, and seconds of training a fold and of a scan.

    Times are of one process on this machine, whatever else it did; None where the command was stopped and went on.
    """
    results = read_json(folder / RESULTS_FILE)
    detected, conventions = results["detection_scores"], results["conventions"]
    folds = sorted({scan["fold"] for scan in results["subjects"]})
    times = [path for path in (folder / f"fold_{fold}" / SECONDS_FILE for fold in folds) if path.is_file()]
    seconds = [read_json(path) for path in times]
    trained = [sum(one["fit_s"]) for one in seconds if one.get("fit_s")]
    predicted = [value for one in seconds for value in one.get("predict_s", ())]
    return {
        "method": results["method"],
        "title": results["title"],
        "folds": folds,
        "scans": len(results["subjects"]),
        "with_hemorrhage": conventions["paper"]["dice"]["n"],
        "dice": interval(conventions["paper"]["dice"], "mean"),
        "volume_dice": interval(conventions["volume"]["dice"], "mean"),
        "false_positive_ml": results["hemorrhage_free"]["false_positive_ml"],
        "slice_auc": interval(detected["slices"]["any"]["auc"], "value"),
        "scan_auc": interval(detected["scans"]["any"]["auc"], "value"),
        "fit_s": float(np.mean(trained)) if len(trained) == len(folds) else None,
        "predict_s": float(np.median(predicted)) if predicted else None,
        "config_digest": results["config_digest"],
        "versions": results["versions"],
        "device": record.device_name(),
        "date": datetime.date.today().isoformat(),
    }


def interval(score: dict, key: str) -> list[float | None]:
    """[value, low, high] of a score; None where there is none."""
    low, high = score.get("ci95") or (None, None)
    return [score.get(key), low, high]


def keep(row: dict, path: pathlib.Path) -> None:
    """Writes a row, unless the same one is there, which keeps its date."""
    if path.is_file() and read_json(path) | {"date": row["date"]} == row:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, row)


def table(rows: list[dict]) -> list[dict]:
    """A line for each row, those of the most folds and the highest Dice first."""
    ordered = sorted(rows, key=lambda row: (-len(row["folds"]), -(row["dice"][0] or 0.0)))
    return [
        {
            "method": row["title"],
            "folds": len(row["folds"]),
            "Dice (95 % interval)": in_words(row["dice"]),
            "volume Dice": in_words(row["volume_dice"][:1]),
            "false-positive mL": in_words([row["false_positive_ml"]], 2),
            "AUC of slices (95 % interval)": in_words(row["slice_auc"]),
            "training, s": in_words([row["fit_s"]], 0),
            "a scan, s": in_words([row["predict_s"]], 2),
        }
        for row in ordered
    ]


def in_words(score: list[float | None], digits: int = 3) -> str | None:
    """'0.463 (0.298 to 0.615)', without what is not known."""
    value, *ends = [None if one is None else f"{one:.{digits}f}" for one in score]
    return f"{value} ({' to '.join(map(str, ends))})" if value and all(ends) and ends else value


if __name__ == "__main__":
    sys.exit(main())
