"""The C++ library, compiled once for all tests of this folder (which run on one worker)."""

import pytest

from ichjax.native import library


@pytest.fixture(scope="session")
def native():
    """Registers the calls with XLA; skips the test if they cannot be compiled."""
    try:
        library.load()
    except library.UnavailableError as problem:
        pytest.skip(f"no native convolutions: {problem}")
