"""The `info` command on runs, and on folders that are none."""

import json
import shutil

import pytest

import launch
from ichjax.inference import run_info

pytestmark = pytest.mark.xdist_group("export")  # the network of a run that is trained once


def shown(text):
    """The text on one line, since it is wrapped."""
    return " ".join(text.split())


def test_info_describes_a_run(tiny_network_run, capsys):
    assert launch.main(["info", str(tiny_network_run)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= run_info.MAX_WIDTH
    config = json.loads((tiny_network_run / "config.json").read_text())
    splits = json.loads((tiny_network_run / "splits.json").read_text())["folds"]
    subjects = {subject for fold in splits for part in ("train", "validation", "test") for subject in fold[part]}
    line = shown(text)
    assert f"trained, of {len(splits)}" in line
    assert f"trained on {len(subjects)} subjects of a data set; pixels of" in line
    assert f"above a probability of {config['predict']['threshold']:g}" in line
    assert "no sub-types" in line


def test_info_gives_the_scores_of_results_json(tiny_network_run, tmp_path, capsys):
    run = shutil.copytree(tiny_network_run, tmp_path / "run")
    score = {"mean": 0.5554, "ci95": [0.4711, 0.6338], "n": 35}
    empty = {"mean": None, "ci95": None, "n": 0}
    results = {
        "conventions": {"paper": {"dice": score, "jaccard": empty}},
        "hemorrhage_free": {"n": 24, "false_positive_ml": 0.56, "false_positive_ml_ci95": None},
        "versions": {"ichjax": "0.0.9", "jax": "0.10", "python": "3.12"},
        "devices": ["tpu: v5e"],
    }
    (run / "results.json").write_text(json.dumps(results))
    assert launch.main(["info", str(run)]) == 0
    line = shown(capsys.readouterr().out)
    assert "Dice, the paper's convention 0.555 0.471 to 0.634 n = 35" in line
    assert "Jaccard, the paper's convention - n = 0" in line
    assert "false positives without a hemorrhage, mL 0.6 n = 24" in line
    assert "ichjax 0.0.9, jax 0.10, python 3.12; tpu: v5e" in line
    (run / "results.json").unlink()
    assert launch.main(["info", str(run)]) == 0
    assert "none: no fold has been tested" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["results.json", "splits.json", "manifest.json"])
@pytest.mark.parametrize("content", ["{}", '{"conventions": 3, "folds": [1], "inputs": 5}', "[]"])
def test_a_damaged_file_is_named(tiny_network_run, tmp_path, name, content, capsys):
    run = shutil.copytree(tiny_network_run, tmp_path / "run")
    if name == "manifest.json":
        (run / "config.json").unlink()
    (run / name).write_text(content)
    status = launch.main(["info", str(run)])
    said = capsys.readouterr()
    if name == "results.json" and content in ("{}", "[]"):  # as if no fold were tested
        assert (status, "no fold has been tested" in said.out) == (0, True)
    else:
        assert status == 2
        assert name in said.err
        assert "internal error" not in said.err


def test_a_file_is_no_run(tmp_path, capsys):
    (tmp_path / "run").write_text("")
    assert launch.main(["info", str(tmp_path / "run")]) == 2
    assert "run: is a file; expected the work directory" in capsys.readouterr().err


@pytest.mark.parametrize(("files", "problem"), [([], "no config.json"), (["config.json"], "config.json")])
def test_other_folders_are_refused(tmp_path, files, problem, capsys):
    for name in files:
        (tmp_path / name).write_text("[]")
    assert launch.main(["info", str(tmp_path)]) == 2
    assert problem in capsys.readouterr().err
