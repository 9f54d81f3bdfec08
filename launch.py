"""The front door: python launch.py COMMAND [--config=configs/NAME.py] [--config.FIELD=VALUE ...] [options]."""

import argparse
import difflib
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's own chatter

COMMANDS = {
    "crossval": "train and test every fold, then write tables, figures and the report",
    "train": "train one fold (--config.fold=0)",
    "predict": "masks of any scans, with a trained run: --workdir=RUN --input=PATH ... --output=DIR",
    "report": "score a work directory again, and write its tables, figures and report; nothing is predicted",
    "stats": "the paper's Tables 4 and 5 of a data set, beside the paper's figures",
    "phantom": "write a synthetic data set: --output=DIR",
}
EPILOG = """\
A single field: --config.train.batch_size=64. The data set: --config.data.root=DIR; without it, a synthetic one is
made once and used. Exit status: 0 done, 1 a defect of ichjax, 2 the input or the command is wrong, 130 interrupted.
Research use only: not for diagnosis."""


def main(argv: list[str]) -> int:
    """Runs one command; returns its exit status."""
    from ichjax.errors import InputError

    try:
        arguments, config_flags = parse(argv)
        return run(arguments, config_flags)
    except InputError as error:
        print(f"ichjax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nichjax: interrupted; the same command goes on after the last epoch saved", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("ICHJAX_TRACEBACK"):
            raise
        print(f"ichjax: a defect of ichjax: {type(error).__name__}: {error}", file=sys.stderr)
        print("ichjax: run it again with ICHJAX_TRACEBACK=1 to see where, and please report it", file=sys.stderr)
        return 1


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits a command line into its options and its --config flags; leaves with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="ichjax",
        usage="python launch.py COMMAND [--config=configs/NAME.py] [--config.FIELD=VALUE ...] [options]",
        description="Intracranial hemorrhage segmentation in head CT, in JAX.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    parts = {
        name: commands.add_parser(
            name, prog="ichjax", help=text, description=text, epilog=EPILOG, allow_abbrev=False, usage=usage(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, text in COMMANDS.items()
    }  # fmt: skip
    for name in ("crossval", "train", "predict", "report"):
        parts[name].add_argument("--workdir", type=pathlib.Path, required=True, help="the run's folder")
    add = parts["predict"].add_argument
    add("--input", type=pathlib.Path, nargs="+", required=True, help="NIfTI files, or folders of NIfTI or DICOM")
    add("--output", type=pathlib.Path, required=True, help="where each scan gets a folder")
    add = parts["phantom"].add_argument
    add("--output", type=pathlib.Path, required=True, help="the data set's folder; must not hold one yet")
    add("--preset", default="demo", help="'demo' (256 x 256, seconds) or 'calibrated' (512 x 512, as the real set)")
    add("--subjects", type=int, default=15, help="how many (default 15)")
    add("--seed", type=int, default=0, help="another seed, another set (default 0)")
    if not argv:
        parser.print_help()
        raise SystemExit(2)
    command = argv[0]
    if not command.startswith("-") and command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1, cutoff=0.3)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        parser.exit(2, f"ichjax: there is no command {command!r}{guess} The commands: {', '.join(COMMANDS)}\n")
    config_flags = [word for word in argv if word == "--config" or word.startswith(("--config=", "--config."))]
    return parser.parse_args([word for word in argv if word not in config_flags]), config_flags


def usage(name: str) -> str:
    """One line: how a command is called."""
    rest = {
        "predict": "--workdir=RUN --input PATH [PATH ...] --output=DIR",
        "report": "--workdir=RUN",
        "stats": "--config=configs/NAME.py [--config.data.root=DIR]",
        "phantom": "--output=DIR [--preset=demo] [--subjects=15] [--seed=0]",
    }
    return f"python launch.py {name} " + rest.get(name, "--config=configs/NAME.py --workdir=RUN [--config.FIELD=VALUE]")


def run(arguments: argparse.Namespace, config_flags: list[str]) -> int:
    """Carries out a parsed command."""
    from ichjax import commands

    takes_config = arguments.command in ("crossval", "train", "stats")
    if config_flags and not takes_config:
        print(f"ichjax: {arguments.command} takes no --config: it finds its own on record", file=sys.stderr)
        return 2
    config = commands.read_config(config_flags) if takes_config else None
    return getattr(commands, arguments.command)(arguments, config)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
