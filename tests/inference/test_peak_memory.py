"""Peak memory: a large array is seen, and forgotten after a reset where the system can."""

import sys

import numpy as np
import pytest

from ichjax.inference import peak_memory

LARGE_MB = 200


def test_a_large_array_raises_the_peak():
    peak_memory.reset()
    before = peak_memory.peak_mb()
    array = np.ones(LARGE_MB * 1_000_000 // 8)
    assert peak_memory.peak_mb() > before + 0.8 * LARGE_MB
    del array


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_a_reset_forgets_what_was_freed():
    array = np.ones(LARGE_MB * 1_000_000 // 8)
    peak = peak_memory.peak_mb()
    del array
    peak_memory.reset()
    assert peak_memory.peak_mb() < peak - 0.8 * LARGE_MB


def test_without_proc_the_peak_is_that_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(peak_memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(peak_memory, "CLEAR", tmp_path / "missing" / "clear_refs")
    peak_memory.reset()
    assert 10 < peak_memory.peak_mb() < 1e6
