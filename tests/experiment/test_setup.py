"""What is refused before anything is trained, and what a work directory keeps of a run."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

import launch
from ichjax.data.ct_ich_nifti import read_dataset
from ichjax.data.splits import PARTS
from ichjax.errors import InputError
from ichjax.experiment import setup

THRESHOLD = {"method": "threshold", "compare_with": ()}


def load(root, number, folder="ct_scans"):
    image = nib.load(root / folder / f"{number:03d}.nii")
    return np.asanyarray(image.dataobj).copy(), image.affine


def save(root, number, array, affine, folder="ct_scans", name="{:03d}.nii"):
    nib.save(nib.Nifti1Image(array, affine), root / folder / name.format(number))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def truncated(root):
    cut(root / "ct_scans" / "049.nii")


def truncated_gz(root):
    array, affine = load(root, 49)
    save(root, 49, array, affine, name="{:03d}.nii.gz")
    (root / "ct_scans" / "049.nii").unlink()
    cut(root / "ct_scans" / "049.nii.gz")


def four_axes(root):
    array, affine = load(root, 49)
    save(root, 49, np.stack([array, array], axis=-1), affine)


def eight_bits(root):
    array, affine = load(root, 49)
    save(root, 49, np.clip(array + 20, 0, 255).astype(np.uint8), affine)


def mask_of_another_shape(root):
    mask, affine = load(root, 49, "masks")
    save(root, 49, mask[:, :, :3], affine, "masks")


def no_mask(root):
    (root / "masks" / "049.nii").unlink()


@pytest.fixture
def copied(tiny_root, tmp_path):
    return shutil.copytree(tiny_root, tmp_path / "data")


@pytest.fixture
def command(tiny_config, config_file, tmp_path, capsys):
    """command(name, root=..., **fields): (exit status, stdout, stderr) of a command in tmp_path/run."""

    def call(name, *words, **fields):
        path = config_file(tmp_path, tiny_config(**{**THRESHOLD, **fields}))
        status = launch.main([name, f"--config={path}", f"--workdir={tmp_path / 'run'}", *words])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert "defect" not in said.out + said.err
        return status, said.out, said.err

    return call


def sentence(answer):
    """The one line of a command that was refused."""
    status, _, err = answer
    assert status == 2
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (truncated, ("ct_scans/049.nii (subject 49)", "truncated")),
        (truncated_gz, ("ct_scans/049.nii.gz (subject 49)", "truncated")),
        (four_axes, ("ct_scans/049.nii (subject 49)", "expected one 3-D scan")),
        (eight_bits, ("ct_scans/049.nii (subject 49)", "expected HU")),
        (mask_of_another_shape, ("masks/049.nii (subject 49)", "expected the same")),
        (no_mask, ("subject 49: no mask", "expected a mask")),
    ],
)
def test_one_broken_subject_is_named_and_costs_no_other_its_place(tiny_config, copied, tmp_path, capsys, harm, said):
    harm(copied)
    made = tiny_config(**{**THRESHOLD, "data.root": str(copied)})
    experiment = setup.open_experiment(made, tmp_path / "run")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped: ")]
    for part in said:
        assert part in line
    assert str(copied) not in line
    assert list(experiment.problems) == [49]
    assert sorted(experiment.scans) == list(range(50, 58))


def test_a_data_set_that_is_none(command, tmp_path):
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    empty.mkdir()
    assert f"{missing}: no such folder; expected" in sentence(command("train", **{"data.root": str(missing)}))
    assert f"{empty}: is empty; expected" in sentence(command("train", **{"data.root": str(empty)}))
    assert not (tmp_path / "run").exists()  # nothing is left that a better command would have to match


def test_a_data_set_without_a_readable_scan(command, copied):
    for path in (copied / "ct_scans").iterdir():
        path.write_bytes(b"no scan")
    assert "none of its 9 scans can be read" in sentence(command("train", **{"data.root": str(copied)}))


def test_folds_that_cannot_be(command, copied):
    assert "9 subjects found for 10 folds" in sentence(command("train", **{"data.folds": 10}))
    assert "no subject with a hemorrhage" in sentence(command("train", **{"data.folds": 7}))
    assert "config.data.folds is 2" in sentence(command("train", **{"data.folds": 2}))
    assert "expected one of unet, threshold" in sentence(command("train", method="random_forest"))


def test_a_wrong_configuration_leaves_no_trace_and_the_right_one_goes_on(command, tmp_path):
    assert command("train", **{"data.folds": 10})[0] == 2
    assert "patches" in sentence(command("train", **{"method": "unet", "patch.side": 64})).lower()
    assert command("train")[0] == 0  # another configuration than those two, in the same work directory
    assert (tmp_path / "run" / "fold_0" / "model.json").is_file()


def test_a_work_directory_of_another_configuration_is_refused_by_its_fields(command, tmp_path, copied):
    assert command("train")[0] == 0
    before = (tmp_path / "run" / "config.json").read_bytes()
    said = sentence(command("train", "--config.train.epochs=7", "--config.seed=5"))
    assert "seed (0 there, 5 here)" in said
    assert "train.epochs (2 there, 7 here)" in said
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    # Another fold, and the same data in another place, are no other configuration.
    assert command("train", "--config.fold=1", f"--config.data.root={copied}")[0] == 0


def test_splits_are_disjoint_complete_and_refused_when_tampered_with(command, tmp_path, tiny_root):
    assert command("train")[0] == 0
    path = tmp_path / "run" / "splits.json"
    record = json.loads(path.read_text())
    numbers = [subject.number for subject in read_dataset(tiny_root).subjects]
    for fold in record["folds"]:
        assert sorted(number for part in PARTS for number in fold[part]) == numbers
    assert sorted(number for fold in record["folds"] for number in fold["test"]) == numbers
    leak = record["folds"][0]["test"][0]
    record["folds"][0]["train"].append(leak)
    path.write_text(json.dumps(record))
    said = sentence(command("train", "--config.fold=1"))
    assert f"subject {leak}" in said
    assert "leak" in said


def test_notes_are_said_once_and_briefly(command, tmp_path):
    _, out, _ = command("train")
    shown = [line for line in out.splitlines() if line.startswith("note: ")]
    kept = (tmp_path / "run" / "notes.txt").read_text().splitlines()
    assert len(shown) <= setup.MAX_NOTES + 1
    assert len(set(kept)) == len(kept) >= len(shown) - 1
    assert shown[0] == f"note: {kept[0]}"
    assert sum("no mask in masks/" in line for line in kept) == 1  # of subjects 54 and 57 together


def test_notes_that_say_the_same_are_gathered():
    notes = ["subject 50: odd", "tables differ", "subject 49: odd", "fold 2: no SDH", "fold 0: no SDH", "tables differ"]
    assert setup.gather(notes) == ["subjects 49, 50: odd", "tables differ", "folds 0, 2: no SDH"]
    assert setup.gather(["subject 7: even"]) == ["subject 7: even"]


def test_the_record_gives_the_configuration_back(tiny_config, tmp_path):
    made = tiny_config(**THRESHOLD)
    setup.open_experiment(made, tmp_path / "run")
    loaded = setup.load_config(tmp_path / "run")
    assert setup.configs.digest(loaded) == setup.configs.digest(made)
    assert loaded.windows == made.windows


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"data": {"root": 3}}', '{"data": {}, "surplus": 1}'])
def test_a_record_that_cannot_be_used(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    if text == "{}":
        with pytest.raises(InputError, match=r"config\.json: does not fit"):
            setup.load_config(tmp_path)
    else:
        with pytest.raises(InputError, match=r"config\.json"):
            setup.load_config(tmp_path)


def test_folds_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("fold_10", "fold_2", "fold_0", "fold_x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").touch()
    assert [folder.name for folder in setup.fold_folders(tmp_path, "model.json")] == ["fold_0", "fold_2", "fold_10"]
