"""Ahead-of-time compilation: bounds by hand, the table, the limits; small programs are really compiled."""

import json
import pathlib
import subprocess

import pytest

from benchmarks import ahead_of_time, chip_programs, chips
from benchmarks.chip_programs import Program
from ichjax.models import unet

ROOT = pathlib.Path(__file__).parents[2]
PYTHON = ROOT / ".venv-accelerators" / "bin" / "python"
INSTALLED = pytest.mark.skipif(not PYTHON.is_file(), reason="`make accelerators` installs the compilers")
EVERY = (*ahead_of_time.DEFAULT, *ahead_of_time.MORE, *ahead_of_time.LITERATURE, *ahead_of_time.SMALL)
ROW = {
    "program": "train-v5e-8-jit", "batch": 256, "temporaries GB": 1.25, "calls": 71, "Mcycles": None,
    "calls by kind": {"convForward": 71}, "largest": [["fusion relu/max", 4.25, 2]], "versions": {"jax": "0.12"},
}  # fmt: skip


def test_the_bound_is_the_longer_of_both_times_by_hand():
    assert chips.bound_ms("H100", 989e12, 3350e9 / 2) == pytest.approx(1000)
    assert chips.bound_ms("v5e", 197e12 / 4, 819e9) == pytest.approx(1000)


def test_each_program_has_a_name_of_its_own():
    assert len({program.name for program in EVERY}) == len(EVERY)
    assert Program("train", "v5e", 8, 256, mode="shard_map").name == "train-v5e-8-shard_map"
    assert Program("scan", "H100", 1, 64, inside_skull=True, dtype="float32").name == "scan-H100-1-skull-float32"
    assert Program("train", "H100", 1, 32, config="ich").name == "train-H100-1-ich-jit"


def test_operations_are_those_of_the_layers_and_split_over_the_devices():
    one = Program("network", "H100", 1, 4, width=8)
    _, config = chip_programs.network_of(one)
    table = unet.layer_table(config)  # 'same' convolutions: fewer operations at the edge, 9 in place of 16 going up
    most = sum(2 * row["parameters"] * row["output_shape"][0] * row["output_shape"][1] for row in table) * 4
    counted = chip_programs.flops(one)
    assert 0.85 * most < counted < most
    training = chip_programs.flops(Program("train", "v5e", 1, 4, width=8, side=32))
    assert training == 2 * chip_programs.flops(Program("train", "v5e", 2, 4, width=8, side=32))
    assert chip_programs.flops(Program("scan", "v5e", 1, 4, width=8)) is None


@pytest.mark.parametrize("program", ahead_of_time.LITERATURE, ids=lambda program: program.name)
def test_networks_of_the_literature_are_compiled_with_the_batch_of_their_configuration(program):
    network, config = chip_programs.network_of(program)
    batch = chip_programs.batch_shapes(network, config)
    assert program.batch == config.train.batch_size == len(batch["image"])
    assert ("slices" in batch) == (batch["mask"].ndim == 4) == (network.stack > 0)


def test_every_published_size_is_compiled():
    shipped = {path.stem for path in (ROOT / "configs" / "literature").glob("*_full.py")}
    assert {program.config.rpartition("/")[2] for program in ahead_of_time.LITERATURE} == shipped


def test_a_figure_above_its_limit_is_named():
    assert ahead_of_time.worse_than({"calls": 71, "temporaries GB": 1.3, "Mcycles": 5}, ROW) == []
    said = ahead_of_time.worse_than({"calls": 70, "temporaries GB": 1.0}, ROW)
    assert said == [
        "train-v5e-8-jit: calls is 71; expected at most 70",
        "train-v5e-8-jit: temporaries GB is 1.25; expected at most 1",
    ]


def test_the_limits_are_of_programs_and_figures_that_exist():
    limits = json.loads(ahead_of_time.WORST.read_text())
    assert {program.name for program in (*ahead_of_time.DEFAULT, *ahead_of_time.SMALL)} == set(limits)
    for name, own in limits.items():
        if (path := ahead_of_time.COMPILED / f"{name}.json").is_file():
            row = json.loads(path.read_text())
            assert own.keys() <= row.keys()
            assert ahead_of_time.worse_than(own, row) == []


def test_the_page_says_first_that_nothing_was_run():
    lines = ahead_of_time.page([ROW]).splitlines()
    assert lines[2].startswith("**Nothing here was run, and no time is claimed.**")
    assert "| train-v5e-8-jit | 256 | 1.25 | 71 | - |" in lines
    assert "| fusion relu/max | 4.2 | 2 |" in lines


def test_an_unknown_program_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        ahead_of_time.main(["--only=train-h100"])
    assert stopped.value.code == 2
    assert "--only names 'train-h100'; expected some of train-H100-1-jit, " in capsys.readouterr().err


def compile_and_check(folder, *options):
    command = [PYTHON, "-m", "benchmarks.ahead_of_time", "--check", f"--output={folder}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


@INSTALLED
def test_small_programs_are_no_worse_than_their_limits(tmp_path):
    names = [program.name for program in ahead_of_time.SMALL]
    rows = compile_and_check(tmp_path, f"--only={','.join(names)}")
    assert set(rows) == set(names)
    for row in rows.values():
        assert row["float64"] == row["callbacks"] == 0
    gpu, tpu = (rows[name] for name in names)
    assert gpu["calls"] == 71  # 24 layers: forward, of the kernel, and of all inputs but the first
    assert tpu["Mcycles"] > 0
    assert tpu["collectives"] == 1
    assert (tmp_path / "table.md").is_file()


@pytest.mark.accelerators
@INSTALLED
def test_no_program_is_worse_than_its_limits(tmp_path):
    assert set(compile_and_check(tmp_path)) == {program.name for program in ahead_of_time.DEFAULT}
