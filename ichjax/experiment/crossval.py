"""Cross-validation by subject: trains, tests and scores every fold, then writes tables, figures and the report."""

import contextlib
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax

from ichjax import hosts, xla
from ichjax.config import Config
from ichjax.console import say
from ichjax.data import leaky_split
from ichjax.data.scan_cache import CachedScan
from ichjax.data.splits import Fold
from ichjax.errors import InputError
from ichjax.experiment import scoring, seconds, setup, tuning, volume_calibration
from ichjax.experiment.leaky_crossval import LeakyCrossValidation
from ichjax.experiment.volume_calibration import ScanVolumes
from ichjax.files import RESULTS_FILE, claim, read_json, write_json
from ichjax.methods import registry
from ichjax.methods.base import Method, PostProcess
from ichjax.metrics.records import FoldScores, Results, ScoreRow
from ichjax.report.publish import publish

Row = TypeVar("Row", ScoreRow, ScanVolumes)


def train_one(config: Config, workdir: pathlib.Path) -> dict[int, str]:
    """Trains the fold `config.fold` of `config.method` and tunes it; returns and raises as `crossval` does."""
    xla.start(deterministic=config.deterministic)
    method = registry.make(config.method, config)
    experiment = setup.open_experiment(config, workdir)
    fold, folder = experiment.folds.folds[config.fold], workdir / f"fold_{config.fold}"
    with claim_fold(folder):
        params = _fit(method, experiment, fold, workdir)
        post, volumes = _post_process(method, params, experiment, fold, folder)
        _calibrate(method, params, post, experiment, fold, folder, volumes)
    say(f"fold {config.fold}: trained -> {folder}")
    return experiment.problems


def crossval(config: Config, workdir: pathlib.Path) -> dict[int, str]:
    """Cross-validates the configuration's methods, then writes tables, figures and the report.

    Finished folds are not repeated. An unreadable scan costs no other subject its result.

    Args:
      config: of the experiment; `config.folds` are the folds to run here, if several processes share the work.
      workdir: receives everything.

    Returns:
      {subject number: one sentence} of the scans that could not be read.

    Raises:
      InputError: see `setup.open_experiment`; or another process is working on the same fold.
    """
    xla.start(deterministic=config.deterministic)
    methods = {name: registry.make(name, config) for name in (config.method, *config.compare_with)}
    folds = LeakyCrossValidation if config.data.splits == "slice_split" else _CrossValidation
    experiment = folds(config, workdir)
    for name, method in methods.items():
        folder = method_folder(workdir, config, name)
        folder.mkdir(parents=True, exist_ok=True)
        say(f"== {method.title}: {config.data.folds} folds, {len(experiment.scans)} subjects ==")
        experiment.run_folds(method, folder)
        if hosts.is_first():
            write_results(config, name, method, folder, unreadable=experiment.problems)
    if hosts.is_first():
        publish(workdir)
    hosts.wait("published")
    return experiment.problems


class _CrossValidation:
    """Trains and tests the folds of `config.folds`."""

    def __init__(self, config: Config, workdir: pathlib.Path):
        self._experiment, self._workdir = setup.open_experiment(config, workdir), workdir
        self.scans, self.problems = self._experiment.scans, self._experiment.problems

    def run_folds(self, method: Method, folder: pathlib.Path) -> None:
        """Runs the folds of one method in its folder; volumes are calibrated for the main method alone."""
        for group in self._experiment.fold_groups():
            with contextlib.ExitStack() as claims:
                for fold in group:
                    claims.enter_context(claim_fold(folder / f"fold_{fold.index}"))
                if len(group) > 1:
                    others = method.other_scans()
                    method.fit_together([self._experiment.fold_scans(fold, folder, others) for fold in group])
                for fold in group:
                    _run_fold(method, self._experiment, fold, folder, calibrate=folder == self._workdir)


@contextlib.contextmanager
def claim_fold(folder: pathlib.Path) -> Iterator[None]:
    """Locks a fold for this run; the first process locks it for all processes of the run."""
    with claim(folder) if hosts.is_first() else contextlib.nullcontext():
        hosts.wait(f"{folder.name} is claimed")
        yield
        hosts.wait(f"{folder.name} is left")


def method_folder(workdir: pathlib.Path, config: Config, name: str) -> pathlib.Path:
    """The folder of a method's folds: the work directory itself, or baselines/NAME for `config.compare_with`."""
    return workdir if name == config.method else workdir / "baselines" / name


def _fit(method: Method, experiment: setup.Experiment, fold: Fold, method_dir: pathlib.Path) -> Any:
    scans = experiment.fold_scans(fold, method_dir, method.other_scans())
    scans.folder.mkdir(parents=True, exist_ok=True)
    with seconds.of_training(scans.folder):
        return method.fit(scans.train, scans.valid, workdir=scans.folder, fold=fold.index)


def _run_fold(
    method: Method, experiment: setup.Experiment, fold: Fold, method_dir: pathlib.Path, *, calibrate: bool
) -> None:
    """Trains and tests one fold, and writes its fold_K/scores.json.

    In a finished fold, only test subjects whose scan was unreadable before are predicted; with `calibrate` its volumes
    are calibrated if an earlier version has not done so.
    """
    config, path = experiment.config, method_dir / f"fold_{fold.index}" / scoring.SCORES_FILE
    done = scoring.read_fold(path.parent)["subjects"] if path.is_file() else []
    scans = [scan for scan in experiment.part(fold.test) if scan.number not in {row["subject"] for row in done}]
    stored = volume_calibration.read(path.parent, tuning.read(path.parent, method.post)) if calibrate else ()
    if done and not scans and stored is not None:
        say(f"fold {fold.index}: already done")
        return
    params = _fit(method, experiment, fold, method_dir)
    post, volumes = _post_process(method, params, experiment, fold, path.parent)
    if calibrate:
        _calibrate(method, params, post, experiment, fold, path.parent, volumes)
    if done and not scans:
        return
    method.announce(params, [scan.volume for scan in scans], f"fold {fold.index}: predicting {len(scans)} scans")
    rows = [_test(method, params, post, scan, fold.index, method_dir, config) for scan in hosts.share(scans)]
    rows = done + _gathered(rows, path.parent, "scores")
    if not hosts.is_first():
        return
    chosen = method.chosen(params) | post.gates
    if post != method.post:
        chosen |= {name: getattr(post, name) for name in ("threshold", "closing_px", "opening_px")}
    record: FoldScores = {
        **setup.provenance(config),
        "chosen": chosen,
        "chosen_on": post.chosen_on,
        "subjects": rows,
    }
    write_json(path, record)


def _gathered(rows: list[Row], folder: pathlib.Path, name: str) -> list[Row]:
    """The rows of all processes, by subject, exchanged through files NAME_K.json in the fold's folder."""
    if hosts.count() == 1:
        return rows
    parts = [folder / f"{name}_{number}.json" for number in range(hosts.count())]
    write_json(parts[hosts.number()], {"subjects": rows})
    hosts.wait(f"{folder.name} has its {name}")
    if not hosts.is_first():
        return []
    everyone = [row for part in parts for row in read_json(part)["subjects"]]
    for part in parts:
        part.unlink()
    return sorted(everyone, key=lambda row: row["subject"])


def _post_process(
    method: Method, params: Any, experiment: setup.Experiment, fold: Fold, folder: pathlib.Path
) -> tuple[PostProcess, list[ScanVolumes]]:
    """The fold's threshold and kernels, the method's own or tuned on the fold's validation scans and stored; and the
    volumes of the scans that were predicted for it."""
    if experiment.config.predict.tune == "none":
        return method.post, []
    tuned = (folder / tuning.POST_FILE).is_file()
    hosts.wait(f"{folder.name} may be tuned")  # so that none writes the file before all have looked for it
    if tuned:
        return tuning.read(folder, method.post), []
    post, volumes = tuning.tune(method, params, experiment.part(fold.validation), experiment.config)
    if hosts.is_first():
        tuning.write(folder, post)
    kernels = f"closing {post.closing_px}, opening {post.opening_px} px"
    gates = "".join(f", {name} {value:g}" for name, value in post.gates.items())
    say(f"fold {fold.index}: threshold {post.threshold:g}, {kernels}{gates}; {post.chosen_on}")
    return post, volumes


def _calibrate(
    method: Method,
    params: Any,
    post: PostProcess,
    experiment: setup.Experiment,
    fold: Fold,
    folder: pathlib.Path,
    known: Sequence[ScanVolumes] = (),
) -> None:
    """Writes the volumes of the fold's validation scans, unless they are there; predicts those that are not known."""
    fingerprint = method.fingerprint(params)
    if volume_calibration.read(folder, post, fingerprint) is not None:
        return
    numbers = {row["subject"] for row in known}
    scans = [scan for scan in experiment.part(fold.validation) if scan.number not in numbers]
    if scans:
        text = f"fold {fold.index}: predicting {len(scans)} validation scans, for volume intervals"
        method.announce(params, [scan.volume for scan in scans], text)
    rows = _gathered(tuning.measure_volumes(method, params, post, hosts.share(scans)), folder, "volumes")
    if hosts.is_first():
        volume_calibration.write(folder, post, fingerprint, [*known, *rows])


def _test(
    method: Method,
    params: Any,
    post: PostProcess,
    scan: CachedScan,
    fold: int,
    method_dir: pathlib.Path,
    config: Config,
) -> ScoreRow:
    """Predicts one scan, writes its mask and probability, and returns its row of counts and details."""
    with seconds.of_prediction(method_dir / f"fold_{fold}"):
        prediction = jax.block_until_ready(method.predict(params, scan.volume))
    row = scoring.score_scan(
        scan,
        prediction,
        post,
        thresholds=tuning.counted_thresholds(method.post, config),
        fold=fold,
        folder=method_dir,
        config=config,
        seams=method.seams,
    )
    row["level_ml"] = volume_calibration.level_volumes(prediction.probability, scan.volume)
    return row


def write_results(
    config: Config, name: str, method: Method, folder: pathlib.Path, *, unreadable: Iterable[int]
) -> None:
    """Scores all folds of one method in every convention and writes its results.json.

    Versions and devices are those of the last fold's test, wherever the scoring runs.

    Raises:
      InputError: no fold has been tested yet.
    """
    records = [scoring.read_fold(path) for path in setup.fold_folders(folder, scoring.SCORES_FILE)]
    rows = [row for record in records for row in record["subjects"]]
    if not rows:
        raise InputError(f"{folder}: no fold has been tested; expected fold_K/scores.json from `crossval`")
    chosen = [record["chosen"] for record in records]
    scores = scoring.results(
        config,
        rows,
        thresholds=tuning.counted_thresholds(method.post, config),
        chosen_on=records[-1].get("chosen_on", ""),
        chosen=[c["thresholds"] for c in chosen] if all("thresholds" in c for c in chosen) else None,
    )
    results: Results = {
        "method": name,
        **method.record(),
        "config_digest": records[-1]["config_digest"],
        "versions": records[-1]["versions"],
        "devices": records[-1]["devices"],
        **scores,
        "chosen_by_fold": chosen,
    }
    if name == config.method and config.data.splits != "slice_split":
        folders = setup.fold_folders(folder, volume_calibration.CALIBRATION_FILE)
        calibration = volume_calibration.pooled((path, tuning.read(path, method.post)) for path in folders)
        volume_calibration.add_intervals(results, rows, calibration)
    if reason := leaky_split.invalid_reason(config.data.splits):
        results["invalid"] = reason
    scoring.write(folder / RESULTS_FILE, results, unreadable=unreadable, rows=rows)
