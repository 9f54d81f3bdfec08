"""The first line of an error's message, or its type, at most 200 characters."""

import pytest

from ichjax.errors import first_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("\n one \n two"), "one "),
        (KeyError("key"), "'key'"),
        (RuntimeError(), "RuntimeError"),
        (OSError(" \n"), "OSError"),
        (ValueError("x" * 300), "x" * 200),
    ],
)
def test_first_line(error, expected):
    assert first_line(error) == expected
