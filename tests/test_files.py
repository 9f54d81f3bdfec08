import pytest

from ichjax.files import atomic


def test_what_is_written_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic(path) as aside:
        assert aside.parent == path.parent
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("begun", [False, True])
def test_a_failure_leaves_nothing_and_the_old_file(tmp_path, error, begun):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with atomic(path) as aside:
            if begun:
                aside.write_text("ne")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_renamed_leaves_nothing(tmp_path):
    path = tmp_path / "a"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(OSError), atomic(path) as aside:
        aside.write_text("new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
