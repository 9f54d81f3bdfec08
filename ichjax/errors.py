"""The one kind of error a user sees: a sentence that says what was found, where, and what was expected."""


class InputError(ValueError):
    """The input or the command is wrong (exit status 2).

    The message is one sentence for a person: what was found, where (file, subject, slice), and what was
    expected. The launcher prints it without a traceback.
    """


class Interrupted(KeyboardInterrupt):
    """A signal ended the run in good order (exit status 130); the message says what is kept and how to go on."""
