"""Tests of a file on eight devices, in a process of their own, since eight would slow down all other tests."""

import os
import subprocess
import sys


def run(file, expression, *, devices=8):
    """Runs the tests of a file whose names match, which must pass; returns pytest's output."""
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", file, "-k", expression]
    environ = {**os.environ, "ICHJAX_TEST_DEVICES": str(devices)}
    for name in [n for n in environ if n == "XLA_FLAGS" or n.startswith("PYTEST_")]:
        del environ[name]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
