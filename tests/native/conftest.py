"""The library, compiled once for all tests of this folder (which stay on one worker)."""

import pytest

from ichjax.native import library


@pytest.fixture(scope="session")
def native():
    """The calls are known to XLA; skips where no compiler could make them so."""
    try:
        library.load()
    except library.Unusable as problem:
        pytest.skip(f"no native convolutions: {problem}")
