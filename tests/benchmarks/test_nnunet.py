"""nnU-Net as a peer: its budget, its folds, and the table of paired differences."""

import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks import nnunet_peer, nnunet_table, process, record
from benchmarks.nnunet_budget import Budget, limits, poly_rate
from ichjax.data import dataset as datasets
from ichjax.data import nnunet, splits
from ichjax.errors import InputError
from ichjax.files import write_json

ENVIRONMENT = nnunet_peer.ROOT / ".venv-nnunet"


class Clocks:
    """Two clocks that are set by hand; both start at a number other than zero."""

    def __init__(self):
        self.cpu_s, self.wall_s = 100.0, 5000.0

    def budget(self, cpu_s, wall_s):
        return Budget(cpu_s, wall_s, cpu_clock=lambda: self.cpu_s, wall_clock=lambda: self.wall_s)


def test_a_budget_ends_with_the_scarcer_of_cpu_seconds_and_wall_clock():
    clocks = Clocks()
    budget = clocks.budget(60.0, 120.0)
    assert budget.fraction() == 0.0
    clocks.cpu_s += 30.0
    clocks.wall_s += 15.0
    assert (budget.fraction(), budget.used()) == (0.5, (30.0, 15.0))
    clocks.wall_s += 75.0
    assert budget.fraction() == 0.75
    clocks.wall_s += 30.0
    assert budget.fraction() == 1.0
    endless = clocks.budget(math.inf, 10.0)
    clocks.cpu_s += 1e9
    assert endless.fraction() == 0.0
    for cpu_s, wall_s in ((0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="expected both above 0"):
            Budget(cpu_s, wall_s)


def test_limits_are_those_of_all_cores_and_on_a_gpu_of_the_wall_clock():
    assert limits(10.0, cores=2, cap=2.0, device="cpu") == (1200.0, 1200.0)
    assert limits(10.0, cores=4, cap=1.5, device="cpu") == (2400.0, 900.0)
    assert limits(10.0, cores=16, cap=2.0, device="cuda") == (math.inf, 600.0)


@given(st.integers(0, 1000))
def test_the_learning_rate_is_nnunets_of_the_same_fraction_of_its_epochs(epoch):
    expected = 1e-2 * (1 - epoch / 1000) ** 0.9  # its PolyLRScheduler, 1,000 epochs
    assert poly_rate(1e-2, epoch / 1000) == pytest.approx(expected, rel=1e-12)
    assert poly_rate(1e-2, 1.0 + epoch) == 0.0


def test_nnunets_val_part_is_the_test_part_of_our_fold(tiny_root, tmp_path):
    dataset = datasets.read_dataset(tiny_root)
    folds = splits.stratified_splits(dataset.subjects, folds=3, seed=0)
    nnunet.write_nnunet(dataset, folds, tmp_path / "raw")
    written = json.loads((tmp_path / "raw" / nnunet_peer.NNUNET_DATASET / "splits_final.json").read_text())
    write_json(tmp_path / "config.json", {"data": {"root": str(tiny_root)}})
    numbers = [nnunet_peer.subject_numbers(tmp_path, cases) for cases in nnunet_peer.test_cases(written)]
    assert numbers == [list(fold.test) for fold in folds.folds]


def evaluated(folder, rows, left_out=()):
    """A work directory of `evaluate` with the given {subject: (paper Dice, volume Dice, true mL, predicted mL)}."""
    keys = ("dice", "volume_dice", "truth_ml", "predicted_ml")
    subjects = [{"subject": number, **dict(zip(keys, row, strict=True))} for number, row in rows.items()]
    folder.mkdir(parents=True)
    write_json(folder / "results.json", {"left_out_of_paper": list(left_out), "subjects": subjects})
    return folder


def test_a_record_holds_the_scores_that_a_subject_has(tmp_path):
    rows = {49: (0.5, 0.6, 10.0, 8.0), 50: (None, None, 0.0, 3.0), 70: (0.9, 0.8, 5.0, 5.0)}
    folder = evaluated(tmp_path / "evaluated", rows, left_out=[70])
    facts = {"cpu_s": 60.0, "wall_s": 30.0}
    scored = {"evaluated": folder, "facts": facts}
    nnunet_table.write_record(tmp_path, "nnunet", 0, 1, test=[70, 49, 50], **scored)
    (read,) = nnunet_table.read_records(tmp_path)
    assert (read["method"], read["seed"], read["fold"], read["facts"]) == ("nnunet", 0, 1, facts)
    assert read["subjects"] == {
        "49": {"dice": 0.5, "volume_dice": 0.6, "false_positive_ml": None},
        "50": {"dice": None, "volume_dice": None, "false_positive_ml": 3.0},
        "70": {"dice": None, "volume_dice": 0.8, "false_positive_ml": None},
    }
    with pytest.raises(InputError, match=r"subjects \[49, 50, 70\]; expected the test part, \[49, 50\]"):
        nnunet_table.write_record(tmp_path, "nnunet", 0, 1, test=[49, 50], **scored)


def of(method, seed, fold, dice, cpu_s=60.0):
    """A record of {subject: volume Dice}."""
    scores = {str(n): {"dice": None, "volume_dice": value, "false_positive_ml": None} for n, value in dice.items()}
    return {"method": method, "seed": seed, "fold": fold, "subjects": scores, "facts": {"cpu_s": cpu_s}}


def test_pairs_are_of_the_same_subject_and_the_seeds_of_each_method_are_averaged():
    records = [
        of("ichjax", 0, 0, {49: 0.5, 51: 0.7}),
        of("ichjax", 1, 2, {49: 0.9, 52: 0.1}),
        of("nnunet", 0, 0, {49: 0.4, 51: 0.8, 53: 0.2}),
        of("nnunet", 1, 2, {49: 0.2, 52: None}),
        of("nnunet", 2, 0, {51: 0.0}),  # ours has not run this seed, but subject 51 by another
    ]
    ours, theirs = nnunet_table.paired(records, "volume_dice", "ichjax", "nnunet")
    np.testing.assert_allclose(ours, [0.7, 0.7])
    np.testing.assert_allclose(theirs, [0.3, 0.4])
    nothing = nnunet_table.paired(records, "dice", "ichjax", "nnunet")
    assert [len(values) for values in nothing] == [0, 0]


def test_the_table_agrees_with_scipy():
    ours, theirs = np.random.default_rng(3).uniform(0.2, 0.9, (2, 20))
    numbers = range(49, 69)
    records = [
        of("ichjax", 0, 0, dict(zip(numbers, ours.tolist(), strict=True)), cpu_s=90.0),
        of("nnunet", 0, 0, dict(zip(numbers, theirs.tolist(), strict=True)), cpu_s=180.0),
        of("nnunet", 0, 1, {}, cpu_s=60.0),
    ]
    table = nnunet_table.rows(records)
    assert [(row["score"], row["peer"]) for row in table][:2] == [
        ("Dice", "nnU-Net"),
        ("Dice", "nnU-Net, mirrored"),
    ]
    (row,) = (row for row in table if row["subjects"])
    assert (row["score"], row["peer"], row["subjects"]) == ("Volume Dice", "nnU-Net", 20)
    assert row["ichjax"] == pytest.approx(ours.mean())
    assert row["of the peer"] == pytest.approx(theirs.mean())
    assert row["difference"] == pytest.approx((ours - theirs).mean())
    expected = stats.bootstrap((ours - theirs,), np.mean, method="percentile", rng=np.random.default_rng(0))
    assert (row["95 % from"], row["to"]) == pytest.approx(tuple(expected.confidence_interval), abs=0.01)
    assert row["p"] == pytest.approx(stats.wilcoxon(ours - theirs).pvalue)
    assert (row["CPU minutes"], row["of the peer's"]) == (1.5, 2.0)
    lines = record.markdown(table).splitlines()
    assert len(lines) == 2 + len(table)
    assert {line.count("|") for line in lines} == {len(row) + 1}
    assert " - |" in lines[2]  # a figure that does not exist


def test_an_output_folder_belongs_to_its_settings(tmp_path):
    nnunet_table.require_settings(tmp_path, {"minutes": 2.0, "plans": "default"})
    nnunet_table.require_settings(tmp_path, {"minutes": 2.0, "plans": "default"})
    with pytest.raises(InputError, match=r"results with minutes 2.0, not 3.0; expected the same settings"):
        nnunet_table.require_settings(tmp_path, {"minutes": 3.0, "plans": "default"})


def test_the_description_names_budget_versions_and_iterations():
    names = ("config", "root", "preset", "subjects", "minutes", "device", "cores", "plans", "ours")
    settings = dict(zip(names, ("demo", "", None, 16, 2.0, "cpu", 2, "default", ""), strict=True))
    done = of("nnunet", 0, 0, {})
    done["facts"] |= {
        "iterations": 321,
        "train_cpu_s": 240.5,
        "parameters": 33_471_820,
        "batch_size": 2,
        "patch_size": [256, 224],
        "versions": {"nnunetv2": "2.8.1"},
    }
    said = nnunet_table.describe(settings, [done])
    for words in ("2 minutes per fold (cpu, 2 cores)", "nnunetv2 2.8.1", "256 x 224", "fold: 321", "1 of nnunet,"):
        assert words in said
    assert "iterations" not in nnunet_table.describe(settings, [])
    assert "cap" not in said
    done["facts"]["train_cpu_s"] = 60.0
    assert "On 1 of its 1 folds the wall-clock cap" in nnunet_table.describe(settings, [done])
    assert "at 25 % of it or more" in nnunet_table.describe(settings, [done])


def options(tmp_path, *words):
    python = tmp_path / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch()
    return nnunet_peer._parse([f"--nnunet={python.parents[1]}", *words])


def test_options_become_flags_of_ichjax(tmp_path):
    words = ("--subjects=16", "--minutes=2", "--ours=--config.train.epochs=3 --config.options.minutes={minutes}")
    flags = nnunet_peer.our_flags(options(tmp_path, *words), 7)
    assert flags == [
        "--config=demo",
        "--config.seed=7",
        "--config.phantom.subjects=16",
        "--config.train.epochs=3",
        "--config.options.minutes=2",
    ]
    assert options(tmp_path).batch_size == 2
    assert options(tmp_path, "--device=cuda").batch_size == 0  # the planned one
    assert options(tmp_path, "--folds=0,2", "--seed=3").folds == [0, 2]


def test_wrong_options_and_failing_commands_are_reported_in_a_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit):
        nnunet_peer.main([f"--nnunet={tmp_path / 'nowhere'}"])
    assert "no environment with nnU-Net; make it by: make" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        options(tmp_path, "--minutes=0")
    command = [sys.executable, "-c", "print('first'); raise SystemExit('no such plans')"]
    with pytest.raises(RuntimeError, match="ended with status 1: no such plans"):
        process.run(command, tmp_path / "a.log")
    cost = process.run(command, tmp_path / "a.log", allow=(0, 1))
    assert cost["cpu_s"] > 0
    assert cost["wall_s"] > 0


@pytest.mark.peers  # minutes
@pytest.mark.skipif(not (ENVIRONMENT / ".done").is_file(), reason="needs: make .venv-nnunet/.done")
def test_nnunet_trains_predicts_and_is_scored_on_eight_phantoms(tmp_path):
    words = ["--subjects=8", "--folds=0", "--minutes=0.5", f"--output={tmp_path}"]
    ours = "--config.data.folds=3 --config.train.epochs=1 --config.train.examples_per_epoch=80"
    assert nnunet_peer.main([*words, f"--ours={ours}"]) == 0
    records = {each["method"]: each for each in nnunet_table.read_records(tmp_path)}
    assert set(records) == {"ichjax", *nnunet_table.NNUNET_TITLES}
    assert len({tuple(each["subjects"]) for each in records.values()}) == 1
    facts = records["nnunet"]["facts"]
    assert facts["iterations"] > 1
    assert 0 < facts["train_wall_s"] < 3 * 30 + 60  # the cap, and one slow iteration
    assert facts["batch_size"] == 2
    table = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert all(row["CPU minutes"] > 0 for row in table)
    assert nnunet_peer.main([*words, f"--ours={ours}"]) == 0  # at once: all is done
    assert nnunet_peer.main([*words, "--ours="]) == 2
