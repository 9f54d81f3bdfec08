"""One function per command: takes the parsed arguments and the configuration, and returns the exit status."""

import argparse
import pathlib

from ichjax import config_check
from ichjax.config import Config
from ichjax.errors import InputError
from ichjax.files import check_new


def crossval(arguments: argparse.Namespace, config: Config) -> int:
    """Trains and tests all folds; 2 if a subject was skipped."""
    from ichjax import hosts
    from ichjax.experiment import crossval, seeds

    hosts.start(arguments.coordinator, arguments.processes, arguments.process)
    run = seeds.crossval_seeds if config.seeds else crossval.crossval
    return 2 if run(config, arguments.workdir) else 0


def train(arguments: argparse.Namespace, config: Config) -> int:
    """Trains one fold; 2 if a subject was skipped."""
    from ichjax import hosts
    from ichjax.experiment import crossval

    if config.seeds:
        raise InputError(f"config.seeds is {config.seeds}; expected () with `train`, whose seed is config.train.seed")
    hosts.start(arguments.coordinator, arguments.processes, arguments.process)
    return 2 if crossval.train_one(config, arguments.workdir) else 0


def pretrain(arguments: argparse.Namespace, config: Config) -> int:
    """Trains the encoder of a U-Net on slice labels."""
    from ichjax.experiment.pretraining import pretrain

    pretrain(config, arguments.workdir)
    return 0


def predict(arguments: argparse.Namespace, config: None) -> int:
    """Segments scans; 2 if one could not be read."""
    from ichjax.inference.output import OutputOptions
    from ichjax.inference.predict import predict_scans

    problems = predict_scans(
        arguments.workdir,
        arguments.input,
        arguments.output,
        fold=arguments.fold,
        series=arguments.series,
        options=OutputOptions(
            probability=arguments.probability,
            dicom_seg=arguments.dicom_seg,
            overwrite=arguments.overwrite,
            subtypes=arguments.subtypes,
            with_paths=arguments.with_paths,
        ),
        **arguments.fields,
    )
    return 2 if problems else 0


def convert(arguments: argparse.Namespace, config: None) -> int:
    """Converts DICOM series to NIfTI; 2 if one could not be read."""
    from ichjax.inference.convert import convert

    options = {"series": arguments.series, "overwrite": arguments.overwrite, "with_paths": arguments.with_paths}
    return 2 if convert(arguments.input, arguments.output, **options) else 0


def export(arguments: argparse.Namespace, config: None) -> int:
    """Exports a run as one file that needs only JAX, or makes such a file again."""
    from ichjax.inference.export import again, export

    if arguments.again:
        kept = ("output", "side", "pixel_mm", "platforms")
        if given := [f"--{name}" for name in kept if getattr(arguments, name) is not None]:
            raise InputError(f"{', '.join(given)} cannot be given with --again, which re-creates the program as it was")
        again(arguments.again, onnx=arguments.onnx)
        return 0
    if not arguments.output:
        raise InputError("export has no --output; expected --output=DIR, the folder for the program")
    pixel_mm = arguments.pixel_mm and (arguments.pixel_mm, arguments.pixel_mm)
    options = {"pixel_mm": pixel_mm, **({"side": arguments.side} if arguments.side is not None else {})}
    if arguments.platforms is not None:
        options["platforms"] = arguments.platforms.split(",")
    export(arguments.workdir, arguments.output, onnx=arguments.onnx, **options)
    return 0


def report(arguments: argparse.Namespace, config: None) -> int:
    """Rewrites tables, figures and report of a work directory."""
    from ichjax.experiment.rebuild import rebuild
    from ichjax.metrics.prevalence import parse_prevalence

    rebuild(arguments.workdir, prevalence=parse_prevalence(arguments.prevalence))
    return 0


def evaluate(arguments: argparse.Namespace, config: Config) -> int:
    """Scores a folder of masks, or predictions of CQ500; 2 if one is missing, surplus or cannot be scored."""
    from ichjax.data.dataset import layout_without_masks
    from ichjax.experiment import score_folder
    from ichjax.inference import score_reads
    from ichjax.metrics.prevalence import parse_prevalence

    config_check.check(config)
    prevalence, root = parse_prevalence(arguments.prevalence), pathlib.Path(config.data.root)
    if config.data.root and layout_without_masks(root) == "cq500":
        if arguments.subtypes:
            raise InputError(f"--subtypes: {root} has no masks, and sub-types are scored without the option")
        problems = score_reads.evaluate(
            arguments.predictions,
            root,
            arguments.workdir,
            name=arguments.name or "predictions",
            prevalence=prevalence,
            seed=config.seed,
        )
    else:
        options = {"name": arguments.name or "masks", "subtypes": arguments.subtypes, "prevalence": prevalence}
        problems = score_folder.evaluate(arguments.predictions, config, arguments.workdir, **options)
    return 2 if problems else 0


def compare(arguments: argparse.Namespace, config: None) -> int:
    """Compares two runs, subject by subject."""
    from ichjax.report.compare import compare

    print(compare.compare(arguments.run_a, arguments.run_b, arguments.output))
    return 0


def suggest(arguments: argparse.Namespace, config: None) -> int:
    """Says which scans to annotate next; 2 if one could not be read."""
    from ichjax.inference.suggest import suggest

    options = {"hours": arguments.hours, "times": arguments.times}
    return 2 if suggest(arguments.workdir, arguments.input, arguments.output, **options) else 0


def info(arguments: argparse.Namespace, config: None) -> int:
    """Describes a run, or an output folder of `predict`."""
    from ichjax.inference.run_info import format_info

    print(format_info(arguments.run))
    return 0


def prepare(arguments: argparse.Namespace, config: Config) -> int:
    """Writes a data set in nnU-Net's layout; 2 if a scan could not be read."""
    from ichjax.data import nnunet
    from ichjax.experiment import setup

    config_check.check(config)
    dataset = setup.open_dataset(config)
    return 2 if nnunet.write_nnunet(dataset, setup.make_folds(config, dataset), arguments.output) else 0


def stats(arguments: argparse.Namespace, config: Config) -> int:
    """Prints Tables 4 and 5 of a data set; 2 if a scan could not be read."""
    from ichjax.experiment import data_stats

    return 2 if data_stats.print_stats(config) else 0


def phantom(arguments: argparse.Namespace, config: None) -> int:
    """Writes a synthetic data set."""
    from ichjax.phantom import dataset as phantoms

    check_new(arguments.output, "the synthetic data set")
    recipe = {"subjects": arguments.subjects, "seed": arguments.seed, "preset": arguments.preset}
    phantoms.write_dataset(arguments.output, layout=arguments.layout, **recipe)
    print(f"{arguments.subjects} synthetic head CTs: {arguments.output}")
    return 0
