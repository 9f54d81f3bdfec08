"""What each command of launch.py does: the arguments as parsed, and the configuration where it takes one."""

import argparse
import difflib
import importlib.util
import pathlib
import re
from collections.abc import Iterable

import ml_collections
from absl import flags
from ml_collections import config_flags

from ichjax import config as configs
from ichjax.cli.config_files import find_config
from ichjax.errors import InputError


def read_config(words: list[str], *, need_file: bool = True) -> ml_collections.ConfigDict:
    """Reads --config=FILE (or NAME, of configs/) and the --config.FIELD=VALUE that override it.

    Args:
      words: the flags.
      need_file: whether a file must be named; else the defaults stand in for it.

    Raises:
      InputError: no file is named, it is not there or not a configuration, a field is unknown or of another type.
    """
    named = [word for word in words if word.startswith("--config=")]
    if not named and need_file:
        raise InputError("no configuration named; expected --config=configs/NAME.py")
    config = _load(find_config(named[-1].removeprefix("--config="))) if named else configs.default()
    known = configs.flatten(config)
    overrides = [word for word in words if word not in named]
    for word in overrides:
        field = word.removeprefix("--config.").split("=", 1)[0]
        inside = [name for name in known if name.startswith(f"{field}.")]
        if inside:
            raise InputError(f"config.{field} is a group of fields; expected one of them, such as config.{inside[0]}")
        if field not in known:
            raise InputError(f"config.{field} is no field; did you mean config.{_nearest(field, known)}?")
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=["launch.py", *overrides])
        values(["launch.py", *overrides])
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(f"the command line cannot be used: {_said(error)[:400]}") from error
    return values.config


def read_predict_fields(words: list[str]) -> dict:
    """{field of config.predict: value} of the --config.predict.FIELD=VALUE that `predict` takes.

    Raises:
      InputError: another field is named, or `read_config` refuses one.
    """
    prefix = "--config.predict."
    if other := [word for word in words if not word.startswith(prefix)]:
        raise InputError(f"{other[0].split('=')[0]}: predict takes the run's own; expected {prefix}FIELD=VALUE")
    config = read_config(words, need_file=False)
    return {name: config.predict[name] for name in (word.removeprefix(prefix).split("=")[0] for word in words)}


def _load(path: pathlib.Path) -> ml_collections.ConfigDict:
    """What get_config() of a file returns; the file is a user's code, so anything can go wrong in it."""
    try:
        spec = importlib.util.spec_from_file_location("configuration", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config()
    except Exception as error:
        said = _said(error)
        unknown = re.search(r"Did you mean \W*(\w+)\W* instead of \W*(\w+)", said)
        if unknown:
            said = f"{unknown[2]!r} is no field; did you mean {unknown[1]!r}?"
        raise InputError(f"{path}: is not a usable configuration ({type(error).__name__}: {said[:400]})") from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise InputError(f"{path}: get_config() returns a {type(config).__name__}; expected a ConfigDict")
    return config


def _said(error: Exception) -> str:
    """An exception's words on one line."""
    return " ".join(str(error.args[0] if error.args else error).replace("\\n", " ").split())


def _nearest(field: str, known: Iterable[str]) -> str:
    """The known field whose name, in full or its last part, is most like the one given."""

    def likeness(other: str) -> float:
        pairs = ((field, other), (field.split(".")[-1], other.split(".")[-1]))
        return sum(difflib.SequenceMatcher(None, a, b).ratio() for a, b in pairs)

    return max(sorted(known), key=likeness)


def crossval(arguments: argparse.Namespace, config: ml_collections.ConfigDict) -> int:
    """All folds; 2 where a subject had to be left out."""
    from ichjax import hosts
    from ichjax.experiment import crossval

    hosts.start(arguments.coordinator, arguments.processes, arguments.process)
    return 2 if crossval.crossval(config, arguments.workdir).problems else 0


def train(arguments: argparse.Namespace, config: ml_collections.ConfigDict) -> int:
    """One fold; 2 where a subject had to be left out."""
    from ichjax import hosts
    from ichjax.experiment import crossval

    hosts.start(arguments.coordinator, arguments.processes, arguments.process)
    return 2 if crossval.train_one(config, arguments.workdir).problems else 0


def predict(arguments: argparse.Namespace, config: None) -> int:
    """Masks of scans; 2 where one could not be read."""
    from ichjax.inference.output import OutputOptions
    from ichjax.inference.predict import predict_scans

    options = OutputOptions(arguments.probability, arguments.dicom_seg, arguments.overwrite)
    options = {"fold": arguments.fold, "series": arguments.series, "options": options, **arguments.fields}
    return 2 if predict_scans(arguments.workdir, arguments.input, arguments.output, **options) else 0


def convert(arguments: argparse.Namespace, config: None) -> int:
    """DICOM series as NIfTI; 2 where one could not be read."""
    from ichjax.inference.convert import convert

    options = {"series": arguments.series, "overwrite": arguments.overwrite}
    return 2 if convert(arguments.input, arguments.output, **options) else 0


def export(arguments: argparse.Namespace, config: None) -> int:
    """A run as one file that JAX alone can run."""
    from ichjax.inference.export import export

    platforms = arguments.platforms.split(",")
    options = {"side": arguments.side, "pixel_mm": arguments.pixel_mm, "platforms": platforms}
    export(arguments.workdir, arguments.output, **options)
    return 0


def report(arguments: argparse.Namespace, config: None) -> int:
    """Tables, figures and report of a work directory."""
    from ichjax.experiment import crossval

    crossval.rebuild(arguments.workdir)
    return 0


def evaluate(arguments: argparse.Namespace, config: ml_collections.ConfigDict) -> int:
    """Scores of a folder of masks; 2 where a file is missing, surplus or cannot be scored."""
    from ichjax.experiment import score_folder

    configs.check(config)
    problems = score_folder.evaluate(arguments.predictions, config, arguments.workdir, name=arguments.name)
    return 2 if problems else 0


def compare(arguments: argparse.Namespace, config: None) -> int:
    """Two runs, subject by subject."""
    from ichjax.report.compare import compare

    print(compare.compare(arguments.run_a, arguments.run_b, arguments.output))
    return 0


def prepare(arguments: argparse.Namespace, config: ml_collections.ConfigDict) -> int:
    """A data set in nnU-Net's layout; 2 where a scan could not be read."""
    from ichjax.data import nnunet
    from ichjax.experiment import setup

    configs.check(config)
    dataset = setup.open_dataset(config)
    return 2 if nnunet.write_nnunet(dataset, setup.make_folds(config, dataset), arguments.output) else 0


def stats(arguments: argparse.Namespace, config: ml_collections.ConfigDict) -> int:
    """Tables 4 and 5 of a data set; 2 where a scan could not be read."""
    from ichjax.data import dataset as datasets
    from ichjax.experiment import setup
    from ichjax.report.tables import cohort

    dataset = setup.open_dataset(config)
    records, problems, notes = [], [], list(dataset.notes)
    for subject in dataset.subjects:
        try:
            scan = datasets.load_scan(subject)
            records.append(cohort.record(scan))
            notes += scan.notes
        except InputError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"left out: {problem}")
    if records:
        print(cohort.stats_text(records, setup.gather(notes)))
    return 2 if problems else 0


def phantom(arguments: argparse.Namespace, config: None) -> int:
    """A synthetic data set."""
    from ichjax.phantom import dataset as phantoms

    if arguments.output.is_dir() and any(arguments.output.iterdir()):
        raise InputError(f"{arguments.output}: is not empty; expected a new folder for the synthetic data set")
    recipe = {"subjects": arguments.subjects, "seed": arguments.seed, "preset": arguments.preset}
    phantoms.write_dataset(arguments.output, layout=arguments.layout, **recipe)
    print(f"{arguments.subjects} synthetic head CTs: {arguments.output}")
    return 0
