"""What each command of launch.py does: the arguments as parsed, and the configuration where it takes one."""

import argparse

import ml_collections
from absl import flags
from ml_collections import config_flags

from ichjax.errors import InputError


def read_config(words: list[str]) -> ml_collections.ConfigDict:
    """Reads --config=FILE and the --config.FIELD=VALUE that override it.

    Raises:
      InputError: no file is named, it is not there or not a configuration, a field is unknown or of another type.
    """
    if not any(word.startswith("--config=") for word in words):
        raise InputError("no configuration named; expected --config=configs/NAME.py (with the equals sign)")
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    try:
        values(["launch.py", *words])
        return values.config
    except InputError:
        raise
    except OSError as error:
        name = next(word for word in words if word.startswith("--config=")).removeprefix("--config=")
        raise InputError(f"{name}: no such configuration; expected a file such as configs/demo.py") from error
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, SyntaxError, ImportError) as error:
        said = str(error.args[0] if error.args else error).split()
        raise InputError(f"the configuration cannot be used: {' '.join(said)[:300]}") from error


def crossval(arguments: argparse.Namespace, config: ml_collections.ConfigDict) -> int:
    """All folds; 2 where a subject had to be left out."""
    from ichjax import crossval

    return 2 if crossval.crossval(config, arguments.workdir).problems else 0


def train(arguments: argparse.Namespace, config: ml_collections.ConfigDict) -> int:
    """One fold; 2 where a subject had to be left out."""
    from ichjax import crossval

    return 2 if crossval.train_one(config, arguments.workdir).problems else 0


def predict(arguments: argparse.Namespace, config: None) -> int:
    """Masks of scans; 2 where one could not be read."""
    from ichjax import predict

    return 2 if predict.predict(arguments.workdir, arguments.input, arguments.output) else 0


def report(arguments: argparse.Namespace, config: None) -> int:
    """Tables, figures and report of a work directory."""
    from ichjax import crossval

    crossval.rebuild(arguments.workdir)
    return 0


def stats(arguments: argparse.Namespace, config: ml_collections.ConfigDict) -> int:
    """Tables 4 and 5 of a data set; 2 where a scan could not be read."""
    from ichjax import run
    from ichjax.data import ct_ich
    from ichjax.evaluate import cohort

    dataset = run.open_dataset(config)
    records, problems = [], []
    for subject in dataset.subjects:
        try:
            records.append(cohort.record(ct_ich.load_scan(subject)))
        except InputError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"left out: {problem}")
    if records:
        print(cohort.stats_text(records, dataset.notes))
    return 2 if problems else 0


def phantom(arguments: argparse.Namespace, config: None) -> int:
    """A synthetic data set."""
    from ichjax.data import phantom

    if arguments.output.exists() and any(arguments.output.iterdir()):
        raise InputError(f"{arguments.output}: is not empty; expected a new folder for the synthetic data set")
    phantom.write_dataset(
        arguments.output, subjects=arguments.subjects, seed=arguments.seed, preset=arguments.preset
    )
    print(f"{arguments.subjects} synthetic head CTs: {arguments.output}")
    return 0
