"""Errors for the user: one sentence that gives what was found, where, and what was expected."""

import contextlib
import os
from collections.abc import Iterator

MAX_CHARACTERS = 600  # a quoted table cell or header value may have any length


class InputError(ValueError):
    """The input or the command is wrong (exit status 2).

    The message is one sentence: what was found, where (file, subject, slice), and what was expected. The command line
    prints it without a traceback. Text quoted from files may hold anything, so it is reduced to one line of printable
    characters and shortened in the middle where it is long.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run cleanly (exit status 130); the message says what was saved and how to resume."""


def one_line(text: str) -> str:
    """A text that cannot move the cursor, color the terminal or fill the screen."""
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    if len(plain) <= MAX_CHARACTERS:
        return plain
    return f"{plain[: MAX_CHARACTERS // 2]} ... {plain[-MAX_CHARACTERS // 2 :]}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, cut to 200 characters; its type if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def only_input_errors(where: str, what: str = "read", *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turns an unexpected error into an InputError about one file, so that it costs no other file its result.

    The error's own message is not quoted, since it may contain patient data from a header. With ICHJAX_TRACEBACK=1 the
    error is raised unchanged.

    Args:
      where: the file.
      what: what was being done with it, as a participle.
      but: errors to raise unchanged, such as a full disk while writing.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (InputError, *but)) or os.environ.get("ICHJAX_TRACEBACK"):
            raise
        raise InputError(f"{where}: cannot be {what} (unexpected {type(error).__name__})") from error
