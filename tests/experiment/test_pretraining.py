"""Pre-training on slice labels in the RSNA layout, segmentation that starts from it, and the refusal of its scans."""

import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

import launch
from ichjax.data import (
    ct_ich_nifti,
    labeled_stacks,
    leak_guard,
    patch_index,
    rsna,
    rsna_index,
    rsna_reader,
    scan_cache,
    stacks,
    weak_stacks,
)
from ichjax.errors import InputError
from ichjax.experiment import pretraining
from ichjax.methods.recurrent_unet import RecurrentUNetMethod
from ichjax.models.sequence_network import Decoded
from ichjax.phantom import dataset as phantoms

pytestmark = pytest.mark.methods


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """12 phantoms in the RSNA layout."""
    folder = tmp_path_factory.mktemp("rsna") / "set"
    phantoms.write_dataset(folder, subjects=12, seed=5, preset="demo", layout="rsna")
    return folder


FIELDS = {
    "data.folds": 3,
    "grid.side": 32,
    "model.encoder": "residual",
    "model.norm": "instance",
    "model.base_width": 2,
    "model.depth": 1,
    "model.blocks": (1, 1),
    "train.batch_size": 4,
    "train.epochs": 2,
}


@pytest.fixture(scope="module")
def run(root, tiny_config, config_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    config = tiny_config(**FIELDS | {"data.root": str(root)})
    config.options.pretraining = {"stack": 6, "hidden": 3}
    path = config_file(folder, config)
    assert launch.main(["pretrain", f"--config={path}", f"--workdir={folder / 'run'}"]) == 0
    return path, folder / "run"


def test_scores_log_and_record_of_scans(run, root, capsys):
    path, workdir = run
    scores = json.loads((workdir / pretraining.PRETRAINING_FILE).read_text())
    assert 0 < scores["log_loss"] < 1
    assert scores["slices"] > scores["scans"] > 0
    assert set(scores["slice_area"]) == set(scores["scan_area"]) == {"IVH", "IPH", "SAH", "EDH", "SDH", "any"}
    assert len((workdir / "fold_0" / "metrics.jsonl").read_text().splitlines()) == 2
    seen = leak_guard.read(workdir / leak_guard.SEEN_FILE)
    assert seen.scans + scores["scans"] == 12
    assert launch.main(["pretrain", f"--config={path}", f"--workdir={workdir}"]) == 0  # finished: only scored again
    again = json.loads((workdir / pretraining.PRETRAINING_FILE).read_text())
    assert again["log_loss"] == scores["log_loss"]


def test_a_batch_has_the_slices_and_labels_of_its_scans(root):
    index = rsna_index.open_index(root)
    reader = labeled_stacks.LabeledStackReader(rsna_reader.ScanReader(index, depth=6, side=32))
    batch = reader.read(np.array([3, 0]), size=3)
    for k, window in enumerate((3, 0)):
        numbers = rsna_reader.ScanReader(index, depth=6, side=32).slice_numbers(window)
        assert batch["slices"][k] == len(numbers) <= 6
        np.testing.assert_array_equal(batch["labels"][k, : len(numbers)], index.slices["labels"][numbers])
        assert (batch["labels"][k, len(numbers) :] == -1).all()
    assert batch["weight"].tolist() == [1, 1, 0]
    assert (batch["labels"][2] == -1).all()
    assert not batch["has_mask"].any()
    order = labeled_stacks.LabeledOrder(np.arange(12), 0, limit=8)
    assert (order.examples, order.steps(4)) == (8, 2)
    assert sorted(order.order(1)) == list(range(12))


def test_weighted_log_loss_by_hand():
    logits = np.zeros((3, 6))
    logits[0, 5] = np.log(3.0)
    truth = np.zeros((3, 6), bool)
    truth[0, 5] = True
    half = np.log(2.0)
    expected = (5 * half + 2 * (np.log(4 / 3) + 2 * half) / 3) / 7
    assert pretraining.weighted_log_loss(logits, truth) == pytest.approx(expected)


def test_a_unet_starts_from_it(run, tiny_config, config_file, tmp_path, capsys):
    config = tiny_config(**FIELDS | {"init_from": str(run[1]), "train.epochs": 1, "compare_with": (), "patch.side": 16})
    path = config_file(tmp_path, config)
    assert launch.main(["train", f"--config={path}", f"--workdir={tmp_path / 'run'}"]) == 0
    printed = capsys.readouterr().out
    assert "arrays loaded" in printed
    assert "init_from: not loaded, not there: decoder1_conv1" in printed


def test_scans_that_were_seen_are_refused(run, root, tiny_config, config_file, tmp_path, capsys):
    """The same phantoms with masks: they are known by their pixels."""
    phantoms.write_dataset(tmp_path / "own", subjects=12, seed=5, preset="demo", layout="own")
    fields = {"data.root": str(tmp_path / "own"), "init_from": str(run[1]), "compare_with": ()}
    path = config_file(tmp_path, tiny_config(**FIELDS | fields))
    assert launch.main(["train", f"--config={path}", f"--workdir={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err
    assert "test scans were seen in pre-training (subjects " in said
    assert not (tmp_path / "run" / "fold_0" / "checkpoints").exists()


def test_a_work_directory_belongs_to_its_configuration(run, config_file, tiny_config, root, tmp_path, capsys):
    config = tiny_config(**FIELDS | {"data.root": str(root)})
    config.options.pretraining = {"stack": 6, "hidden": 4}
    path = config_file(tmp_path, config)
    assert launch.main(["pretrain", f"--config={path}", f"--workdir={run[1]}"]) == 2
    assert (
        "holds a run of another configuration, which differs in options.pretraining.hidden" in capsys.readouterr().err
    )


def test_a_set_with_masks_is_refused(tiny_config, config_file, tmp_path, capsys):
    path = config_file(tmp_path, tiny_config(**FIELDS))
    assert launch.main(["pretrain", f"--config={path}", f"--workdir={tmp_path / 'run'}"]) == 2
    assert "stage_2_train.csv" in capsys.readouterr().err


def test_scans_with_labels_alone_join_those_with_masks(root, tiny_root, tiny_config, config_file, tmp_path, capsys):
    scans = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)[0][:3]
    table = stacks.stack_table(scans, length=3)
    masked = stacks.StackReader(scans, table, length=3, classes=False)
    labeled = labeled_stacks.LabeledStackReader(rsna_reader.ScanReader(rsna_index.open_index(root), depth=3, side=32))
    order = weak_stacks.WeakOrder(patch_index.Epochs(table, "matched", 0, 0), np.arange(len(labeled.scans.first)))
    rows = order.order(0)
    assert sorted(rows[rows < len(table)]) == sorted(order.epochs.order(0))
    assert len(set(rows)) == len(rows) == order.examples == order.epochs.examples + order.drawn
    batch = weak_stacks.WeakStackReader(masked, labeled).read(rows, size=len(rows) + 1)
    assert batch["index"].tolist() == [*rows, 0]
    for k, row in enumerate(rows):
        alone = masked.read(rows[k : k + 1]) if row < len(table) else labeled.read(rows[k : k + 1] - len(table))
        assert batch["has_mask"][k] == (row < len(table))
        for name in ("image", "mask", "slices", "weight"):
            np.testing.assert_array_equal(batch[name][k], alone[name][0])
        expected = -np.ones((3, 6)) if row < len(table) else alone["labels"][0]
        np.testing.assert_array_equal(batch["labels"][k], expected)

    config = tiny_config(**FIELDS | {"method": "recurrent_unet", "compare_with": (), "train.epochs": 1})
    small = {"grid": {"side": 32}, "train": {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}}
    config.options.recurrent_unet = {"kind": "none", "stack": 3, "weak_root": str(root), **small}
    path = config_file(tmp_path, config)
    assert launch.main(["train", f"--config={path}", f"--workdir={tmp_path / 'run'}"]) == 0
    assert f"of {len(labeled.scans.first)} stacks of 12 scans with slice labels join in" in capsys.readouterr().out
    seen = RecurrentUNetMethod(config).other_scans()
    assert seen.scans == 12
    assert leak_guard.find(tmp_path / "run" / "fold_0" / "weights") == seen  # for whoever starts from this run
    config.parallel_folds = 2
    with pytest.raises(InputError, match=r"parallel_folds is 2 and .*weak_root is set"):
        RecurrentUNetMethod(config)


def test_scores_are_of_every_slice_of_long_scans(run, root):
    """Each slice once, with the mean of the windows that it is in, whatever the order of windows."""
    index = rsna_index.open_index(root)
    reader = labeled_stacks.LabeledStackReader(rsna_reader.ScanReader(index, depth=4, side=32))
    assert (index.scans["slices"] > 4).all()

    class Network:
        """Its logits are the mean HU of a slice, and the number of its place in the window."""

        def images(self, image):
            return image

        def decoded(self, params, image, slices):
            real = jnp.arange(4)[None] < slices[:, None]
            mean = jnp.moveaxis(image, -1, 1).reshape(-1, 32 * 32).mean(axis=1) / 1000
            place = jnp.tile(jnp.arange(4.0), len(image))
            return Decoded(None, jnp.tile(mean[:, None], 6), None, (jnp.tile(place[:, None], 6),)), real

    config = types.SimpleNamespace(train=types.SimpleNamespace(batch_size=3))
    test = np.array([2, 7])
    scores = pretraining._scores(config, Network(), {}, reader, test)
    numbers = np.concatenate([np.asarray(index.slice_numbers(scan)) for scan in test])
    assert scores["slices"] == len(numbers)
    truth = index.slices["labels"][numbers].astype(bool)
    images = np.stack([rsna_reader.to_square(rsna.read_slice(index, k), 32) for k in numbers])
    mean = np.repeat(images.mean(axis=(1, 2))[:, None] / 1000, 6, axis=1)
    assert scores["log_loss"] == pytest.approx(pretraining.weighted_log_loss(mean, truth), rel=1e-5)
    places = {number: [] for number in numbers.tolist()}
    for window in reader.scans.windows_of(test):
        for place, number in enumerate(reader.scans.slice_numbers(window).tolist()):
            places[number].append(place)
    own = np.repeat([[np.mean(places[number])] for number in numbers.tolist()], 6, axis=1)
    assert scores["log_loss_own_head"] == pytest.approx(pretraining.weighted_log_loss(own, truth), rel=1e-5)
