"""The command line parser: commands, options, help texts, and suggestions for misspelled words."""

import argparse
import difflib
import pathlib
import sys
from typing import Any

COMMANDS = {
    "crossval": "train and test every fold, then write the report",
    "train": "train one fold (--config.fold=0)",
    "pretrain": "train a U-Net's encoder on slice labels (RSNA 2019), to start from",
    "predict": "segment head CTs with a trained run",
    "convert": "convert DICOM series to NIfTI, without names, dates and UIDs",
    "export": "export a trained run as one file that needs only JAX",
    "report": "score a run again and rewrite its report; nothing is predicted",
    "evaluate": "score a folder of masks or probabilities from any source",
    "compare": "compare two runs, subject by subject",
    "suggest": "say which scans to annotate next within a time",
    "info": "print what a trained run is, its scores, and which scans it takes",
    "stats": "print the paper's Tables 4 and 5 for a data set, or its labels if it has no masks",
    "phantom": "write a synthetic data set",
    "prepare": "write a data set in nnU-Net's layout, with the same folds",
}
WITH_CONFIG = ("crossval", "train", "pretrain", "evaluate", "stats", "prepare")
WITHOUT_FILE = ("evaluate", "stats")  # the defaults are used if no configuration is named
USAGE = {
    "predict": "--workdir=RUN --input PATH [PATH ...] --output=DIR [options]",
    "convert": "--input PATH [PATH ...] --output=DIR",
    "export": "--workdir=RUN --output=DIR [options] | --again=DIR [--onnx]",
    "report": "--workdir=RUN [--prevalence=0.06]",
    "evaluate": "--predictions=DIR --config.data.root=DIR [--workdir=NEW] [options]",
    "compare": "RUN_A RUN_B [--output=DIR]",
    "info": "RUN",
    "suggest": "--workdir=RUN --input PATH [...] --output=DIR --hours=H [options]",
    "stats": "--config.data.root=DIR",
    "phantom": "--output=DIR [--layout=nifti] [--preset=demo] [--subjects=15]",
    "prepare": "--to=nnunet --config=configs/NAME.py --output=DIR",
}
EXIT = """\
Exit status: 0 done; 1 an internal error; 2 wrong input or command (everything
else is done); 130 interrupted. Research use only: not for diagnosis."""
CONFIG_HELP = """\
A configuration of configs/ can be given by its name: --config=demo.
To set one field: --config.train.batch_size=64; ichjax/config.py lists all fields.
The data set: --config.data.root=DIR; without it, a synthetic one is made once.
DIR is the ct-ich data set, a folder of scans and one of masks (images/ and masks/,
data/ and label/, nnU-Net's imagesTr/ and labelsTr/), or BIDS; see docs/data.md.

"""
PREDICT_HELP = """\
Folders are searched at any depth; of a data set (docs/data.md), only its scans are
read, not its masks. Of each DICOM study, one series is segmented:
the one best suited for hemorrhage (whole head, no contrast, soft kernel, slices of
2.5 to 6 mm).

OUTPUT/NAME/ receives mask.nii.gz on the scan's own grid, overlay.png and
prediction.json; for DICOM input also scan.nii.gz, the HU under the mask. For tilted
or unevenly spaced slices, *_world.nii.gz hold both on an axis-aligned grid. NAME is
the last part of the scan's path, or as many parts as make it unique.
docs/prediction.md lists all fields. OUTPUT/worklist.csv has one line per scan, most
suspicious first. Existing predictions are kept under their names, so an interrupted
command resumes, and adding scans renames nothing.

Results name their source by the number of its first file in the input, the series'
number, the number of slices and a keyed hash. --with_paths adds the path and the
series' description, and names files that were left out: these may identify the
patient, so use it only where the results may.

RUN is a work directory of train or crossval; its finished folds are averaged, and a
scan that the run was trained on is predicted only by the fold that held it out.
Fields of config.predict can be changed: --config.predict.threshold=0.4,
stitch=gaussian, mirror=True, whole_slices=False.

"""
CONVERT_HELP = """\
OUTPUT/NAME.nii.gz holds HU on the scan's own pixels, NAME.json the position of each
slice. For tilted or unevenly spaced slices no NIfTI grid is exact: NAME_world.nii.gz
then holds the scan resampled to an axis-aligned grid. Faces stay recognizable.
--with_paths writes the path and the series' description into NAME.json, and names
files that were left out: these may identify the patient.

"""
EVALUATE_HELP = """\
DIR holds one .nii or .nii.gz file per subject, with the subject's ID as a whole word
in its name (CT10_pred.nii.gz is of CT10, not of CT1), or is the output of predict
(ID/mask.nii.gz). IDs that are numbers can have leading zeros. The files are on the
scan's grid in any axis order: masks (0 and 1, 0 and 255, or a few labels) or
probabilities (floats in [0, 1], or 8 bits). Files that fit no subject or several, two
files of one subject, and missing or misaligned files are reported; the others are
scored. CQ500 has no masks: there, predict's scores of scans are scored.

"""
PREPARE_HELP = """\
nnU-Net's split k tests on fold k: its 'val' is our test part, its 'train' our
training and validation parts, so that `evaluate` can score its masks.

"""
COMMAND_HELP = {
    "predict": PREDICT_HELP,
    "convert": CONVERT_HELP,
    "evaluate": EVALUATE_HELP,
    "prepare": PREPARE_HELP,
}


def program() -> str:
    """How the program was started, for usage lines: 'ichjax', the console command, or 'python launch.py'."""
    return "ichjax" if pathlib.Path(sys.argv[0]).name == "ichjax" else "python launch.py"


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits a command line into its options and its --config flags; exits with status 2 where it is wrong."""
    parser, parts = make_parser()
    if not argv:
        parser.print_help()
        raise SystemExit(2)
    config_flags = [word for word in argv if word == "--config" or word.startswith(("--config=", "--config."))]
    rest = [word for word in argv if word not in config_flags]
    for word in config_flags:
        if "=" not in word:
            parser.exit(2, f"ichjax: {word} has no value; expected {word}=VALUE, with an equals sign and no space\n")
    command = rest[0] if rest else ""
    if not command.startswith("-") and command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1, cutoff=0.3)
        guess = f"did you mean {near[0]!r}? " if near else ""
        problem = f"there is no command {command!r}; {guess}" if command else "no command named. "
        parser.exit(2, f"ichjax: {problem}The commands: {', '.join(COMMANDS)}\n")
    known = parts[command]._option_string_actions if command in parts else {}
    for name in [word.partition("=")[0] for word in rest[1:] if known and word.startswith("--")]:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f"did you mean {near[0]}?" if near else f"see: {program()} {command} --help"
            parser.exit(2, f"usage: {parts[command].usage}\nichjax: {command} has no option {name}; {guess}\n")
    arguments = parser.parse_args(rest)
    if config_flags and arguments.command not in (*WITH_CONFIG, "predict"):
        parser.exit(2, f"ichjax: {arguments.command} takes no --config; see: {parts[arguments.command].usage}\n")
    return arguments, config_flags


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """(the parser of all options except --config, the parser of each command)."""
    layout: dict[str, Any] = {
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
        "prog": "ichjax",
    }
    parser = argparse.ArgumentParser(
        usage=f"{program()} COMMAND [--config=configs/NAME.py] [--config.FIELD=VALUE ...] [options]",
        description="Intracranial hemorrhage segmentation in head CT, in JAX.",
        epilog=f"Options of a command: {program()} COMMAND --help\n\n{CONFIG_HELP}{EXIT}",
        **layout,
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    parts = {}
    for name, text in COMMANDS.items():
        rest = USAGE.get(name, "--config=configs/NAME.py --workdir=RUN [--config.FIELD=VALUE ...]")
        about = COMMAND_HELP.get(name, "") + (CONFIG_HELP if name in WITH_CONFIG else "")
        parts[name] = commands.add_parser(
            name,
            usage=f"{program()} {name} {rest}",
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=about + EXIT,
            **layout,
        )
    path: dict[str, Any] = {"type": pathlib.Path, "required": True}
    for name in ("crossval", "train", "pretrain", "predict", "report"):
        parts[name].add_argument("--workdir", metavar="RUN", help="the run's work directory", **path)
    for name in ("crossval", "train"):
        add = parts[name].add_argument
        add("--coordinator", metavar="HOST:PORT", help="process 0; SLURM, Open MPI and TPUs set it themselves")
        add("--processes", type=int, metavar="N", help="number of processes on all hosts")
        add("--process", type=int, metavar="K", help="index of this process, from 0")
    for name, where in (("predict", "receives a folder per scan"), ("convert", "receives the files of each scan")):
        add = parts[name].add_argument
        add("--input", metavar="PATH", nargs="+", help="files, patterns, and folders (searched at any depth)", **path)
        add("--series", type=int, metavar="N", help="use the N-th series of every DICOM study, as listed")
        add("--output", metavar="DIR", help=where, **path)
        add("--overwrite", action="store_true", help="replace existing output")
        add("--with_paths", action="store_true", help="also write paths and descriptions, which may name the patient")
    add = parts["predict"].add_argument
    add("--fold", type=int, metavar="K", help="use the network of this fold only")
    add("--probability", action="store_true", help="also write probability.nii.gz, where 255 is 1")
    add("--subtypes", action="store_true", help="also write subtypes.nii.gz, the sub-type of each pixel of the mask")
    add(
        "--dicom_seg", action="store_true", help="also write DICOM Segmentations, which name the patient, to dicom_seg/"
    )
    add = parts["export"].add_argument
    source = parts["export"].add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", metavar="RUN", type=pathlib.Path, help="the run's work directory")
    source.add_argument("--again", metavar="DIR", type=pathlib.Path, help="re-create the program in this folder")
    add("--output", metavar="DIR", type=pathlib.Path, help="receives the program, its description and its parameters")
    add("--side", type=int, metavar="N", help="rows and columns of its input slices (default 512)")
    add("--pixel_mm", type=float, metavar="MM", help="their pixel size (default: that of the training scans)")
    add("--platforms", metavar="NAMES", help="platforms it runs on (default cpu,cuda,tpu)")
    add("--onnx", action="store_true", help="also write network.onnx, from HU of patches to probability, and check it")
    add = parts["evaluate"].add_argument
    add("--predictions", metavar="DIR", help="a folder of NIfTI masks or probabilities, or predict's output", **path)
    add("--workdir", metavar="NEW", type=pathlib.Path, help="a new folder for tables, figures and report")
    add("--name", help="name of the method in the tables (default 'masks'; on CQ500 'predictions')")
    add("--subtypes", action="store_true", help="score masks of sub-types, labeled as in subtypes.nii.gz, as such too")
    parts["info"].add_argument("run", metavar="RUN", type=pathlib.Path, help="a work directory, or predict's output")
    for name in ("report", "evaluate"):
        about = "state predictive values and false alarms where this share of scans bleeds, such as 0.06"
        parts[name].add_argument("--prevalence", metavar="P", help=about)
    add = parts["compare"].add_argument
    add("run_a", metavar="RUN_A", type=pathlib.Path, help="a work directory, or its baselines/NAME")
    add("run_b", metavar="RUN_B", type=pathlib.Path, help="another one, scored on the same subjects")
    add("--output", metavar="DIR", type=pathlib.Path, help="receives compare.csv, compare.json and compare.png")
    add = parts["suggest"].add_argument
    add("--workdir", metavar="RUN", help="a run of crossval, whose folds can disagree", **path)
    add("--input", metavar="PATH", nargs="+", help="the scans, as for predict", **path)
    add("--output", metavar="DIR", help="receives suggestions.csv", **path)
    add("--hours", type=float, required=True, metavar="H", help="the time for annotation")
    add("--times", type=pathlib.Path, metavar="FILE", help="CSV of measured times: columns scan, minutes")
    add = parts["prepare"].add_argument
    add("--to", choices=("nnunet",), required=True, help="the layout")
    add("--output", metavar="DIR", help="a new folder", **path)
    add = parts["phantom"].add_argument
    layouts = ("nifti", "jpeg", "own", "rsna", "cq500")
    add("--layout", default="nifti", choices=layouts, help="of the files (default nifti)")
    add("--output", metavar="DIR", help="a new folder for the data set", **path)
    add("--preset", default="demo", help="demo (256 x 256, seconds) or calibrated (512 x 512, like the real set)")
    add("--subjects", type=int, default=15, metavar="N", help="number of subjects (default 15)")
    add("--seed", type=int, default=0, metavar="N", help="random seed (default 0)")
    return parser, parts
