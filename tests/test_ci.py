""".ci/run: the order of its steps, and files that tests leave behind."""

import os
import pathlib
import shutil
import subprocess

import pytest

RUN = pathlib.Path(__file__).parents[1] / ".ci" / "run"
ENVIRON = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@pytest.fixture
def repository(tmp_path):
    """A git repository with .ci/run, a committed file and an ignored name."""
    if not shutil.which("git"):
        pytest.skip("no git")
    folder = tmp_path / "repository"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(RUN, folder / ".ci" / "run")
    (folder / "committed").write_text("as committed\n")
    (folder / ".gitignore").write_text("ignored\n")
    author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], cwd=folder, env=ENVIRON, check=True)
    return folder


@pytest.mark.parametrize(
    ("tests", "status", "message"),
    [
        ("true", 0, ""),
        ("echo > ignored", 0, ""),
        ("echo > ./--version", 1, "?? --version\n"),
        ("echo > committed", 1, " M committed\n"),
        ("exit 3", 3, ""),
    ],
)
def test_leftover_files_of_the_tests_fail_the_run(repository, tmp_path, tests, status, message):
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\nif [ "$1" = test ]; then\n  {tests}\nfi\n')
    make.chmod(0o700)
    environ = ENVIRON | {"PATH": f"{make.parent}{os.pathsep}{os.environ['PATH']}"}
    finished = subprocess.run([".ci/run"], cwd=repository, env=environ, capture_output=True, text=True)
    assert finished.returncode == status, finished.stderr
    assert finished.stderr.endswith(message)
    assert bool(finished.stderr) == bool(message)


def test_lint_tests_and_wheel_run_in_this_order_until_one_fails(repository, tmp_path):
    make, log = tmp_path / "bin" / "make", tmp_path / "log"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\necho "$1" >> "{log}"\n[ "$1" != "$FAIL" ]\n')
    make.chmod(0o700)
    environ = ENVIRON | {"PATH": f"{make.parent}{os.pathsep}{os.environ['PATH']}"}
    for fail, targets in (("", ["lint", "test", "wheel"]), ("wheel", ["lint", "test", "wheel"]), ("lint", ["lint"])):
        log.unlink(missing_ok=True)
        finished = subprocess.run([".ci/run"], cwd=repository, env=environ | {"FAIL": fail}, capture_output=True)
        assert (finished.returncode != 0) == bool(fail)
        assert log.read_text().split() == targets
