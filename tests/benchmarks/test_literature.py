"""The benchmark of the methods of the literature: rows by hand, kept when finished, and only of the synthetic scans."""

import json
import runpy

import pytest

from benchmarks import literature, record
from ichjax import config as configs


def write_results(folder, name, *dice, fold=0, fit_s=(60.0,)):
    """The results and times of a method with these Dice coefficients, one scan each."""
    fold_folder = folder / f"fold_{fold}"
    fold_folder.mkdir(parents=True, exist_ok=True)
    (fold_folder / "seconds.json").write_text(json.dumps({"fit_s": fit_s, "predict_s": [3.0, 1.0, 2.0]}))
    mean = sum(dice) / len(dice)
    auc = {"any": {"auc": {"value": 0.75, "ci95": None}}}
    results = {
        "method": name,
        "title": name.title(),
        "subjects": [{"subject": k, "fold": fold} for k in range(len(dice))],
        "conventions": {
            "paper": {"dice": {"mean": mean, "ci95": [mean - 0.1, mean + 0.1], "n": len(dice)}},
            "volume": {"dice": {"mean": 0.25, "ci95": None, "n": len(dice)}},
        },
        "hemorrhage_free": {"false_positive_ml": 1.5},
        "detection_scores": {"slices": auc, "scans": auc},
        "config_digest": "12ab",
        "versions": {"ichjax": "0.1.0"},
    }
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture
def crossval(tmp_path, monkeypatch):
    """The folder of rows, and the commands; a cross-validation finishes two methods, and fails if it shall."""
    commands = []

    def run(command):
        commands.append(command)
        workdir = tmp_path / "run"
        workdir.mkdir(exist_ok=True)
        shipped = runpy.run_path("configs/literature/all.py")["get_config"]()
        stored = configs.to_dict(shipped)
        stored["data"] |= {"root": "made", "synthetic": run.synthetic}
        (workdir / "config.json").write_text(json.dumps(stored | {"folds": [0]} | run.fields))
        write_results(workdir, "unet", 0.4, 0.6)
        write_results(workdir / "baselines" / "kuo", "kuo", 0.7, fit_s=(60.0, 30.0))
        if run.fails:
            raise RuntimeError("stopped")

    run.fails, run.synthetic, run.fields = False, True, {}
    monkeypatch.setattr(literature.process, "run", run)
    monkeypatch.setattr(literature, "LITERATURE_ROWS", tmp_path / "rows")
    return tmp_path / "rows" / record.device_name(), commands, run


def call(tmp_path, *words):
    return literature.main([f"--workdir={tmp_path / 'run'}", *words])


def test_rows_are_kept_and_printed_best_first(tmp_path, crossval, capsys):
    rows, commands, _ = crossval
    assert call(tmp_path, "--folds=0") == 0
    assert commands[0][2:4] == ["crossval", "--config=literature/all"]
    assert "--config.folds=(0,)" in commands[0]
    assert sorted(path.name for path in rows.iterdir()) == ["kuo-1_folds.json", "unet-1_folds.json"]
    row = json.loads((rows / "kuo-1_folds.json").read_text())
    assert (row["folds"], row["scans"], row["with_hemorrhage"]) == ([0], 1, 1)
    assert (row["dice"], row["volume_dice"]) == ([0.7, 0.6, pytest.approx(0.8)], [0.25, None, None])
    assert (row["fit_s"], row["predict_s"], row["config_digest"]) == (90.0, 2.0, "12ab")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| Kuo", "| Unet"]
    assert "0.700 (0.600 to 0.800) | 0.250 | 1.50 | 0.750 | 90 | 2.00" in lines[2]


def test_what_is_finished_is_kept_if_a_later_method_fails(tmp_path, crossval):
    rows, _, run = crossval
    run.fails = True
    with pytest.raises(RuntimeError):
        call(tmp_path)
    assert len(list(rows.iterdir())) == 2


@pytest.mark.parametrize(("synthetic", "fields"), [(False, {}), (True, {"seed": 1})])
def test_nothing_is_kept_of_other_scans_or_another_configuration(tmp_path, crossval, capsys, synthetic, fields):
    rows, commands, run = crossval
    run.synthetic, run.fields = synthetic, fields
    assert call(tmp_path, "--config.data.root=DIR") == 0
    assert commands[0][-1] == "--config.data.root=DIR"
    assert "Kuo" in capsys.readouterr().out
    run.fails = True  # as a later call without the field does, in the same folder
    with pytest.raises(RuntimeError):
        call(tmp_path)
    assert not rows.exists()
    with pytest.raises(SystemExit):
        call(tmp_path, "--nothing")


def test_the_same_row_keeps_its_date_and_a_changed_one_does_not(tmp_path):
    path = tmp_path / "kuo-1_folds.json"
    literature.keep({"dice": [0.5], "date": "2026-01-01"}, path)
    literature.keep({"dice": [0.5], "date": "2026-02-02"}, path)
    assert json.loads(path.read_text())["date"] == "2026-01-01"
    literature.keep({"dice": [0.6], "date": "2026-02-02"}, path)
    assert json.loads(path.read_text()) == {"dice": [0.6], "date": "2026-02-02"}


def test_rows_of_all_folds_come_first_and_unknown_times_are_left_out(tmp_path):
    write_results(tmp_path / "one", "one", 0.9)
    write_results(tmp_path / "two", "two", 0.5, 0.7)
    (tmp_path / "two" / "fold_0" / "seconds.json").unlink()
    rows = [literature.row_of(tmp_path / name) for name in ("one", "two")]
    rows[1]["folds"] = [0, 1, 2, 3]
    first, second = literature.table(rows)
    assert (first["method"], first["training, s"], first["a scan, s"]) == ("Two", None, None)
    assert (second["method"], second["training, s"]) == ("One", "60")


def test_what_a_data_set_cannot_tell_is_left_out(tmp_path):
    """Without a scan that is free of hemorrhage there are no false positives, and no area under a curve."""
    write_results(tmp_path, "one", 0.9)
    results = json.loads((tmp_path / "results.json").read_text())
    results["hemorrhage_free"]["false_positive_ml"] = None
    results["conventions"]["paper"]["dice"] = {"mean": None, "ci95": None, "n": 0}
    results["detection_scores"]["slices"]["any"]["auc"] = {"value": None, "ci95": None}
    (tmp_path / "results.json").write_text(json.dumps(results))
    (line,) = literature.table([literature.row_of(tmp_path)])
    assert [line[name] for name in list(line)[2:6]] == [None, "0.250", None, None]
