"""What .ci/run checks besides running the linter and the tests."""

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
    """A git repository with .ci/run, a committed and an ignored file, and nothing else."""
    if not shutil.which("git"):
        pytest.skip("no git")
    folder = tmp_path / "repository"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(RUN, folder / ".ci" / "run")
    (folder / "kept").write_text("as committed\n")
    (folder / ".gitignore").write_text("ignored\n")
    author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], cwd=folder, env=ENVIRON, check=True)
    return folder


@pytest.mark.parametrize(
    ("tests", "status", "said"),
    [
        ("true", 0, ""),
        ("echo > ignored", 0, ""),
        ("echo > ./--version", 1, "?? --version\n"),
        ("echo > kept", 1, " M kept\n"),
        ("exit 3", 3, ""),
    ],
)
def test_tests_that_leave_files_behind_fail(repository, tmp_path, tests, status, said):
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\nif [ "$1" = test ]; then\n  {tests}\nfi\n')
    make.chmod(0o700)
    environ = ENVIRON | {"PATH": f"{make.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([".ci/run"], cwd=repository, env=environ, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert done.stderr.endswith(said)
    assert bool(done.stderr) == bool(said)


def test_lint_tests_and_wheel_run_in_this_order_and_the_first_failure_ends_the_run(repository, tmp_path):
    make, made = tmp_path / "bin" / "make", tmp_path / "made"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\necho "$1" >> "{made}"\n[ "$1" != "$FAIL" ]\n')
    make.chmod(0o700)
    environ = ENVIRON | {"PATH": f"{make.parent}{os.pathsep}{os.environ['PATH']}"}
    for fail, targets in (("", ["lint", "test", "wheel"]), ("wheel", ["lint", "test", "wheel"]), ("lint", ["lint"])):
        made.unlink(missing_ok=True)
        done = subprocess.run([".ci/run"], cwd=repository, env=environ | {"FAIL": fail}, capture_output=True)
        assert (done.returncode != 0) == bool(fail)
        assert made.read_text().split() == targets
