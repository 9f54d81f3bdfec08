"""What the commands share: a configuration's data set, folds and scans, and what goes on record about a run."""

import dataclasses
import importlib.metadata
import json
import pathlib
import platform

import jax
import ml_collections

from ichjax import __version__
from ichjax import config as configs
from ichjax.data import cache, ct_ich, source, splits
from ichjax.errors import InputError
from ichjax.files import write_json
from ichjax.train.log import say

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "nibabel", "pydicom")


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """A configuration with its data.

    Attributes:
      config: as given.
      dataset: subjects and notes.
      folds: all folds.
      scans: {subject number: scan} of those that could be read.
      problems: {subject number: one sentence} of those that could not.
    """

    config: ml_collections.ConfigDict
    dataset: ct_ich.Dataset
    folds: splits.Splits
    scans: dict[int, cache.CachedScan]
    problems: dict[int, str]

    def part(self, numbers: tuple[int, ...]) -> list[cache.CachedScan]:
        """The scans of a part of a fold that could be read."""
        return [self.scans[number] for number in numbers if number in self.scans]


def open_dataset(config: ml_collections.ConfigDict) -> ct_ich.Dataset:
    """The data set that a configuration names; makes the synthetic one if need be."""
    return ct_ich.read_dataset(source.dataset_root(config.data.root, **config.phantom, say=say))


def open_experiment(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> Experiment:
    """Opens the data, makes or reads the folds, and puts both on record in the work directory.

    Raises:
      InputError: the data set, the folds or the configuration are not usable, or the work directory belongs to
        another configuration. A single subject's broken scan does not raise: it is told and left out.
    """
    configs.check(config)
    dataset = open_dataset(config)
    workdir.mkdir(parents=True, exist_ok=True)
    _record_config(config, dataset, workdir)
    folds = _folds(config, dataset, workdir / "splits.json")
    scans, problems = cache.open_scans(dataset.subjects)
    notes = [*dataset.notes, *folds.notes, *(note for scan in scans for note in scan.notes)]
    for note in notes[:12]:
        say(f"note: {note}")
    if len(notes) > 12:
        say(f"note: and {len(notes) - 12} more; all are in {workdir / 'notes.txt'}")
    (workdir / "notes.txt").write_text("".join(f"{note}\n" for note in notes))
    for problem in problems.values():
        say(f"left out: {problem}")
    if not scans:
        raise InputError(f"{dataset.root}: none of its {len(dataset.subjects)} scans can be read")
    return Experiment(config, dataset, folds, {scan.number: scan for scan in scans}, problems)


def _folds(config, dataset: ct_ich.Dataset, path: pathlib.Path) -> splits.Splits:
    numbers = [subject.number for subject in dataset.subjects]
    if path.is_file():
        return splits.read(path, numbers)
    if config.data.splits == "paper":
        folds = splits.paper_splits(numbers, folds=config.data.folds)
        splits.require_hemorrhage(folds, dataset.subjects)
    else:
        folds = splits.stratified_splits(dataset.subjects, folds=config.data.folds, seed=config.seed)
    splits.write(folds, path)
    return folds


def _record_config(config: ml_collections.ConfigDict, dataset: ct_ich.Dataset, workdir: pathlib.Path) -> None:
    """Writes config.json, or holds it against the one that is there: a work directory has one experiment.

    The data set's folder is on record too, made absolute, so that `report` finds the scans again; it may differ
    from run to run, as does the single fold that `train` trains.
    """
    path = workdir / "config.json"
    fields = configs.to_dict(config)
    fields["data"]["root"] = str(dataset.root.resolve())
    fields["data"]["synthetic"] = source.is_synthetic(dataset.root)
    if path.is_file():
        there = json.loads(path.read_text())
        free = {"data": {"root": there["data"]["root"]}, "fold": there["fold"]}
        same = {**fields, "fold": free["fold"], "data": {**fields["data"], **free["data"]}}
        differing = configs.differing_fields(there, same)
        if differing:
            raise InputError(
                f"{workdir}: holds a run of another configuration, which differs in {'; '.join(differing[:6])}; "
                f"expected the same one, or another --workdir"
            )
    write_json(path, fields)


def load_config(workdir: pathlib.Path) -> ml_collections.ConfigDict:
    """The configuration that a work directory has on record.

    Raises:
      InputError: there is none, or it has fields that this version does not know.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise InputError(f"{workdir}: has no config.json; expected the work directory of `train` or `crossval`")
    fields = json.loads(path.read_text())
    fields["data"].pop("synthetic", None)
    config = configs.default()
    try:
        config.update(_with_tuples(fields))
    except (KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: does not fit this version of ichjax ({str(error).splitlines()[0]})") from error
    return config


def _with_tuples(value):
    """JSON's lists as the tuples that configurations hold."""
    if isinstance(value, dict):
        return {name: _with_tuples(field) for name, field in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def provenance(config: ml_collections.ConfigDict) -> dict:
    """What goes on record with every result: digest of the configuration, versions, devices."""
    versions = {"ichjax": __version__, "python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
    kinds = [f"{device.platform}: {device.device_kind}" for device in jax.devices()]
    return {"config_digest": configs.digest(config), "versions": versions, "devices": kinds}
