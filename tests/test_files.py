"""Atomic writes: a file appears when it is complete, and a failure leaves the old one. Locks: one process at a time,
and no file remains."""

import fcntl
import os
import pathlib
import subprocess
import sys

import pytest

from ichjax import files
from ichjax.errors import InputError
from ichjax.files import CLAIM, atomic, claim

# Claims a folder 100 times, and fails if another process is in it meanwhile.
CLAIM_OFTEN = """
import pathlib, sys
from ichjax.errors import InputError
from ichjax.files import claim

folder, done = pathlib.Path(sys.argv[1]), 0
while done < 100:
    try:
        with claim(folder):
            (folder / "busy").touch(exist_ok=False)
            (folder / "busy").unlink()
        done += 1
    except InputError:
        pass
"""


def test_a_file_is_replaced_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("started", [False, True])
def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, error, started):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with atomic(path) as temporary:
            if started:
                temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_rename_leaves_no_file(tmp_path):
    path = tmp_path / "a"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(OSError), atomic(path) as temporary:
        temporary.write_text("new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_lock_leaves_no_file(tmp_path, error):
    folder = tmp_path / "new" / "folder"
    try:
        with claim(folder):
            assert [path.name for path in folder.iterdir()] == [CLAIM]
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert list(folder.iterdir()) == []


def test_a_refused_process_leaves_the_lock(tmp_path):
    with claim(tmp_path):
        for _ in range(2):
            with pytest.raises(InputError, match="another process is working in it"), claim(tmp_path):
                pass
    with claim(tmp_path):
        pass


def test_the_file_of_a_killed_process_locks_nothing(tmp_path):
    (tmp_path / CLAIM).touch()
    with claim(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("others_file", [False, True])
def test_a_lock_on_a_removed_file_does_not_count(tmp_path, monkeypatch, others_file):
    """The holder removes the file between opening and locking it; a third process may have made another one."""
    path, calls = tmp_path / CLAIM, []

    def flock(file, operation):
        calls.append(os.fstat(file.fileno()).st_ino)
        if len(calls) == 1:
            path.unlink()
            if others_file:
                path.touch()
        fcntl.flock(file, operation)

    monkeypatch.setattr(files, "fcntl", type("fcntl", (), {**vars(fcntl), "flock": staticmethod(flock)}))
    with claim(tmp_path):
        assert len(calls) == 2
        assert path.stat().st_ino == calls[1]


def test_a_lock_file_that_was_removed_by_hand_is_not_another_processs(tmp_path):
    path = tmp_path / CLAIM
    with claim(tmp_path):
        path.rename(tmp_path / "kept")  # its inode stays in use
        path.touch()
    assert path.exists()


def test_processes_that_take_turns_never_share_a_folder(tmp_path):
    root = pathlib.Path(files.__file__).parents[1]
    command = [sys.executable, "-c", CLAIM_OFTEN, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=120)[1] for process in processes] == ["", "", ""]
    assert list(tmp_path.iterdir()) == []
