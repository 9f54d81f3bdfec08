"""Configurations: shipped files, overrides, rejected values, and the digest that identifies a run."""

import json
import os
import pathlib
import sys

import pytest

from ichjax import config, config_check
from ichjax.cli import config_flags
from ichjax.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]


def read(path, *overrides):
    return config_flags.read_config([f"--config={path}", *overrides])


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.py")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path):
    config_check.check(read(path))
    assert f"--config={path.relative_to(ROOT)}" in path.read_text()  # the command in its docstring


def test_overrides_of_every_type_are_applied_before_or_after_the_file(tmp_path, config_file):
    path = config_file(tmp_path, config.default())
    words = [
        "--config.train.batch_size=64",
        f"--config={path}",
        "--config.train.learning_rate=1e-3",
        "--config.data.root=a=b",
        "--config.windows=((40, 80), (60, 60))",
        "--config.predict.thresholds=(0.5,)",
        "--config.compare_with=()",
    ]
    made = config_flags.read_config(words)
    assert made.train.batch_size == 64
    assert made.train.learning_rate == 1e-3
    assert made.data.root == "a=b"
    assert made.windows == ((40, 80), (60, 60))
    assert made.predict.thresholds == (0.5,)
    assert made.compare_with == ()
    config_check.check(made)


def test_the_digest_depends_on_the_experiment_and_not_on_its_location():
    one, other = config.default(), config.default()
    other.data.root, other.fold = "/elsewhere", 3
    assert config.digest(one) == config.digest(other)
    assert len(config.digest(one)) == 16
    other.train.epochs += 1
    assert config.digest(one) != config.digest(other)


def test_flatten_and_differing_fields():
    flat = config.flatten(config.default())
    assert flat["train.batch_size"] == 32
    assert flat["seed"] == 0
    there, here = config.to_dict(config.default()), config.to_dict(config.default())
    assert config.differing_fields(there, here) == []
    here["train"]["epochs"], here["seed"] = 3, 1
    assert config.differing_fields(there, here) == ["seed (0 there, 1 here)", "train.epochs (150 there, 3 here)"]
    json.dumps(here)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data.splits", "random"),
        ("data.folds", 2),
        ("parallel", "threads"),
        ("model.dtype", "float16"),
        ("model.dropout", 1.0),
        ("train.negatives", "all"),
        ("train.epochs", 0),
        ("train.learning_rate", 0.0),
        ("predict.threshold", 1.0),
        ("predict.thresholds", (0.5, "x")),
        ("windows", ()),
        ("windows", ((40.0, 0.0),)),
        ("windows", (40.0, 120.0)),
        ("grid.border", 5),
        ("patch.stride", 0),
        ("fold", 5),
        ("compare_with", ("unet",)),
        ("augment.zoom", 1.0),
        ("train.slices", "none"),
        ("train.validation_negatives", "one_slice"),
        ("predict.tune", "threshold_only"),
        ("predict.tune_thresholds", ()),
        ("predict.find_threshold", 1.0),
        ("predict.min_lesion_ml", -0.1),
        ("predict.min_lesion_slices", 0),
        ("predict.tune_find_thresholds", (1.0,)),
        ("predict.tune_min_lesion_ml", (-1.0,)),
        ("predict.tune_min_lesion_slices", (0,)),
        ("predict.tune_by", "jaccard"),
        ("predict.tune_thresholds", (0.5, 1.0)),
        ("predict.tune_closing_px", ()),
        ("predict.tune_opening_px", (3, -1)),
        ("predict.tune_opening_px", (2.5,)),
        ("evaluate.slice_rule_px", -1),
    ],
)
def test_invalid_values_are_refused(field, value):
    made = config.default()
    made.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=rf"^config\.{field} is .*; expected"):
        config_check.check(made)


def test_one_slice_negatives_need_hemorrhage_free_slices():
    made = config.default()
    made.train.slices, made.train.negatives = "hemorrhage", "one_slice"
    with pytest.raises(InputError, match=r"config\.train\.negatives is 'one_slice'; expected .*config\.train\.slices"):
        config_check.check(made)


@pytest.mark.parametrize("name", ["paper_full_slice", "paper_patches", "paper_patches_nifti"])
def test_the_papers_patches_tile_the_slice_without_a_remainder(name):
    made = read(ROOT / "configs" / f"{name}.py")
    side = made.grid.side or 512
    rows = (side - made.patch.side) / made.patch.stride + 1
    assert rows**2 == (1 if name == "paper_full_slice" else 49)
    assert made.patch.side % 2**made.model.depth == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.train.batchsize=3", "no field config.train.batchsize; did you mean config.train.batch_size?"),
        ("--config.batch_size=3", "did you mean config.train.batch_size?"),
        ("--config.train=3", "config.train is a group of fields"),
        ("--config.train.epochs=three", "config.train.epochs=three"),
        ("--config.train.epochs=2.5", "config.train.epochs=2.5"),
    ],
)
def test_invalid_overrides_are_refused(tmp_path, config_file, override, message):
    with pytest.raises(InputError) as caught:
        read(config_file(tmp_path, config.default()), override)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "from ichjax.config import default\ndef get_config():\n    c = default()\n    c.train.epocs = 3\n",
            "'epochs'",
        ),
        ("from ichjax.config import default\ndef get_config():\n    c = default()\n    c.seed = 'x'\n", "TypeError"),
        ("def get_config():\n    return {}\n", "returns a dict; expected a ConfigDict"),
        ("x = 1\n", "no attribute 'get_config'"),
        ("def get_config(:\n", "SyntaxError"),
        ("import no_such_module\n", "no_such_module"),
    ],
)
def test_files_without_a_configuration_are_refused(tmp_path, text, message):
    path = tmp_path / "odd.py"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_again_even_if_neither_its_size_nor_its_second_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as for users
    path = tmp_path / "mine.py"
    for seed in (3, 4):
        lines = ["from ichjax.config import default", "def get_config():", "    c = default()", f"    c.seed = {seed}"]
        path.write_text("\n".join([*lines, "    return c"]))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        assert read(path).seed == seed
    assert list(tmp_path.iterdir()) == [path]  # no cache is left with the user's file


def test_a_missing_configuration_is_refused(tmp_path):
    with pytest.raises(InputError, match="--config=configs/NAME"):
        config_flags.read_config(["--config.seed=1"])
    with pytest.raises(InputError, match=r"nothing\.py: no such configuration"):
        read(tmp_path / "nothing.py")


def test_gates_count_in_the_digest_only_where_they_are_used():
    made = config.default()
    before = config.digest(made)
    fields = config.to_dict(made)
    kept = config._without_unused(config.without_location(fields))["predict"]
    assert not set(config.ADDED["predict"]) & set(kept)
    made.predict.min_lesion_ml = 0.2
    assert config.digest(made) != before
