"""Cross-validation over slices instead of subjects: INVALID, run only to show how much a leak raises a score."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ichjax import hosts
from ichjax.config import Config
from ichjax.console import say
from ichjax.data.leaky_split import SliceFold, select_slices, split_slices
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.experiment import scoring, setup
from ichjax.files import write_json
from ichjax.methods.base import Method, Prediction
from ichjax.metrics.records import FoldScores


class LeakyCrossValidation:
    """Opens the data with a split over slices, and trains and predicts with it."""

    def __init__(self, config: Config, workdir: pathlib.Path):
        """As `setup.open_experiment`, and InputError for several processes, thresholds to tune or a choice of folds."""
        if hosts.count() > 1:
            raise InputError("config.data.splits is 'slice_split', a demonstration for one process; found several")
        if config.predict.tune != "none":
            raise InputError(
                f"config.predict.tune is {config.predict.tune!r}; expected 'none' with the split over slices"
            )
        if config.folds:
            raise InputError(f"config.folds is {config.folds}; expected none, since the split over slices runs all")
        setup.check_workdir(config, workdir)
        dataset = setup.open_dataset(config)
        self.scans, self.problems = setup.open_scans(dataset)
        depths = {scan.number: len(scan.mask) for scan in self.scans}
        self.config, self._splits = config, split_slices(depths, folds=config.data.folds, seed=config.seed)
        setup.record_run(config, workdir, dataset, self.scans, self._write_splits, self._splits.notes)

    def _write_splits(self, path: pathlib.Path) -> None:
        write_json(path, {"order": "slice_split", "seed": self._splits.seed, "notes": list(self._splits.notes)})

    def run_folds(self, method: Method, folder: pathlib.Path) -> None:
        """Trains every fold, then predicts each scan once, each slice by the fold that tests it.

        The last fold's scores.json holds all subjects, since each is tested in parts by all folds.

        Args:
          method: to be fitted.
          folder: of the method.
        """
        folds = self._splits.folds
        say(f"WARNING: {self._splits.notes[0]}")
        folders = [folder / f"fold_{fold.index}" for fold in folds]
        if (folders[-1] / scoring.SCORES_FILE).is_file():
            say("already done")
            return
        params = [self._fit(method, fold, path) for fold, path in zip(folds, folders, strict=True)]
        volumes = [scan.volume for scan in self.scans] * len(folds)
        method.announce(params[0], volumes, f"predicting {len(self.scans)} scans")
        rows = [
            scoring.score_scan(
                scan,
                _combined(method, params, folds, scan),
                method.post,
                thresholds=method.post.all_thresholds,
                fold=None,
                folder=folder,
                config=self.config,
            )
            for scan in self.scans
        ]
        for fold, path in zip(folds, folders, strict=True):
            record: FoldScores = {
                **setup.provenance(self.config),
                "chosen": method.chosen(params[fold.index]),
                "chosen_on": method.post.chosen_on,
                "subjects": rows if fold is folds[-1] else [],
            }
            write_json(path / scoring.SCORES_FILE, record)

    def _fit(self, method: Method, fold: SliceFold, folder: pathlib.Path) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        train, valid = (
            [select_slices(scan, part[scan.number]) for scan in self.scans if len(part[scan.number])]
            for part in (fold.train, fold.validation)
        )
        return method.fit(train, valid, workdir=folder, fold=fold.index)


def _combined(method: Method, params: Sequence[Any], folds: Sequence[SliceFold], scan: CachedScan) -> Prediction:
    """The prediction of a scan, each slice's from the fold that tests it."""
    tested = [(fold.test[scan.number], params[fold.index]) for fold in folds if len(fold.test[scan.number])]
    order = np.argsort(np.concatenate([slices for slices, _ in tested]))
    predictions = [(slices, method.predict(fitted, scan.volume)) for slices, fitted in tested]

    def joined(name: str) -> Any:
        parts = [(slices, getattr(prediction, name)) for slices, prediction in predictions]
        if parts[0][1] is None:
            return None
        return np.concatenate([np.asarray(part)[slices] for slices, part in parts])[order]

    # The skull is the same whatever the fold. A score of the whole scan is of no fold: its slices' scores decide.
    by_slice = [name for name in Prediction._fields if name not in ("skull_found", "scan_scores")]
    return Prediction(**{name: joined(name) for name in by_slice}, skull_found=predictions[0][1].skull_found)
