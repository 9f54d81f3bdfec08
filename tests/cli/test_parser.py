"""Usage lines name the program as it was started."""

import sys

import pytest

from ichjax.cli import parser


@pytest.mark.parametrize(
    ("started", "named"),
    [("/venv/bin/ichjax", "ichjax"), ("launch.py", "python launch.py"), ("/x/pytest", "python launch.py")],
)
def test_the_program_is_called_what_it_was_started_by(monkeypatch, capsys, started, named):
    monkeypatch.setattr(sys, "argv", [started])
    with pytest.raises(SystemExit):
        parser.parse(["--help"])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {named} COMMAND ")
    assert f"Options of a command: {named} COMMAND --help" in said
    with pytest.raises(SystemExit):
        parser.parse(["predict", "--xyzxyz"])
    said = capsys.readouterr().err
    assert said.startswith(f"usage: {named} predict --workdir=RUN ")
    assert said.endswith(f"predict has no option --xyzxyz; see: {named} predict --help\n")
