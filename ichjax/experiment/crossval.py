"""Cross-validation by subject: every fold trained, tested, scored, then the tables, the figures and the report."""

import contextlib
import pathlib
from collections.abc import Iterable

import ml_collections

from ichjax import hosts, xla
from ichjax.console import say
from ichjax.data import leaky_split
from ichjax.data.scan_cache import CachedScan
from ichjax.data.splits import Fold
from ichjax.errors import InputError
from ichjax.experiment import leaky_crossval, scoring, setup, tuning
from ichjax.files import RESULTS_FILE, claim, read_json, write_json
from ichjax.methods import base, registry
from ichjax.metrics.records import FoldScores, Results, ScoreRow
from ichjax.report.publish import publish


def train_one(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> setup.Experiment:
    """Trains the fold `config.fold` of `config.method`; see `setup.open_experiment` for what it raises."""
    if config.data.splits == "slice_split":
        raise InputError("config.data.splits is 'slice_split', which only `crossval` demonstrates; expected another")
    if config.deterministic:
        xla.require_deterministic()
    method = registry.make(config.method, config)
    experiment = setup.open_experiment(config, workdir)
    with _claim(workdir / f"fold_{config.fold}"):
        _fit(method, experiment, experiment.folds.folds[config.fold], workdir)
    say(f"fold {config.fold}: trained -> {workdir / f'fold_{config.fold}'}")
    return experiment


def crossval(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> setup.Experiment:
    """Runs the folds of the configuration's method and of those beside it, then writes tables, figures and report.

    Folds that are finished are not done again. A subject whose scan cannot be read costs no other its result.

    Args:
      config: of the experiment; its `folds` are those to run here, where several processes share the work.
      workdir: where everything goes.

    Raises:
      InputError: see `setup.open_experiment`; or another process is at work on the same fold.
    """
    if config.deterministic:
        xla.require_deterministic()
    methods = {name: registry.make(name, config) for name in (config.method, *config.compare_with)}
    experiment = setup.open_experiment(config, workdir)
    for name, method in methods.items():
        place = method_folder(workdir, config, name)
        place.mkdir(parents=True, exist_ok=True)
        if config.data.splits == "slice_split" and hosts.count() > 1:
            raise InputError("config.data.splits is 'slice_split', a demonstration for one process; found several")
        say(f"== {method.title}: {len(experiment.folds.folds)} folds, {len(experiment.scans)} subjects ==")
        if config.data.splits == "slice_split":
            leaky_crossval.run_folds(method, experiment, place)
        else:
            for fold in experiment.folds.folds:
                if not config.folds or fold.index in config.folds:
                    with _claim(place / f"fold_{fold.index}"):
                        _run_fold(method, experiment, fold, place)
        if hosts.is_first():
            write_results(config, name, method, place, unreadable=experiment.problems)
    if hosts.is_first():
        publish(workdir)
    hosts.wait("published")
    return experiment


@contextlib.contextmanager
def _claim(folder: pathlib.Path):
    """Holds a fold for this run: for all of its processes, by the first."""
    with claim(folder) if hosts.is_first() else contextlib.nullcontext():
        hosts.wait(f"{folder.name} is claimed")
        yield
        hosts.wait(f"{folder.name} is left")


def method_folder(workdir: pathlib.Path, config: ml_collections.ConfigDict, name: str) -> pathlib.Path:
    """Where a method's folds lie: the work directory itself, or baselines/NAME for those beside the main one."""
    return workdir if name == config.method else workdir / "baselines" / name


def _fit(method: base.Method, experiment: setup.Experiment, fold: Fold, place: pathlib.Path):
    train, valid = experiment.part(fold.train), experiment.part(fold.validation)
    folder = place / f"fold_{fold.index}"
    folder.mkdir(parents=True, exist_ok=True)
    return method.fit(train, valid, workdir=folder, fold=fold.index)


def _run_fold(method: base.Method, experiment: setup.Experiment, fold: Fold, place: pathlib.Path) -> None:
    """Trains and tests one fold; what it was scored as is kept in fold_K/scores.json.

    In a finished fold only those test subjects are predicted whose scan could not be read before.
    """
    path = place / f"fold_{fold.index}" / scoring.SCORES_FILE
    done = scoring.read_fold(path.parent)["subjects"] if path.is_file() else []
    scans = [scan for scan in experiment.part(fold.test) if scan.number not in {row["subject"] for row in done}]
    if done and not scans:
        say(f"fold {fold.index}: finished before")
        return
    params = _fit(method, experiment, fold, place)
    post = _post(method, params, experiment, fold, path.parent)
    method.announce(params, [scan.volume for scan in scans], f"fold {fold.index}: predicting {len(scans)} scans")
    rows = [_test(method, params, post, scan, fold.index, place, experiment.config) for scan in hosts.share(scans)]
    rows = done + _gathered(rows, path.parent)
    if not hosts.is_first():
        return
    chosen = method.chosen(params)
    if post != method.post:
        chosen |= {name: getattr(post, name) for name in ("threshold", "closing_px", "opening_px")}
    record: FoldScores = {
        **setup.provenance(experiment.config),
        "chosen": chosen,
        "chosen_on": post.chosen_on,
        "subjects": rows,
    }
    write_json(path, record)


def _gathered(rows: list[ScoreRow], folder: pathlib.Path) -> list[ScoreRow]:
    """The rows of all processes, by subject; they pass through the fold's folder, which all see."""
    if hosts.count() == 1:
        return rows
    parts = [folder / f"scores_{number}.json" for number in range(hosts.count())]
    write_json(parts[hosts.number()], {"subjects": rows})
    hosts.wait(f"{folder.name} is scored")
    if not hosts.is_first():
        return []
    everyone = [row for part in parts for row in read_json(part)["subjects"]]
    for part in parts:
        part.unlink()
    return sorted(everyone, key=lambda row: row["subject"])


def _post(method, params, experiment: setup.Experiment, fold: Fold, folder: pathlib.Path) -> base.PostProcess:
    """The fold's threshold and kernels: the method's own, or tuned on the fold's validation scans and kept."""
    if experiment.config.predict.tune == "none":
        return method.post
    if (folder / tuning.POST_FILE).is_file():
        return tuning.read(folder, method.post)
    post = tuning.tune(method, params, experiment.part(fold.validation), experiment.config)
    if hosts.is_first():
        tuning.write(folder, post)
    say(
        f"fold {fold.index}: threshold {post.threshold:g}, closing {post.closing_px}, opening {post.opening_px} px; "
        f"{post.chosen_on}"
    )
    return post


def _test(method, params, post: base.PostProcess, scan: CachedScan, fold: int, place: pathlib.Path, config) -> ScoreRow:
    """Predicts one scan, writes its mask and probability, and returns its row of counts and details."""
    return scoring.score_scan(
        scan,
        method.predict(params, scan.volume),
        post,
        thresholds=tuning.counted_thresholds(method.post, config),
        fold=fold,
        folder=place,
        config=config,
        seams=method.seams,
    )


def write_results(
    config: ml_collections.ConfigDict,
    name: str,
    method: base.Method,
    place: pathlib.Path,
    *,
    unreadable: Iterable[int],
) -> None:
    """Scores all folds of one method in every convention and writes its results.json.

    Versions and devices are those that the last fold was tested with, wherever the scoring is done.

    Raises:
      InputError: no fold has been tested yet.
    """
    records = [scoring.read_fold(folder) for folder in setup.fold_folders(place, scoring.SCORES_FILE)]
    rows = [row for record in records for row in record["subjects"]]
    if not rows:
        raise InputError(f"{place}: no fold has been tested; expected fold_K/scores.json from `crossval`")
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
    if config.data.splits == "slice_split":
        results["invalid"] = leaky_split.INVALID
    scoring.write(place / RESULTS_FILE, results, unreadable=unreadable, rows=rows)


def rebuild(workdir: pathlib.Path) -> None:
    """The `report` command: scores again what a work directory holds, and writes tables, figures and report.

    Raises:
      InputError: the folder holds no run, or no fold of its main method has been tested.
    """
    config = setup.load_config(workdir)
    for name in (config.method, *config.compare_with):
        place, method = method_folder(workdir, config, name), registry.make(name, config)
        if name != config.method and not setup.fold_folders(place, scoring.SCORES_FILE):
            say(f"{method.title}: not tested yet, so not in the report")
            continue
        old = place / RESULTS_FILE
        unreadable = read_json(old).get("left_out_unreadable", []) if old.is_file() else []
        write_results(config, name, method, place, unreadable=unreadable)
    publish(workdir)
