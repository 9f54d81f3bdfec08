"""Tests of a file on eight devices, in a process of their own, since eight would slow down all other tests."""

import os
import subprocess
import sys


def run(file, expression, *, devices=8, marker=None):
    """Runs the tests of a file whose names match, and which have the marker, if one is given; returns pytest's output.

    They must pass.
    """
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", file, "-k", expression]
    command += ["-m", marker] if marker else []
    environ = {**os.environ, "ICHJAX_TEST_DEVICES": str(devices)}
    for name in [n for n in environ if n == "XLA_FLAGS" or n.startswith("PYTEST_")]:
        del environ[name]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
