"""Fixtures of the tests of the RSNA 2019 layout."""

import pytest

from tests.dicom_slices import SCANS, write_set


@pytest.fixture
def rsna_cache(tmp_path, monkeypatch):
    """An empty cache folder of this test alone."""
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rsna_root(tmp_path, rsna_cache):
    """A set of three scans of two subjects, `SCANS`."""
    write_set(tmp_path / "set", SCANS)
    return tmp_path / "set"
