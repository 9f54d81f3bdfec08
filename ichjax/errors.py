"""The one kind of error a user sees: a sentence that says what was found, where, and what was expected."""

import contextlib
import os

LONGEST = 600  # characters; a table's cell or a header's value that is quoted may be of any length


class InputError(ValueError):
    """The input or the command is wrong (exit status 2).

    The message is one sentence for a person: what was found, where (file, subject, slice), and what was
    expected. The launcher prints it without a traceback. What it quotes of files may hold anything: it is kept to
    one line and to printable characters, and cut in the middle where it is long.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """A text that cannot move the cursor, colour the terminal or fill the screen."""
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST // 2]} ... {plain[-LONGEST // 2 :]}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, cut to 200 characters; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def only_input_errors(where: str, what: str = "read", *, but: tuple[type[Exception], ...] = ()):
    """Turns an error that nobody foresaw into one sentence about a file, so that it costs no other file its result.

    Its message is not quoted: it may hold what a header says of a patient. With ICHJAX_TRACEBACK=1 it is raised as it
    is.

    Args:
      where: the file.
      what: was being done with it.
      but: kinds that are raised as they are, such as a full disk where files are written.
    """
    try:
        yield
    except (InputError, *but):
        raise
    except Exception as error:
        if os.environ.get("ICHJAX_TRACEBACK"):
            raise
        text = f"{where}: cannot be {what} ({type(error).__name__}), in a way that nobody foresaw"
        raise InputError(text) from error


class Interrupted(KeyboardInterrupt):
    """A signal ended the run in good order (exit status 130); the message says what is kept and how to go on."""
