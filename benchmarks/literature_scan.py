"""Seconds that each method of a trained run takes for a scan of 34 slices of 512 x 512, from HU to probability.

    python -m benchmarks.literature_scan --workdir=runs/literature [--slices=34] [--rounds=3]

Trains nothing: the run is one of `make literature` with a finished fold 0. The scan is that of `predict_scan`. Methods
take turns; the first prediction of each, which compiles, is a column of its own.
"""

import argparse
import os
import pathlib
import runpy
import statistics
import tempfile
import time

import jax

from benchmarks import contest, predict_scan, process, record
from ichjax.errors import InputError
from ichjax.methods import registry
from ichjax.methods.base import MODEL_FILE
from ichjax.scan.nifti import read_nifti
from ichjax.scan.volume import Volume

GOAL_S = 15.0


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    contest.share_gpu()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="a run of configs/literature/all.py")
    parser.add_argument("--slices", type=int, default=predict_scan.SLICES)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "scan.nii")
        predict_scan.write_middle(predict_scan.phantom_path(), options.slices, path)
        scan = read_nifti(path)
    try:
        rows = measure(options.workdir, scan, rounds=options.rounds)
    except InputError as error:
        parser.error(str(error))
    shape = " x ".join(map(str, scan.shape))
    description = (
        f"A calibrated phantom of {shape} voxels, from HU to probability, with fold 0 of a run; medians of "
        f"{options.rounds} rounds in which the methods take turns in one process. The goal is {GOAL_S:g} s."
    )
    record.publish("literature_scan", rows, description=description, packages=("scikit-learn",))


def measure(workdir: pathlib.Path, scan: Volume, *, rounds: int) -> list[dict]:
    """A row for each method of a run.

    Raises:
      InputError: no method has finished fold 0 there.
    """
    config = runpy.run_path(str(process.ROOT / "configs" / "literature" / "all.py"))["get_config"]()
    finished = sorted(path.parent for path in workdir.rglob(f"fold_0/{MODEL_FILE}"))
    trained = {config.method if folder.parent == workdir else folder.parent.name: folder for folder in finished}
    if not trained:
        raise InputError(f"{workdir}: no method has finished fold 0; expected a run of `make literature`")
    methods = {name: registry.make(name, config) for name in trained}
    params = {name: methods[name].load(folder) for name, folder in trained.items()}

    def predict(name: str) -> float:
        started = time.perf_counter()
        jax.block_until_ready(methods[name].predict(params[name], scan).probability)
        return time.perf_counter() - started

    first = {name: predict(name) for name in methods}
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name in methods:
            times[name].append(predict(name))
    return [
        {
            "method": methods[name].title,
            "seconds a scan": statistics.median(times[name]),
            "least": min(times[name]),
            "most": max(times[name]),
            "the first, with compilation": first[name],
            "within the goal": "yes" if statistics.median(times[name]) <= GOAL_S else "no",
        }
        for name in methods
    ]


if __name__ == "__main__":
    main()
