"""The front door: help, wrong commands and options, exit statuses, and that input never ends in a traceback."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import launch
from ichjax.cli import commands, parser
from ichjax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]


def call(capsys, *words):
    """(exit status, stdout, stderr) of a command line."""
    status = launch.main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return status, said.out, said.err


def refused(capsys, *words):
    """The one line that a refused command line gets."""
    status, _, err = call(capsys, *words)
    assert status == 2
    assert err.startswith("ichjax: ")
    assert err.count("\n") == 1
    return err


def test_help_names_every_command_and_fits_a_terminal(capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0
    for name in parser.COMMANDS:
        assert f"    {name} " in out
    for name in parser.COMMANDS:
        status, out, _ = call(capsys, name, "--help")
        assert status == 0
        assert out.startswith(f"usage: python launch.py {name} ")
        assert max(map(len, out.splitlines())) <= 100
    assert call(capsys)[0] == 2  # alone: the help, but nothing was done


@pytest.mark.parametrize(("wrong", "near"), [("predcit", "predict"), ("crossvalidate", "crossval"), ("stat", "stats")])
def test_an_unknown_command_is_answered_with_the_nearest(capsys, wrong, near):
    assert f"no command {wrong!r}; did you mean {near!r}?" in refused(capsys, wrong)
    assert f"did you mean {near!r}?" in refused(capsys, "--config=configs/demo.py", wrong)


def test_commands_to_come_are_unknown(capsys):
    assert "The commands: crossval, train, pretrain, predict, convert, export, report" in refused(capsys, "tune")


def test_configurations_and_commands_that_do_not_fit(capsys):
    assert "expected --config=VALUE" in refused(capsys, "crossval", "--config", "configs/demo.py", "--workdir=w")
    assert "--config.data.root=VALUE" in refused(
        capsys, "train", "--config=configs/demo.py", "--config.data.root", "d", "--workdir=w"
    )
    for flag in ("--config=configs/demo.py", "--config.train.epochs=3"):
        said = refused(capsys, "predict", flag, "--workdir=w", "--input=i", "--output=o")
        assert "predict uses the run's own configuration; expected --config.predict.FIELD=VALUE" in said
    for flag, said in (
        ("--config.predict.stich=flat", "did you mean config.predict.stitch?"),
        ("--config.predict.threshold=x", "the command line cannot be used"),
    ):
        assert said in refused(capsys, "predict", flag, "--workdir=w", "--input=i", "--output=o")
    assert "convert takes no --config" in refused(capsys, "convert", "--config.seed=1", "--input=i", "--output=o")
    assert "no command named" in refused(capsys, "--config=configs/demo.py")
    assert "expected --config=configs/NAME.py" in refused(capsys, "crossval", "--workdir=w")


@pytest.mark.parametrize(
    ("wrong", "near"), [("--dicom-seg", "--dicom_seg"), ("--outptu=x", "--output"), ("--probabilty", "--probability")]
)
def test_a_misspelt_option_is_answered_with_the_nearest(capsys, wrong, near):
    with pytest.raises(SystemExit) as caught:
        parser.parse(["predict", "--workdir=a", "--input", "b", "--output=c", wrong])
    assert caught.value.code == 2
    assert f"predict has no option {wrong.partition('=')[0]}; did you mean {near}?\n" in capsys.readouterr().err


def test_a_missing_or_unknown_option_shows_the_usage(capsys):
    for words in (["predict", "--workdir=w"], ["crossval", "--config=configs/demo.py"], ["report", "--wrkdir=w"]):
        status, _, err = call(capsys, *words)
        assert status == 2
        assert err.startswith(f"usage: python launch.py {words[0]}")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("049.nii: is odd; expected even"), 2, "ichjax: 049.nii: is odd; expected even\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("boom"), 1, "internal error: RuntimeError: boom"),
        (PermissionError(13, "Permission denied", "out/x"), 2, "out/x: Permission denied; expected a writable folder"),
    ],
)
def test_exit_statuses(capsys, monkeypatch, error, status, said):
    def fail(arguments, config):
        raise error

    monkeypatch.setattr(commands, "report", fail)
    found, _, err = call(capsys, "report", "--workdir=w")
    assert found == status
    assert said in err


def test_phantom_writes_a_data_set_into_a_new_folder_only(capsys, tmp_path):
    there = tmp_path / "set"
    assert call(capsys, "phantom", f"--output={there}", "--subjects=1")[0] == 0
    assert (there / "ct_scans" / "049.nii").is_file()
    assert "is not empty" in refused(capsys, "phantom", f"--output={there}")
    assert "expected one of" in refused(capsys, "phantom", f"--output={tmp_path / 'b'}", "--preset=huge")
    assert "at least 1" in refused(capsys, "phantom", f"--output={tmp_path / 'c'}", "--subjects=0")
    (tmp_path / "file").touch()
    assert "file" in refused(capsys, "phantom", f"--output={tmp_path / 'file'}")


def test_stats_print_the_papers_tables(capsys, tmp_path, tiny_root, tiny_config, config_file):
    path = config_file(tmp_path, tiny_config())
    status, out, _ = call(capsys, "stats", f"--config={path}")
    assert status == 0
    assert "Subdural" in out or "SDH" in out
    broken = tmp_path / "broken"
    shutil.copytree(tiny_root, broken)
    (broken / "ct_scans" / "052.nii").write_bytes(b"not a scan")
    status, out, _ = call(capsys, "stats", f"--config={path}", f"--config.data.root={broken}")
    assert status == 2
    assert "skipped: ct_scans/052.nii (subject 52)" in out


def test_the_program_from_a_shell():
    """The only subprocess: what a user gets who mistypes a command."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), "predcit"],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean 'predict'?" in done.stderr
    assert "Traceback" not in done.stderr
