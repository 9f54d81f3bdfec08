"""The entry point: `main` runs one command and returns its exit status."""

import argparse
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from ichjax.cli.parser import WITH_CONFIG, WITHOUT_FILE, parse
from ichjax.errors import InputError, Interrupted

# Errors of the output folder that the user chose, not of ichjax.
OUTPUT_ERRORS = {
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
    """Runs one command, by default that of the process's own command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    quiet_libraries()
    # Preemption exits as Ctrl-C does; a fold in training saves first (`train.interrupt`).
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(*parse(argv))
    except SystemExit as leaving:  # argparse, after --help or its own message
        return leaving.code if isinstance(leaving.code, int) else 0
    except InputError as error:
        print(f"ichjax: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(f"\nichjax: {interrupted}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("\nichjax: interrupted; finished work is kept, and the same command resumes", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OUTPUT_ERRORS:
            path = error.filename2 or error.filename or "the output"
            print(f"ichjax: {path}: {error.strerror}; expected a writable folder", file=sys.stderr)
            return 2
        if os.environ.get("ICHJAX_TRACEBACK"):
            raise
        print(f"ichjax: internal error: {type(error).__name__}: {error}", file=sys.stderr)
        print("ichjax: set ICHJAX_TRACEBACK=1 to see the traceback, and please report it", file=sys.stderr)
        return 1


def quiet_libraries() -> None:
    """Silences the messages of libraries; called by commands, never by an import.

    Orbax logs every save and restore, and a traceback for every error that it also raises. When a save fails, threads
    of orbax and tensorstore print "Event loop is closed" dozens of times; the failure itself is raised where we wait
    for the save.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not isinstance(sys.unraisablehook, _QuietHook):
        sys.unraisablehook = _QuietHook(sys.unraisablehook)


class _QuietHook:
    """`sys.unraisablehook` that drops the messages of a closed event loop."""

    def __init__(self, hook: Callable[[Any], object]):
        self._hook = hook

    def __call__(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and "Event loop is closed" in str(error)):
            self._hook(unraisable)


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Runs a parsed command."""
    from ichjax.cli import commands, config_flags

    config = None
    if arguments.command in WITH_CONFIG:
        config = config_flags.read_config(overrides, need_file=arguments.command not in WITHOUT_FILE)
    if arguments.command == "predict":
        arguments.fields = config_flags.read_predict_fields(overrides)
    return getattr(commands, arguments.command)(arguments, config)
