"""The benchmarks of transfer and of active learning: choices, tables and figures, by hand; finished rows are kept."""

import json
import types

import matplotlib.image
import numpy as np
import pytest

from benchmarks import active_learning, transfer
from ichjax.data import dataset


def scans(*dice, false_ml=()):
    bleeding = [{"subject": k, "dice": v, "volume_dice": v / 2, "false_positive_ml": None} for k, v in enumerate(dice)]
    clean = [
        {"subject": 90 + k, "dice": None, "volume_dice": None, "false_positive_ml": ml} for k, ml in enumerate(false_ml)
    ]
    return [*bleeding, *clean]


def start(name, subjects, seed, *dice, **options):
    return {"start": name, "subjects": subjects, "seed": seed, "elsewhere": scans(*dice, **options)}


ROWS = [
    start("scratch", 10, 0, 0.2, 0.4, false_ml=(1.0, 3.0)),
    start("scratch", 10, 1, 0.4, 0.6, false_ml=(0.0, 0.0)),
    start("pretrained", 10, 0, 0.5, 0.5, false_ml=(1.0, 1.0)),
    start("scratch", 20, 0, 0.7, 0.8, false_ml=(0.5, 0.5)),
]


def test_seeds_are_averaged_by_scan_and_starts_are_paired():
    ten, twenty = transfer.table(ROWS)
    assert (ten["training scans"], twenty["training scans"]) == (10, 20)
    assert (ten["dice scratch"], ten["dice pretrained"]) == (0.4, 0.5)  # 0.3 and 0.5; 0.5 and 0.5
    assert ten["dice change"].startswith("+0.100")
    assert ten["volume_dice change"].startswith("+0.050")
    assert (ten["false_positive_ml scratch"], ten["false_positive_ml change"][:6]) == (1.0, "+0.000")
    assert twenty["dice pretrained"] is None
    assert twenty["dice change"] == ""


def test_learning_curves_are_drawn_of_what_is_finished(tmp_path):
    transfer.draw(ROWS, tmp_path / "figures" / "transfer.png")
    image = matplotlib.image.imread(tmp_path / "figures" / "transfer.png")
    assert image.shape[:2] == (630, 960)
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 100


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(transfer, "TRANSFER_ROWS", tmp_path)
    trained = []

    def train(one):
        trained.append(tuple(one))
        one.path.parent.mkdir(parents=True, exist_ok=True)
        one.path.write_text(json.dumps(start(*one, 0.5, 0.6)))

    monkeypatch.setattr(transfer, "train_and_score", train)
    assert transfer.main(["--subjects=10,20", "--seeds=1"]) == 0
    assert trained == [("scratch", 10, 0), ("pretrained", 10, 0), ("scratch", 20, 0), ("pretrained", 20, 0)]
    assert transfer.main(["--subjects=10,20", "--seeds=2"]) == 0
    assert [one[2] for one in trained[4:]] == [1, 1, 1, 1]
    before = len(trained)
    assert transfer.main(["--table"]) == 0
    assert len(trained) == before
    assert "dice scratch" in capsys.readouterr().out


@pytest.fixture
def suggested(tmp_path, monkeypatch):
    """The folder of the runs, and the commands; `suggest` writes six scans of 10, 20, ... minutes."""
    commands = []

    def run(command):
        commands.append(command)
        output = next(word.partition("=")[2] for word in command if word.startswith("--output="))
        lines = [f"{k:03},{'yes' if k in (2, 4) else 'no'},{1 / k:.3f},{10.0 * k},5.0,1" for k in range(1, 7)]
        (tmp_path / output).mkdir(parents=True)
        head = "scan,chosen,value,minutes,boundary_mm,lesions"
        (tmp_path / output / "suggestions.csv").write_text("\n".join([head, *lines]) + "\n")

    monkeypatch.setattr(active_learning, "ACTIVE_RUNS", tmp_path / "runs")
    monkeypatch.setattr(active_learning.process, "run", run)
    return commands


def test_random_choices_take_as_much_time_as_there_is(suggested, tmp_path):
    choose = active_learning.choose
    assert choose("suggested", 1.0, tmp_path, ["001"]) == [("002", 20.0), ("004", 40.0)]
    drawn = {f"random_{seed}": choose(f"random_{seed}", 1.0, tmp_path, ["001"]) for seed in range(20)}
    assert len(suggested) == 1  # asked once for all
    assert drawn["random_3"] == choose("random_3", 1.0, tmp_path, ["001"])
    assert len({tuple(sorted(one)) for one in drawn.values()}) > 3
    for chosen in drawn.values():
        left = 60.0 - sum(minutes for _, minutes in chosen)
        names = [name for name, _ in chosen]
        assert left >= 0
        assert len(set(names)) == len(names)
        assert all(10.0 * k > left for k in range(1, 7) if f"{k:03}" not in names)  # no other scan fits
    choose("suggested", 2.0, tmp_path, ["001"])
    assert len(suggested) == 2


def test_a_row_has_its_choice_and_scores(suggested, tmp_path, monkeypatch):
    """The first scans and those chosen from the pool are trained on; nothing of the pool without a choice."""
    names, copied = [f"{k:03}" for k in range(active_learning.FIRST + active_learning.POOL)], []
    subjects = [types.SimpleNamespace(name=name) for name in names]
    monkeypatch.setattr(active_learning.store, "dataset_root", lambda root, **recipe: tmp_path / "all")
    monkeypatch.setattr(active_learning.datasets, "read_dataset", lambda r: types.SimpleNamespace(subjects=subjects))
    monkeypatch.setattr(active_learning, "copy_scans", lambda root, target, chosen: copied.append(chosen))
    monkeypatch.setattr(active_learning, "elsewhere", lambda *words: scans(0.5))
    run = active_learning.process.run
    monkeypatch.setattr(active_learning.process, "run", lambda words: "suggest" in words and run(words))
    monkeypatch.setattr(active_learning, "choose", lambda *words: [("020", 20.0), ("031", 37.0)])
    for choice, added, minutes in (("none", [], 0), ("suggested", ["020", "031"], 57.0)):
        path = tmp_path / "results" / "device" / f"{choice}.json"
        active_learning.train_and_score(choice, 1.0, path)
        row = json.loads(path.read_text())
        assert (row["choice"], row["scans"], row["minutes"]) == (choice, len(added), minutes)
        assert row["elsewhere"] == scans(0.5)
        assert copied[-1] == [*names[: active_learning.FIRST], *added]


def test_a_choice_of_scans_is_a_data_set_of_its_own(tmp_path):
    root, target = tmp_path / "all", tmp_path / "some"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
        for name in ("049", "050", "051"):
            (root / folder / f"{name}.nii.gz").write_bytes(name.encode())
    (root / "labels.csv").write_text("id,slice,IVH\n049,1,0\n050,1,1\n050,2,0\n051,1,0\n")
    (root / "label_names.csv").write_text("label,name\n1,IVH\n")
    active_learning.copy_scans(root, target, ["050", "051"])
    active_learning.copy_scans(root, target, ["050"])  # what was there is gone
    assert sorted(path.name for path in (target / "images").iterdir()) == ["050.nii.gz"]
    assert (target / "masks" / "050.nii.gz").read_bytes() == b"050"
    assert (target / "labels.csv").read_text() == "id,slice,IVH\n050,1,1\n050,2,0\n"
    assert (target / "label_names.csv").read_text() == "label,name\n1,IVH\n"
    assert sorted(dataset.find_own_scans(target)) == ["050"]


def test_the_table_and_the_figure_of_choices(tmp_path):
    rows = [
        {"choice": "none", "scans": 0, "minutes": 0, "elsewhere": scans(0.2, 0.4, false_ml=(2.0,))},
        {"choice": "random_0", "scans": 3, "minutes": 50.0, "elsewhere": scans(0.4, 0.4, false_ml=(1.0,))},
        {"choice": "suggested", "scans": 2, "minutes": 60.0, "elsewhere": scans(0.6, 0.7, false_ml=(0.5,))},
    ]
    lines = active_learning.table(rows)
    assert [line["dice"] for line in lines] == [0.3, 0.4, 0.65]
    assert [line["false_positive_ml"] for line in lines] == [2.0, 1.0, 0.5]
    active_learning.draw(rows, tmp_path / "active.png")
    assert matplotlib.image.imread(tmp_path / "active.png").shape[1] == 960
