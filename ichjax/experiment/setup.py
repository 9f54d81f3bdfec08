"""What the commands share: a configuration's data set, folds and scans, and what goes on record about a run."""

import dataclasses
import importlib.metadata
import pathlib
import platform
import re
from collections.abc import Iterable
from typing import Any

import jax

from ichjax import __version__, hosts
from ichjax import config as configs
from ichjax.config import Config
from ichjax.console import say
from ichjax.data import dataset as datasets
from ichjax.data import label_tables, leaky_split, scan_cache, splits
from ichjax.data.subject import Dataset
from ichjax.errors import InputError
from ichjax.experiment import seen_scans
from ichjax.files import CLAIM, CONFIG_FILE, NOTES_FILE, SPLITS_FILE, read_json, write_json, write_text
from ichjax.models.convolution import convolution_backend
from ichjax.phantom import store

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "nibabel", "pydicom")
NOTES_SHOWN = 6  # on the terminal; all are in notes.txt


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """A configuration with its data.

    Attributes:
      config: as given.
      dataset: subjects and notes.
      folds: all folds; `leaky_split.LeakingSplits` where config.data.splits is 'slice_split'.
      scans: {subject number: scan} of those that could be read.
      problems: {subject number: one sentence} of those that could not.
    """

    config: Config
    dataset: Dataset
    folds: splits.Splits | leaky_split.LeakingSplits
    scans: dict[int, scan_cache.CachedScan]
    problems: dict[int, str]

    def part(self, numbers: tuple[int, ...]) -> list[scan_cache.CachedScan]:
        """The scans of a part of a fold that could be read."""
        return [self.scans[number] for number in numbers if number in self.scans]


def open_dataset(config: Config) -> Dataset:
    """The data set that a configuration names; makes the synthetic one if need be."""
    return datasets.read_dataset(store.dataset_root(config.data.root, **configs.fields_of(config.phantom), say=say))


def open_experiment(config: Config, workdir: pathlib.Path) -> Experiment:
    """Opens the data, makes or reads the folds, and puts both on record in the work directory.

    Nothing is written before the configuration, the data and the folds are known to be usable. The work directory
    belongs to its configuration as soon as a fold in it has begun.

    Raises:
      InputError: the data set, the folds or the configuration are not usable, or the work directory belongs to
        another configuration. A single subject's broken scan does not raise: it is told and left out.
    """
    configs.check(config)
    begun = any(
        path.is_file() and path.name != CLAIM
        for at in ("", "baselines/*/")
        for path in workdir.glob(f"{at}fold_*/**/*")
    )
    if begun:
        _require_same(config, workdir)
    with hosts.first_before_others("data set"):
        dataset = open_dataset(config)
    leaking = config.data.splits == "slice_split"
    folds = None if leaking else _folds(config, dataset, workdir / SPLITS_FILE, begun)
    with hosts.first_before_others("scans"):
        scans, problems = scan_cache.open_scans(dataset.subjects)
    for problem in problems.values():
        say(f"left out: {problem}")
    if not scans:
        raise InputError(f"{dataset.root}: none of its {len(dataset.subjects)} scans can be read")
    workdir.mkdir(parents=True, exist_ok=True)
    if leaking:
        depths = {scan.number: len(scan.mask) for scan in scans}
        folds = leaky_split.leaking_slices(depths, folds=config.data.folds, seed=config.seed)
    notes = gather([*dataset.notes, *(note for scan in scans for note in scan.notes), *folds.notes])
    if hosts.is_first():
        _put_on_record(config, workdir, dataset, folds, notes)
        seen_scans.write(workdir, {scan.hu_digest: scan.number for scan in scans})
    hosts.wait("on record")
    for note in notes[:NOTES_SHOWN]:
        say(f"note: {note}")
    if len(notes) > NOTES_SHOWN:
        say(f"note: {len(notes) - NOTES_SHOWN} more in {workdir / NOTES_FILE}")
    return Experiment(config, dataset, folds, {scan.number: scan for scan in scans}, problems)


def _put_on_record(config, workdir: pathlib.Path, dataset: Dataset, folds, notes: list[str]) -> None:
    """Writes splits.json, config.json and notes.txt."""
    if config.data.splits == "slice_split":
        write_json(workdir / SPLITS_FILE, {"order": "slice_split", "seed": folds.seed, "notes": list(folds.notes)})
    else:
        splits.write(folds, workdir / SPLITS_FILE)
    write_json(workdir / CONFIG_FILE, on_record(config, dataset))
    write_text(workdir / NOTES_FILE, "".join(f"{note}\n" for note in notes))


def gather(notes: Iterable[str]) -> list[str]:
    """Notes that say the same of several subjects or folds as one: 'subjects 50, 53: no mask', each said once."""
    said: dict[tuple[str, str], set[int]] = {}
    for note in notes:
        one = re.fullmatch(r"(subject|fold) (\d+): (.*)", note, re.DOTALL)
        said.setdefault((one[1], one[3]) if one else ("", note), set()).update([int(one[2])] if one else [])
    return [
        f"{kind}{'s' * (len(numbers) > 1)} {label_tables.ranges(numbers)}: {text}" if kind else text
        for (kind, text), numbers in said.items()
    ]


def _folds(config, dataset: Dataset, path: pathlib.Path, begun: bool) -> splits.Splits:
    numbers = [subject.number for subject in dataset.subjects]
    if begun:
        folds = splits.read(path, numbers)
        if len(folds.folds) != config.data.folds:
            raise InputError(
                f"{path}: holds {len(folds.folds)} folds; expected {config.data.folds} (config.data.folds)"
            )
        return folds
    return make_folds(config, dataset)


def make_folds(config: Config, dataset: Dataset) -> splits.Splits:
    """The folds of a configuration's data set; InputError where a fold would have no hemorrhage."""
    numbers = [subject.number for subject in dataset.subjects]
    if config.data.splits == "slice_split":
        raise InputError("config.data.splits is 'slice_split', which only `crossval` demonstrates; expected another")
    if config.data.splits == "stratified":
        return splits.stratified_splits(dataset.subjects, folds=config.data.folds, seed=config.seed)
    folds = splits.paper_splits(numbers, folds=config.data.folds)
    splits.require_hemorrhage(folds, dataset.subjects)
    return folds


def on_record(config: Config, dataset: Dataset) -> dict:
    """config.json: the configuration, and the data set's folder made absolute, so that `report` finds the scans."""
    fields = configs.to_dict(config)
    fields["data"]["root"] = str(dataset.root.resolve())
    fields["data"]["synthetic"] = store.is_synthetic(dataset.root)
    return fields


def _require_same(config: Config, workdir: pathlib.Path) -> None:
    """Raises InputError where the work directory has another configuration than this one. The data set's folder may
    differ from run to run, as may the single fold that `train` trains."""
    there, here = (configs.without_location(configs.to_dict(c)) for c in (load_config(workdir), config))
    differing = configs.differing_fields(there, here)
    if differing:
        raise InputError(
            f"{workdir}: holds a run of another configuration, which differs in {'; '.join(differing[:6])}; "
            f"expected the same one, or another --workdir"
        )


def load_config(workdir: pathlib.Path) -> Config:
    """The configuration that a work directory has on record.

    Raises:
      InputError: there is none, or it has fields that this version does not know.
    """
    path = workdir / CONFIG_FILE
    if not workdir.is_dir():
        raise InputError(f"{workdir}: no such folder; expected the work directory of `train` or `crossval`")
    if not path.is_file():
        raise InputError(f"{workdir}: has no config.json; expected the work directory of `train` or `crossval`")
    fields = read_json(path)
    config: Any = configs.default()
    try:
        fields["data"].pop("synthetic", None)
        config.update(_with_tuples(fields))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        said = str(error.args[0] if error.args else error).split(". ")[0]
        raise InputError(f"{path}: does not fit this version of ichjax ({said})") from error
    return config


def _with_tuples(value):
    """JSON's lists as the tuples that configurations hold."""
    if isinstance(value, dict):
        return {name: _with_tuples(field) for name, field in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def provenance(config: Config) -> dict:
    """What goes on record with every result: digest of the configuration, versions, devices and how they convolve."""
    versions = {"ichjax": __version__, "python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
    how = ", convolutions in C++" if convolution_backend() == "C++" else ""
    kinds = [f"{device.platform}: {device.device_kind}{how}" for device in jax.devices()]
    return {"config_digest": configs.digest(config), "versions": versions, "devices": kinds}


def fold_folders(place: pathlib.Path, holding: str) -> list[pathlib.Path]:
    """The folders fold_K of a method that hold a file of that name, by K."""
    found = [path.parent for path in place.glob(f"fold_*/{holding}") if path.parent.name[5:].isdecimal()]
    return sorted(found, key=fold_number)


def fold_number(folder: pathlib.Path) -> int:
    """K of fold_K."""
    return int(folder.name.removeprefix("fold_"))
