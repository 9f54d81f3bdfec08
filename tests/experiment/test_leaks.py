"""Weights that come from another run are not tested on scans which that run, or the run before it, was trained on."""

import json

import pytest

import launch
from ichjax.data import ct_ich_nifti, leak_guard, scan_cache
from ichjax.errors import InputError
from ichjax.experiment import leaks
from ichjax.scan.volume import hu_digest

TESTED = {0: (0, 1), 1: (2, 3)}  # {fold: its test scans}, of scans 0 to 3


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)[0][:5]


def write_run(run, scans, *, folds=(0, 1), init_from="", tested=TESTED):
    """The files of a run on the first four scans: its configuration, scans and splits, and finished folds."""
    for fold in folds:
        (run / f"fold_{fold}" / "weights").mkdir(parents=True)
        (run / f"fold_{fold}" / "weights" / "_METADATA").write_text("{}")
    (run / "config.json").write_text(json.dumps({"init_from": str(init_from)}))
    subjects = {hu_digest(scan.volume): scan.number for scan in scans[:4]}
    (run / "scans.json").write_text(json.dumps({"subjects": subjects}))
    parts = [{"test": [scans[k].number for k in numbers]} for numbers in tested.values()]
    (run / "splits.json").write_text(json.dumps({"folds": parts}))
    return run


def refuse(tmp_path, init_from, tests, *, fold=0, others=None):
    leaks.refuse_seen(str(init_from), tests, others, fold=fold, method_dir=tmp_path / "method")


def test_the_fold_of_the_same_number_has_not_seen_its_test_scans(tmp_path, scans):
    run = write_run(tmp_path / "run", scans)
    for fold, numbers in TESTED.items():
        refuse(tmp_path, run, [*(scans[k] for k in numbers), scans[4]], fold=fold)  # the last is none of the run's
        refuse(tmp_path, run / f"fold_{fold}", [scans[numbers[0]]], fold=7)
    refuse(tmp_path, "", scans)


def test_a_fold_that_was_trained_on_them_is_refused(tmp_path, scans):
    run = write_run(tmp_path / "run", scans, folds=(0,))
    with pytest.raises(InputError) as caught:
        refuse(tmp_path, run, scans, fold=1)
    message = str(caught.value)
    assert message.startswith("fold 1: 2 of its 5 test scans were trained or selected on in ")
    assert f"fold_0 (subjects {scans[2].number}, {scans[3].number}), which its weights come from" in message
    with pytest.raises(InputError, match="4 of its 5 test scans"):  # a split that leaks has no test scans of its own
        refuse(tmp_path, write_run(tmp_path / "leaky", scans, tested={}), scans)


def test_origins_of_origins_count(tmp_path, scans):
    first = write_run(tmp_path / "first", scans, folds=(0,))
    second = write_run(tmp_path / "second", [scans[4]], folds=(1,), init_from=first, tested={1: ()})
    third = write_run(tmp_path / "third", [scans[4]], init_from=second / "fold_1", tested={1: ()})
    with pytest.raises(InputError, match=r"in .*first.fold_0 \(subjects"):
        refuse(tmp_path, third, scans[:4], fold=1)
    refuse(tmp_path, third, scans[:2], fold=1)
    (first / "fold_0" / "weights" / "_METADATA").unlink()
    with pytest.raises(InputError, match=r"second started from it, and it cannot be told .*: .*first: no trained"):
        refuse(tmp_path, third, scans[:2], fold=1)
    write_run(tmp_path / "circle", [scans[4]], init_from=tmp_path / "circle", tested={0: (), 1: ()})
    with pytest.raises(InputError, match="started from weights that started from it"):
        refuse(tmp_path, tmp_path / "circle", scans[:2])


def test_scans_that_joined_the_training_are_kept_for_later_runs(tmp_path, scans):
    others = leak_guard.collect([leak_guard.identify(scans[0].volume)])
    run = write_run(tmp_path / "method", [scans[4]], tested={0: (), 1: ()})
    refuse(tmp_path, "", scans[1:2], others=others)
    with pytest.raises(InputError, match="1 of its 2 test scans were seen in pre-training"):
        refuse(tmp_path, "", scans[:2], others=others)
    with pytest.raises(InputError, match="1 of its 2 test scans were seen in pre-training"):
        refuse(tmp_path, run, scans[:2])
    refuse(tmp_path, run, scans[1:3])


def test_the_command_refuses_a_fold_that_the_other_run_was_trained_on(
    tiny_network_run, tiny_config, config_file, tmp_path, capsys
):
    """That run has folds 0 and 2: a fold 1 would start from fold 0, which has seen its test scans."""
    small = {"model.base_width": 2, "model.depth": 1, "model.norm": "none", "train.epochs": 1, "compare_with": ()}
    path = config_file(tmp_path, tiny_config(**small, init_from=str(tiny_network_run)))
    words = [f"--config={path}", f"--workdir={tmp_path / 'run'}"]
    assert launch.main(["train", *words, "--config.fold=1"]) == 2
    said = capsys.readouterr().err
    assert "fold 1: " in said
    assert "test scans were trained or selected on in" in said
    assert not list((tmp_path / "run").glob("fold_1/*"))
    assert launch.main(["train", *words, "--config.fold=2"]) == 0
    assert "fold_2/weights: " in capsys.readouterr().out
