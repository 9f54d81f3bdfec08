"""Peak memory: a large array is seen, and forgotten after a reset where the system can.

In a process of its own: one that has run many tests may keep freed memory and give it to the next array, so that its
resident memory neither rises nor falls.
"""

import subprocess
import sys

import pytest

from ichjax.inference import peak_memory

LARGE_MB = 200
MEASURE = f"""
import numpy as np
from ichjax.inference import peak_memory
print(peak_memory.peak_mb())
array = np.ones({LARGE_MB} * 1_000_000 // 8)
print(peak_memory.peak_mb())
del array
peak_memory.reset()
print(peak_memory.peak_mb())
"""


@pytest.fixture(scope="module")
def peaks_mb():
    """Before a large array, with it, and after it was freed and the peak was reset."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def test_a_large_array_raises_the_peak(peaks_mb):
    before, during, _ = peaks_mb
    assert 0.8 * LARGE_MB < during - before < 1.2 * LARGE_MB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_a_reset_forgets_what_was_freed(peaks_mb):
    _, during, after = peaks_mb
    assert after < during - 0.8 * LARGE_MB


def test_without_proc_the_peak_is_that_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(peak_memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(peak_memory, "CLEAR", tmp_path / "missing" / "clear_refs")
    peak_memory.reset()
    assert 10 < peak_memory.peak_mb() < 1e6
