"""The ablation's plan and table, by hand; every ingredient is a valid configuration."""

import json

import pytest

import launch
from benchmarks import ablation, ablation_table
from benchmarks.ingredients import BASE, FINALISTS, INGREDIENTS
from configs import ich_small
from ichjax import config as configs
from ichjax import config_check
from ichjax.cli import config_flags
from ichjax.errors import InputError
from ichjax.ops import patches


def row(name, *, seed=0, fold=0, minutes=10.0, elsewhere=(1.0, 3.0), **dice):
    def subjects(scores, false_ml):
        bleeding = [{"subject": k, "dice": v, "volume_dice": v, "false_positive_ml": None} for k, v in scores]
        clean = [
            {"subject": 90 + k, "dice": None, "volume_dice": None, "false_positive_ml": ml}
            for k, ml in enumerate(false_ml)
        ]
        return [*bleeding, *clean]

    here = [(int(key[1:]), value) for key, value in dice.items() if key[0] == "s"]
    there = [(int(key[1:]), value) for key, value in dice.items() if key[0] == "o"]
    return {
        "ingredient": name, "seed": seed, "fold": fold, "cpu_minutes": minutes, "subjects": subjects(here, (77.0,)),
        "elsewhere": subjects(there, elsewhere),
    }  # fmt: skip


@pytest.mark.parametrize("name", INGREDIENTS)
def test_every_ingredient_changes_the_base_to_a_valid_configuration(name):
    before = configs.digest(ich_small.get_config())
    config = config_flags.read_config(["--config=ich_small", *ablation.flags(INGREDIENTS[name])])
    config_check.check(config)
    patches.grid_shape(config.grid.side, config.grid.side, side=config.patch.side, stride=config.patch.stride)
    fields = configs.flatten(config)
    assert {field: fields[field] for field in INGREDIENTS[name]} == INGREDIENTS[name]
    assert (configs.digest(config) == before) == (name == BASE)


def test_a_row_of_another_change_or_of_other_phantoms_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "ROWS", tmp_path)
    monkeypatch.setattr(ablation, "true_volumes", lambda base: {49: 12.5, 50: 0.0})
    training = ablation.Training("ich_small", 20, "brain_window", 0, 0)
    assert not ablation.is_finished(training)
    for level, subject, truth_ml, finished in (
        (40.0, 49, 12.501, True),
        (50.0, 49, 12.5, False),
        (40.0, 49, 12.7, False),
        (40.0, 51, 0.0, False),
    ):
        changes, subjects = [[level, 120.0]], [{"subject": subject, "truth_ml": truth_ml}]
        training.path.parent.mkdir(parents=True, exist_ok=True)
        training.path.write_text(json.dumps({"changes": {"windows": changes}, "subjects": subjects}))
        if finished:
            assert ablation.is_finished(training)
        else:
            with pytest.raises(InputError, match="delete it to train it again"):
                ablation.is_finished(training)


@pytest.mark.experiments
def test_an_ingredient_of_the_prediction_has_the_kept_weights_and_trains_nothing(tiny_network_run, tmp_path):
    kept, run = tmp_path / "kept", tmp_path / "run"
    for _ in range(2):  # the second time in place of the first
        ablation.keep_weights(tiny_network_run, 0, kept)
    assert {path.name for path in kept.iterdir()} == {"weights", "model.json", "config.json", "splits.json"}
    ablation.begin_trained(kept, run, 0, {"predict.mirror": True})
    config = [f"--config={tiny_network_run.parent / 'tiny.py'}", "--config.folds=(0,)", "--config.predict.mirror=True"]
    assert launch.main(["crossval", *config, f"--workdir={run}"]) == 0
    assert (run / "results.json").is_file()
    assert not list(run.rglob("metrics.jsonl"))
    arrays = [path for path in (kept / "weights").rglob("*") if path.is_file()]
    assert arrays
    for path in arrays:
        assert (run / "fold_0" / path.relative_to(kept)).read_bytes() == path.read_bytes()


def test_the_screening_has_one_training_each_the_finalists_all_folds_and_seeds():
    screening = ablation.planned("screening", "", 4)
    assert screening[0] == (BASE, 0, 0)
    assert {name for name, _, _ in screening} == set(INGREDIENTS)
    assert len(screening) == len(INGREDIENTS)
    finalists = ablation.planned("finalists", "", 4)
    assert len(finalists) == len(set(finalists)) == (1 + len(FINALISTS)) * 4 * 3
    everything = ablation.planned("all", "", 4)
    assert len(everything) == len(set(everything))
    assert set(everything) == {*screening, *finalists}


def test_each_ingredient_is_compiled_once_before_the_others_and_the_base_precedes_those_that_use_its_weights():
    names = (BASE, "focal", "no_mirror")
    missing = [ablation.Training("ich_small", 12, name, fold, 0) for fold in (0, 1) for name in names]
    compiling, bases, others = ablation.waves(missing)
    assert [(training.name, training.fold) for training in compiling] == [(BASE, 0), ("focal", 0)]
    assert [(training.name, training.fold) for training in bases] == [(BASE, 1)]
    assert {(training.name, training.fold) for training in others} == {("no_mirror", 0), ("focal", 1), ("no_mirror", 1)}


def test_some_ingredients_are_tried_with_the_base():
    assert ablation.planned("screening", "focal", 4) == [(BASE, 0, 0), ("focal", 0, 0)]
    with pytest.raises(InputError, match="'vocal'"):
        ablation.planned("screening", "vocal", 4)


def test_the_table_by_hand():
    rows = [row("focal", s1=0.6, s2=0.4, o1=0.2), row(BASE, s1=0.5, s2=0.2, elsewhere=(0.0, 1.0), minutes=12.0)]
    base, focal = ablation_table.table(rows)
    assert (base["ingredient"], base["dice"], base["dice change"], base["CPU minutes"]) == (BASE, 0.35, "", 12.0)
    assert (focal["dice"], focal["false_positive_ml"]) == (0.4, 2.0)  # of the other seed alone
    assert focal["dice change"] == "+0.150"  # over the two subjects of both; no interval below eight
    assert focal["false_positive_ml change"] == "+1.500"


def test_a_subject_counts_once_however_many_networks_predict_it():
    rows = [row(BASE, s1=0.2, o1=0.4), row(BASE, fold=1, s2=0.2, o1=0.6), row("focal", fold=1, s2=0.1, o1=0.2)]
    base, focal = ablation_table.table(rows)
    assert base["dice"] == 0.3  # 0.2, 0.2 and the mean of 0.4 and 0.6
    assert focal["dice change"] == "-0.250"  # against fold 1 alone: -0.1 and -0.4
