"""The entry point: `main` runs one command and returns its exit status."""

import argparse
import errno
import logging
import os
import signal
import sys

from ichjax.cli.parser import WITH_CONFIG, WITHOUT_FILE, parse
from ichjax.errors import InputError, Interrupted

# Of the place that a user named for output, not of ichjax.
USERS_PLACE = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command, by default the one that the process was started with; returns its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    quiet_libraries()
    # Preemption leaves as Ctrl-C does; while it trains, a fold saves first (`train.interrupt`).
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(*parse(argv))
    except SystemExit as leaving:  # argparse, after --help or its own message
        return leaving.code or 0
    except InputError as error:
        print(f"ichjax: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(f"\nichjax: {interrupted}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("\nichjax: interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in USERS_PLACE:
            place = error.filename2 or error.filename or "the output"
            print(f"ichjax: {place}: {error.strerror}; expected a folder that can be written", file=sys.stderr)
            return 2
        if os.environ.get("ICHJAX_TRACEBACK"):
            raise
        print(f"ichjax: a defect of ichjax: {type(error).__name__}: {error}", file=sys.stderr)
        print("ichjax: run it again with ICHJAX_TRACEBACK=1 to see where, and please report it", file=sys.stderr)
        return 1


def quiet_libraries() -> None:
    """Silences what libraries print beside our own messages; done by commands, never by an import.

    Orbax logs every save and restore, and every error that it also raises, with a traceback. The threads of orbax and
    tensorstore print "Event loop is closed" by the dozen for a save that fails; the failure itself is raised where we
    wait for the save.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if getattr(sys.unraisablehook, "quiet", False):
        return
    hook = sys.unraisablehook

    def quiet(unraisable) -> None:
        if not (isinstance(unraisable.exc_value, RuntimeError) and "Event loop is closed" in str(unraisable.exc_value)):
            hook(unraisable)

    quiet.quiet = True
    sys.unraisablehook = quiet


def run(arguments: argparse.Namespace, config_flags: list[str]) -> int:
    """Carries out a parsed command."""
    from ichjax.cli import commands

    config = None
    if arguments.command in WITH_CONFIG:
        config = commands.read_config(config_flags, need_file=arguments.command not in WITHOUT_FILE)
    if arguments.command == "predict":
        arguments.fields = commands.read_predict_fields(config_flags)
    return getattr(commands, arguments.command)(arguments, config)
