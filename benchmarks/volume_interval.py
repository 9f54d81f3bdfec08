"""How often the 90 % interval of a run's predicted volumes holds the true volume, on phantoms of another seed.

    python -m benchmarks.volume_interval --workdir=RUN [--subjects=320] [--seed=302]

Trains nothing: RUN is a finished run with a calibration (`crossval` writes it, and adds it to an older run). The
phantoms are of the run's preset and are made once.
"""

import argparse
import pathlib
import tempfile

import numpy as np

from benchmarks import process, record
from ichjax.data import dataset as datasets
from ichjax.errors import InputError
from ichjax.files import CONFIG_FILE, read_json
from ichjax.metrics import volume_interval
from ichjax.phantom import store

GROUPS = {"none": (0.0, 0.0), "below 5 mL": (0.0, 5.0), "5 to 20 mL": (5.0, 20.0), "above 20 mL": (20.0, np.inf)}


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="a finished, calibrated run")
    parser.add_argument("--subjects", type=int, default=320, help="phantoms")
    parser.add_argument("--seed", type=int, default=302, help="of the phantoms, another than the run's")
    options = parser.parse_args(argv)
    try:
        rows = measure(options.workdir, subjects=options.subjects, seed=options.seed)
    except InputError as error:
        parser.error(str(error))
    config = read_json(options.workdir / CONFIG_FILE)
    description = (
        f"{options.subjects} phantoms of preset '{config['phantom']['preset']}' and seed {options.seed}, predicted "
        f"with the mean of the folds of a run on {config['phantom']['subjects']} phantoms of seed "
        f"{config['phantom']['seed']}: the share of the {100 * volume_interval.COVERAGE:g} % intervals that hold the "
        "true volume, with its 95 % Wilson interval, and the widths of the intervals, by true volume. The coverage is "
        "promised for all scans together, not for each group."
    )
    record.publish("volume_interval", rows, description=description)


def measure(workdir: pathlib.Path, *, subjects: int, seed: int) -> list[dict]:
    """Predicts phantoms with a run, by the command that users have, and compares intervals with true volumes.

    Raises:
      InputError: the phantoms are those of the run, or the run has no calibration.
      RuntimeError: the prediction failed; its message is on the terminal.
    """
    own = read_json(workdir / CONFIG_FILE)["phantom"]
    if seed == own["seed"]:
        raise InputError(f"--seed={seed} is that of the run's own phantoms; expected another")
    root = store.dataset_root("", preset=own["preset"], subjects=subjects, seed=seed)
    truth_ml, predictions = [], []
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "predicted"
        scans = datasets.read_dataset(root).subjects
        words = [f"--workdir={workdir}", f"--output={output}", "--input", *(str(one.scan_path) for one in scans)]
        process.run(process.ours("predict", *words))
        for subject in scans:
            scan = datasets.load_scan(subject)
            pixels = np.count_nonzero(scan.mask, axis=(1, 2))
            truth_ml.append(float(pixels @ scan.volume.pixel_ml))
            name = subject.scan_path.name.split(".")[0]
            predictions.append(read_json(output / name / "prediction.json"))
    missing = [one["volume_interval_missing"] for one in predictions if one["volume_interval_ml"] is None]
    if missing:
        raise InputError(f"{workdir}: {len(missing)} predictions have no interval: {missing[0]}")
    return table(truth_ml, predictions)


def table(truth_ml: list[float], predictions: list[dict]) -> list[dict]:
    """A row for all scans, and one for each group of true volumes.

    Args:
      truth_ml: of each scan.
      predictions: prediction.json of each scan, with an interval.
    """
    return [_row("all", truth_ml, predictions)] + [
        _row(name, *map(list, zip(*pairs, strict=True)))
        for name, (above, up_to) in GROUPS.items()
        if (pairs := [pair for pair in zip(truth_ml, predictions, strict=True) if _in_group(pair[0], above, up_to)])
    ]


def _in_group(truth_ml: float, above: float, up_to: float) -> bool:
    return truth_ml == 0 if up_to == 0 else above < truth_ml <= up_to


def _row(name: str, truth_ml: list[float], predictions: list[dict]) -> dict:
    intervals = [one["volume_interval_ml"] for one in predictions]
    coverage = volume_interval.observed_coverage(truth_ml, intervals)
    errors = [abs(one["volume_ml"] - truth) for one, truth in zip(predictions, truth_ml, strict=True)]
    low, high = coverage["observed_ci95"] or (None, None)
    return {
        "true volume": name,
        "scans": coverage["n"],
        "inside": coverage["inside"],
        "coverage": coverage["observed"],
        "95 % low": low,
        "95 % high": high,
        "truth below": sum(truth < one["low"] for truth, one in zip(truth_ml, intervals, strict=True)),
        "truth above": sum(truth > one["high"] for truth, one in zip(truth_ml, intervals, strict=True)),
        "median width, mL": coverage["median_width_ml"],
        "mean width, mL": coverage["mean_width_ml"],
        "median error, mL": float(np.median(errors)),
    }


if __name__ == "__main__":
    main()
