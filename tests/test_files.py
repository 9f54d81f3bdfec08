"""Atomic writes: a file appears when it is complete, and a failure leaves the old one."""

import pytest

from ichjax.files import atomic


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
