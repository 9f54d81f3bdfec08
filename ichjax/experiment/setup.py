"""Sets up a run: opens its data set, folds and scans, and records them in the work directory."""

import dataclasses
import functools
import importlib.metadata
import pathlib
import platform
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from ichjax import __version__, config_check, hosts
from ichjax import config as configs
from ichjax.config import Config
from ichjax.console import say
from ichjax.data import dataset as datasets
from ichjax.data import label_tables, leak_guard, scan_cache, splits
from ichjax.data.fold_scans import FoldScans
from ichjax.data.subject import Dataset
from ichjax.errors import InputError
from ichjax.experiment import leaks, seen_scans
from ichjax.files import CLAIM, CONFIG_FILE, NOTES_FILE, SPLITS_FILE, read_json, write_json, write_text
from ichjax.metrics.records import Provenance
from ichjax.models.convolution import convolution_backend
from ichjax.phantom import store

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "nibabel", "pydicom")
MAX_NOTES = 6  # on the terminal; all are in notes.txt


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """A configuration with its data.

    Attributes:
      config: as given.
      dataset: subjects and notes.
      folds: all folds.
      scans: {subject number: scan} of the readable scans.
      problems: {subject number: one sentence} of the others.
    """

    config: Config
    dataset: Dataset
    folds: splits.Splits
    scans: dict[int, scan_cache.CachedScan]
    problems: dict[int, str]

    def part(self, numbers: tuple[int, ...]) -> list[scan_cache.CachedScan]:
        """The readable scans of a part of a fold."""
        return [self.scans[number] for number in numbers if number in self.scans]

    def fold_groups(self) -> list[list[splits.Fold]]:
        """The folds of `config.folds`, in groups that are trained together (`config.parallel_folds`)."""
        folds = [fold for fold in self.folds.folds if not self.config.folds or fold.index in self.config.folds]
        together = max(1, self.config.parallel_folds)
        return [folds[start : start + together] for start in range(0, len(folds), together)]

    def fold_scans(self, fold: splits.Fold, method_dir: pathlib.Path, others: leak_guard.SeenScans | None) -> FoldScans:
        """What a method that has its folds in `method_dir` is trained on in a fold, besides `others`.

        Raises:
          InputError: a test scan was seen in training before, or is among `others` (`leaks.refuse_seen`).
        """
        folder, init_from = method_dir / f"fold_{fold.index}", self.config.init_from
        leaks.refuse_seen(init_from, self.part(fold.test), others, fold=fold.index, method_dir=method_dir)
        return FoldScans(fold.index, folder, self.part(fold.train), self.part(fold.validation), self.config.train.seed)


def dataset_root(config: Config) -> pathlib.Path:
    """The folder of a configuration's data set; makes the synthetic one if need be."""
    return store.dataset_root(config.data.root, **configs.fields_of(config.phantom), say=say)


def open_dataset(config: Config) -> Dataset:
    """The data set of a configuration; makes the synthetic one if need be."""
    return datasets.read_dataset(dataset_root(config))


def open_experiment(config: Config, workdir: pathlib.Path) -> Experiment:
    """Opens the data, makes or reads the folds, and records both in the work directory.

    Nothing is written before the configuration, the data and the folds have been checked. A work directory belongs to
    its configuration as soon as one of its folds has begun.

    Raises:
      InputError: the data set, the folds or the configuration are not usable, or the work directory belongs to
        another configuration. A single unreadable scan does not raise: it is reported and skipped.
    """
    begun = check_workdir(config, workdir)
    with hosts.first_before_others("data set"):
        dataset = open_dataset(config)
    folds = _read_folds(config, dataset, workdir / SPLITS_FILE) if begun else make_folds(config, dataset)
    scans, problems = open_scans(dataset)
    record_run(config, workdir, dataset, scans, functools.partial(splits.write, folds), folds.notes)
    return Experiment(config, dataset, folds, {scan.number: scan for scan in scans}, problems)


def check_workdir(config: Config, workdir: pathlib.Path) -> bool:
    """Whether a fold in the work directory has begun; InputError for a configuration that is not usable there."""
    config_check.check(config)
    begun = _has_begun(workdir)
    if begun:
        _require_same(config, workdir)
    return begun


def _has_begun(workdir: pathlib.Path) -> bool:
    return any(
        path.is_file() and path.name != CLAIM
        for method in ("", "baselines/*/")
        for path in workdir.glob(f"{method}fold_*/**/*")
    )


def open_scans(dataset: Dataset) -> tuple[list[scan_cache.CachedScan], dict[int, str]]:
    """(the readable scans, {subject number: one sentence} of the others, which are reported).

    Raises:
      InputError: no scan can be read.
    """
    with hosts.first_before_others("scans"):
        scans, problems = scan_cache.open_scans(dataset.subjects)
    for problem in problems.values():
        say(f"skipped: {problem}")
    if not scans:
        raise InputError(f"{dataset.root}: none of its {len(dataset.subjects)} scans can be read")
    return scans, problems


def record_run(
    config: Config,
    workdir: pathlib.Path,
    dataset: Dataset,
    scans: Sequence[scan_cache.CachedScan],
    write_folds: Callable[[pathlib.Path], None],
    fold_notes: Sequence[str],
) -> None:
    """Writes splits.json, config.json, notes.txt and the digests of the scans, and prints the first notes."""
    workdir.mkdir(parents=True, exist_ok=True)
    notes = gather([*dataset.notes, *(note for scan in scans for note in scan.notes), *fold_notes])
    if hosts.is_first():
        write_folds(workdir / SPLITS_FILE)
        write_json(workdir / CONFIG_FILE, config_record(config, dataset))
        write_text(workdir / NOTES_FILE, "".join(f"{note}\n" for note in notes))
        seen_scans.write(workdir, {scan.hu_digest: scan.number for scan in scans}, begun=_has_begun(workdir))
    hosts.wait("recorded")
    for note in notes[:MAX_NOTES]:
        say(f"note: {note}")
    if len(notes) > MAX_NOTES:
        say(f"note: {len(notes) - MAX_NOTES} more in {workdir / NOTES_FILE}")


def gather(notes: Iterable[str]) -> list[str]:
    """Merges equal notes about several subjects or folds into one: 'subjects 50, 53: no mask'."""
    merged: dict[tuple[str, str], set[int]] = {}
    for note in notes:
        parts = re.fullmatch(r"(subject|fold) (\d+): (.*)", note, re.DOTALL)
        numbers = merged.setdefault((parts[1], parts[3]) if parts else ("", note), set())
        if parts:
            numbers.add(int(parts[2]))
    return [
        f"{kind}{'s' * (len(numbers) > 1)} {label_tables.format_ranges(numbers)}: {text}" if kind else text
        for (kind, text), numbers in merged.items()
    ]


def _read_folds(config: Config, dataset: Dataset, path: pathlib.Path) -> splits.Splits:
    folds = splits.read(path, [subject.number for subject in dataset.subjects])
    if len(folds.folds) != config.data.folds:
        raise InputError(f"{path}: holds {len(folds.folds)} folds; expected {config.data.folds} (config.data.folds)")
    return folds


def make_folds(config: Config, dataset: Dataset) -> splits.Splits:
    """The folds of a configuration's data set, by subject; InputError if a fold would have no hemorrhage."""
    if config.data.splits == "stratified":
        return splits.stratified_splits(dataset.subjects, folds=config.data.folds, seed=config.seed)
    if config.data.splits != "paper":
        raise InputError(
            f"config.data.splits is {config.data.splits!r}, which only `crossval` demonstrates; expected another"
        )
    folds = splits.paper_splits([subject.number for subject in dataset.subjects], folds=config.data.folds)
    splits.require_hemorrhage(folds, dataset.subjects)
    return folds


def config_record(config: Config, dataset: Dataset) -> dict[str, Any]:
    """config.json: the configuration, with the data set's absolute folder, so that `report` finds the scans."""
    fields = configs.to_dict(config)
    fields["data"]["root"] = str(dataset.root.resolve())
    fields["data"]["synthetic"] = store.is_synthetic(dataset.root)
    return fields


def _require_same(config: Config, workdir: pathlib.Path) -> None:
    """Raises InputError if the work directory has another configuration.

    The data set's folder may differ, as may the fold that `train` trains.
    """
    there, here = (configs.without_location(configs.to_dict(c)) for c in (load_config(workdir), config))
    if differing := configs.differing_fields(there, here):
        raise InputError(
            f"{workdir}: holds a run of another configuration, which differs in {'; '.join(differing[:6])}; "
            "expected the same one, or another --workdir"
        )


def load_config(workdir: pathlib.Path) -> Config:
    """Reads the configuration of a work directory.

    Raises:
      InputError: there is none, or it has fields that this version does not know.
    """
    path = workdir / CONFIG_FILE
    if not workdir.is_dir():
        found = "is a file" if workdir.exists() else "no such folder"
        raise InputError(f"{workdir}: {found}; expected the work directory of `train` or `crossval`")
    if not path.is_file():
        if seeds := sorted(one.parent.name for one in workdir.glob(f"seed_*/{CONFIG_FILE}")):
            raise InputError(f"{workdir}: holds runs of several seeds; expected one of them, such as {seeds[0]}")
        raise InputError(f"{workdir}: has no config.json; expected the work directory of `train` or `crossval`")
    fields = read_json(path)
    config: Any = configs.default()
    try:
        fields["data"].pop("synthetic", None)
        config.update(_with_tuples(fields))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        reason = str(error.args[0] if error.args else error).split(". ")[0]
        raise InputError(f"{path}: does not fit this version of ichjax ({reason})") from error
    return config


def _with_tuples(value: Any) -> Any:
    """JSON's lists as tuples, as configurations hold them."""
    if isinstance(value, dict):
        return {name: _with_tuples(field) for name, field in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def provenance(config: Config) -> Provenance:
    """What goes on record with every result: digest of the configuration, versions, devices and how they convolve."""
    native = ", convolutions in C++" if convolution_backend() == "C++" else ""
    devices = [f"{device.platform}: {device.device_kind}{native}" for device in jax.devices()]
    return {"config_digest": configs.digest(config), "versions": versions(), "devices": devices}


def versions() -> dict[str, str]:
    """Versions of ichjax, Python and the packages that a result depends on."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"ichjax": __version__, "python": platform.python_version(), **packages}


def fold_folders(folder: pathlib.Path, file: str) -> list[pathlib.Path]:
    """A method's folders fold_K that hold a file of that name, by K."""
    folders = [path.parent for path in folder.glob(f"fold_*/{file}") if path.parent.name[5:].isdecimal()]
    return sorted(folders, key=fold_number)


def fold_number(folder: pathlib.Path) -> int:
    """K of fold_K."""
    return int(folder.name.removeprefix("fold_"))
