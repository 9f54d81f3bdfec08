"""Cross-validation by subject: every fold trained, tested, scored, then the tables, the figures and the report."""

import functools
import pathlib
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from ichjax import run
from ichjax.data.cache import CachedScan
from ichjax.data.splits import Fold
from ichjax.data.volume import write_nifti
from ichjax.errors import InputError
from ichjax.evaluate import csv_tables, figures, protocol, report, tables
from ichjax.evaluate.workdir import read_run
from ichjax.files import read_json, write_json
from ichjax.methods import base
from ichjax.methods.slices import pad_depth
from ichjax.ops import metrics
from ichjax.train.log import say


def train_one(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> run.Experiment:
    """Trains the fold `config.fold` of `config.method`; see `run.open_experiment` for what it raises."""
    method = base.make(config.method, config)
    experiment = run.open_experiment(config, workdir)
    _fit(method, experiment, experiment.folds.folds[config.fold], workdir)
    say(f"fold {config.fold}: trained -> {workdir / f'fold_{config.fold}'}")
    return experiment


def crossval(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, *, folds: Sequence[int] | None = None
) -> run.Experiment:
    """Runs the folds of the configuration's method and of those beside it, then writes tables, figures and report.

    Folds that are finished are not done again. A subject whose scan cannot be read costs no other its result.

    Args:
      config: of the experiment.
      workdir: where everything goes.
      folds: indices of the folds to run; None for all of them.
    """
    methods = {name: base.make(name, config) for name in (config.method, *config.compare_with)}
    experiment = run.open_experiment(config, workdir)
    for name, method in methods.items():
        place = method_folder(workdir, config, name)
        place.mkdir(parents=True, exist_ok=True)
        say(f"== {base.METHODS[name]}: {len(experiment.folds.folds)} folds, {len(experiment.scans)} subjects ==")
        for fold in experiment.folds.folds:
            if folds is None or fold.index in folds:
                _run_fold(method, experiment, fold, place)
        write_results(config, name, method, place, unreadable=experiment.problems)
    publish(workdir)
    return experiment


def method_folder(workdir: pathlib.Path, config: ml_collections.ConfigDict, name: str) -> pathlib.Path:
    """Where a method's folds lie: the work directory itself, or baselines/NAME for those beside the main one."""
    return workdir if name == config.method else workdir / "baselines" / name


def publish(workdir: pathlib.Path) -> None:
    """Writes tables, figures and the report from what a work directory holds, and prints the summary."""
    csv_tables.write_tables(workdir)
    figures.write_figures(workdir)
    path = report.write_report(workdir)
    say("")
    say(tables.summary_text(read_run(workdir).methods))
    say(f"\nreport: {path}")


def _fit(method: base.Method, experiment: run.Experiment, fold: Fold, place: pathlib.Path):
    train, valid = experiment.part(fold.train), experiment.part(fold.validation)
    folder = place / f"fold_{fold.index}"
    folder.mkdir(parents=True, exist_ok=True)
    return method.fit(train, valid, workdir=folder, fold=fold.index)


def _run_fold(method: base.Method, experiment: run.Experiment, fold: Fold, place: pathlib.Path) -> None:
    """Trains and tests one fold; what it was scored as is kept in fold_K/scores.json.

    In a finished fold only those test subjects are predicted whose scan could not be read before.
    """
    path = place / f"fold_{fold.index}" / "scores.json"
    done = read_json(path)["subjects"] if path.is_file() else []
    scans = [scan for scan in experiment.part(fold.test) if scan.number not in {row["subject"] for row in done}]
    if done and not scans:
        say(f"fold {fold.index}: finished before")
        return
    params = _fit(method, experiment, fold, place)
    method.announce(params, [scan.volume for scan in scans], f"fold {fold.index}: predicting {len(scans)} scans")
    rows = done + [_test(method, params, scan, fold.index, place) for scan in scans]
    write_json(path, {**run.provenance(experiment.config), "chosen": method.chosen(params), "subjects": rows})


def _test(method: base.Method, params, scan: CachedScan, fold: int, place: pathlib.Path) -> dict:
    """Predicts one scan, writes its mask and probability, and returns its counts, JSON-ready."""
    volume, post = scan.volume, method.post
    probability = pad_depth(method.predict(params, volume).probability, 0.0)
    truth = pad_depth(np.asarray(scan.mask), 0)
    thresholds = np.array(post.all_thresholds, np.float32)
    main = post.all_thresholds.index(post.threshold)
    counts, mask, eight_bits = jax.device_get(
        _score(probability, truth, thresholds, main=main, closing=post.closing_px, opening=post.opening_px)
    )
    depth = len(volume.hu)
    for name, array in (("predictions", mask), ("probabilities", eight_bits)):
        (place / name).mkdir(exist_ok=True)
        write_nifti(place / name / f"{scan.number:03d}.nii.gz", array[:depth], volume)
    truth_px, predicted_px, overlap_px = (count[..., :depth].tolist() for count in counts)
    return {
        "subject": scan.number,
        "fold": fold,
        "truth_px": truth_px,
        "predicted_px": predicted_px,
        "overlap_px": overlap_px,
        "pixel_ml": volume.pixel_ml.tolist(),
        "pixel_mm2": volume.pixel_mm[0] * volume.pixel_mm[1],
        "slice_labels": scan.slice_labels.astype(int).tolist(),
        "age_years": scan.subject.age_years,
        "sex": scan.subject.sex,
    }


@functools.partial(jax.jit, static_argnames=("main", "closing", "opening"))
def _score(probability, truth, thresholds, *, main: int, closing: int, opening: int):
    """Counts at every threshold, the mask at the reported one, and the probability in 8 bits: one program."""
    counts = metrics.score(probability, truth > 0, thresholds, closing=closing, opening=opening)
    mask = metrics.masks_at(probability, thresholds[main : main + 1], closing=closing, opening=opening)[0]
    return counts, mask.astype(jnp.uint8), jnp.round(probability * 255.0).astype(jnp.uint8)


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
    records = [read_json(folder / "scores.json") for folder in run.fold_folders(place, "scores.json")]
    rows = [row for record in records for row in record["subjects"]]
    if not rows:
        raise InputError(f"{place}: no fold has been tested; expected fold_K/scores.json from `crossval`")
    post = method.post
    chosen = [record["chosen"] for record in records]
    results = protocol.results(
        [_counts(row) for row in rows],
        thresholds=post.all_thresholds,
        main=post.all_thresholds.index(post.threshold),
        chosen_on=post.chosen_on,
        chosen=[c["thresholds"] for c in chosen] if all("thresholds" in c for c in chosen) else None,
        slice_rule_mm2=config.evaluate.slice_rule_mm2,
        leave_out=config.data.leave_out,
        seed=config.seed,
    )
    origin = {key: records[-1][key] for key in ("config_digest", "versions", "devices")}
    results = {"method": name, **origin, **results, "chosen_by_fold": chosen}
    results["left_out_unreadable"] = sorted(set(unreadable) - {row["subject"] for row in rows})
    write_json(place / "results.json", results)


def _counts(row: dict) -> protocol.SubjectCounts:
    arrays = ("truth_px", "predicted_px", "overlap_px")
    return protocol.SubjectCounts(
        **{
            **row,
            **{name: np.array(row[name], np.int64) for name in arrays},
            "pixel_ml": np.array(row["pixel_ml"]),
            "slice_labels": np.array(row["slice_labels"], bool).reshape(-1, 5),
        }
    )


def rebuild(workdir: pathlib.Path) -> None:
    """The `report` command: scores again what a work directory holds, and writes tables, figures and report.

    Raises:
      InputError: the folder holds no run, or no fold of its main method has been tested.
    """
    config = run.load_config(workdir)
    for name in (config.method, *config.compare_with):
        place = method_folder(workdir, config, name)
        if name != config.method and not run.fold_folders(place, "scores.json"):
            say(f"{base.METHODS.get(name, name)}: not tested yet, so not in the report")
            continue
        old = place / "results.json"
        unreadable = read_json(old).get("left_out_unreadable", []) if old.is_file() else []
        write_results(config, name, base.make(name, config), place, unreadable=unreadable)
    publish(workdir)
