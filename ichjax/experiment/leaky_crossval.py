"""Cross-validation over slices instead of subjects: INVALID, run only to show how much a leak lifts a score."""

import pathlib

import numpy as np

from ichjax.console import say
from ichjax.data.leaky_split import take_slices
from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError
from ichjax.experiment import scoring, setup
from ichjax.files import write_json
from ichjax.methods import base


def run_folds(method: base.Method, experiment: setup.Experiment, place: pathlib.Path) -> None:
    """Trains every leaking fold, then predicts each scan once, slice by slice by the fold that tests the slice.

    The last fold's scores.json holds all subjects, since each is tested in parts by all folds.

    Args:
      method: to be fitted.
      experiment: whose `folds` are `data.leaky_split.LeakingSplits`.
      place: the method's folder.

    Raises:
      InputError: thresholds are to be tuned, which this demonstration does not do.
    """
    config, folds = experiment.config, experiment.folds.folds
    if config.predict.tune != "none":
        raise InputError(f"config.predict.tune is {config.predict.tune!r}; expected 'none' with the split over slices")
    say(f"WARNING: {experiment.folds.notes[0]}")
    folders = [place / f"fold_{fold.index}" for fold in folds]
    if (folders[-1] / scoring.SCORES_FILE).is_file():
        say("finished before")
        return
    params = []
    for fold, folder in zip(folds, folders, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        train, valid = (_part(experiment, part) for part in (fold.train, fold.validation))
        params.append(method.fit(train, valid, workdir=folder, fold=fold.index))
    scans = list(experiment.scans.values())
    method.announce(params[0], [scan.volume for scan in scans] * len(folds), f"predicting {len(scans)} scans")
    options = {"thresholds": method.post.all_thresholds, "fold": None, "folder": place, "config": config}
    rows = [scoring.score_scan(scan, _combined(method, params, folds, scan), method.post, **options) for scan in scans]
    for fold, folder in zip(folds, folders, strict=True):
        record = {"chosen": method.chosen(params[fold.index]), "chosen_on": method.post.chosen_on}
        record["subjects"] = rows if fold is folds[-1] else []
        write_json(folder / scoring.SCORES_FILE, {**setup.provenance(config), **record})


def _part(experiment: setup.Experiment, part: dict[int, np.ndarray]) -> list[CachedScan]:
    return [take_slices(experiment.scans[number], slices) for number, slices in part.items() if len(slices)]


def _combined(method: base.Method, params: list, folds, scan: CachedScan) -> base.Prediction:
    """The prediction of a scan, each slice's from the fold that tests it."""
    parts = [(fold.test[scan.number], params[fold.index]) for fold in folds if len(fold.test[scan.number])]
    order = np.argsort(np.concatenate([slices for slices, _ in parts]))
    predictions = [(slices, method.predict(fitted, scan.volume)) for slices, fitted in parts]
    fields = {
        name: np.concatenate([np.asarray(getattr(predicted, name))[slices] for slices, predicted in predictions])[order]
        for name, value in predictions[0][1]._asdict().items()
        if value is not None
    }
    return base.Prediction(**fields)
