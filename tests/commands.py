"""Commands as users give them, in this process."""

import contextlib
import io

import launch


def call(*words):
    """(exit status, all that was printed) of `launch.py WORDS`; fails where it ends with a traceback."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = launch.main([str(word) for word in words])
    assert "Traceback" not in said.getvalue()
    assert "defect" not in said.getvalue(), said.getvalue()
    return status, said.getvalue()
