"""Two stages: priors out of fold, both networks trained through `crossval`, their prediction, refused options."""

import dataclasses
import itertools
import json
import shutil
import types

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest

import ichjax
import launch
from ichjax.data import ct_ich_nifti, regrid, scan_cache
from ichjax.data.label_tables import SUBTYPES
from ichjax.errors import InputError
from ichjax.methods import registry, subtypes
from ichjax.methods.base import Prediction
from ichjax.methods.patch_network import PatchNetworkMethod
from ichjax.scan.nifti import read_nifti

pytestmark = [pytest.mark.xdist_group("subtypes"), pytest.mark.methods]
FOLDERS = ("stage_one", "inner_0", "inner_1")
SMALL = {
    "method": "subtypes",
    "compare_with": (),
    "model.encoder": "residual",
    "model.norm": "none",
    "model.base_width": 2,
    "model.depth": 1,
    "model.blocks": (1, 1),
    "train.epochs": 1,
    "train.examples_per_epoch": 8,
    "train.dice_weight": 1.0,
    "folds": (0,),
}


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)[0]


@pytest.fixture(scope="module")
def run(tiny_config, config_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("subtypes")
    path = config_file(folder, tiny_config(**SMALL | {"predict.inside_skull": True}))
    assert launch.main(["crossval", f"--config={path}", f"--workdir={folder / 'run'}"]) == 0
    return folder / "run"


def test_both_stages_are_trained_and_scored(run):
    fold = run / "fold_0"
    assert all((folder / "model.json").is_file() for folder in (fold, *map(fold.joinpath, FOLDERS)))
    splits = json.loads((run / "splits.json").read_text())["folds"][0]
    stored = {int(path.stem) for path in (fold / "priors").glob("*.npy")}
    assert stored == {*splits["train"], *splits["validation"]}
    results = json.loads((run / "results.json").read_text())
    assert results["title"] == "U-Net for sub-types"
    assert results["chosen_by_fold"][0]["stage_one_epoch"] == 1
    assert {np.shape(row["subtype_scores"]) for row in json.loads((fold / "scores.json").read_text())["subjects"]} == {
        (4, 5)
    }


def test_a_prediction_has_a_probability_of_each_class(run, tiny_root):
    trained, scan = ichjax.load_run(run), tiny_root / "ct_scans" / "049.nii"
    params, method, volume = trained.params[0], trained.method, read_nifti(scan)
    prediction = method.predict(params, volume)
    classes = prediction.class_probability
    assert isinstance(classes, jax.Array)
    assert (classes.shape, classes.dtype) == ((*volume.hu.shape, 1 + len(SUBTYPES)), jnp.float32)
    np.testing.assert_allclose(classes.sum(axis=-1), 1, atol=1e-6)
    assert classes.min() >= 0
    np.testing.assert_allclose(prediction.probability, 1 - classes[..., 0], atol=1e-7)
    np.testing.assert_array_equal(prediction.subtype_scores, classes[..., 1:].max(axis=(1, 2)))
    # Restricted as stage one is.
    assert prediction.skull_found
    first = PatchNetworkMethod.predict(method._stage_one, params.stage_one, volume)
    outside = (np.asarray(first.probability) == 0) & (np.asarray(first.unrestricted) > 0)
    assert outside.any()
    assert (np.asarray(classes)[outside] == np.eye(6)[0]).all()
    assert (np.asarray(prediction.unrestricted)[outside] > 0).all()
    method.announce(params, [volume], "predicting")
    assert method.slice_program(params, regrid.own_grid(volume)) is None


def test_predict_writes_the_subtypes_of_its_mask(run, tiny_root, tmp_path):
    scan = next((tiny_root / "ct_scans").glob("*.nii"))
    words = [f"--workdir={run}", f"--input={scan}", f"--output={tmp_path}", "--config.predict.threshold=0.001"]
    assert launch.main(["predict", *words, "--subtypes"]) == 0
    folder = next(tmp_path.glob("*/prediction.json")).parent
    mask, classes = (np.asarray(nibabel.load(folder / name).dataobj) for name in ("mask.nii.gz", "subtypes.nii.gz"))
    np.testing.assert_array_equal(classes > 0, mask > 0)
    assert classes.any()
    volume_ml = json.loads((folder / "prediction.json").read_text())["subtypes"]["volume_ml"]
    assert list(volume_ml) == list(SUBTYPES)


def test_stage_two_reads_the_probability_of_stage_one(run, scans):
    trained = ichjax.load_run(run)
    params, method, volume = trained.params[0], trained.method, scans[0].volume
    prediction = method.predict(params, volume)
    first = np.asarray(method._stage_one.predict(params.stage_one, volume).probability)
    prior = jnp.asarray(np.rint(first * 250).astype(np.int16) * 4)
    np.testing.assert_array_equal(method.predict(params, volume, prior=prior).probability, prediction.probability)
    without = method.predict(params, volume, prior=jnp.zeros_like(prior))
    assert (without.unrestricted != prediction.unrestricted).any()


def test_the_fingerprint_covers_both_stages(run):
    trained = ichjax.load_run(run)
    params, method = trained.params[0], trained.method
    prints = {method.fingerprint(params)}
    changed = lambda weights: jax.tree.map(lambda x: x + 1, weights)  # noqa: E731
    prints.add(method.fingerprint(dataclasses.replace(params, weights=changed(params.weights))))
    first = dataclasses.replace(params.stage_one, weights=changed(params.stage_one.weights))
    prints.add(method.fingerprint(dataclasses.replace(params, stage_one=first)))
    assert len(prints) == 3


def test_an_interrupted_fold_goes_on_to_the_same_weights(run, tiny_root, tmp_path, scans, capsys):
    """Without stage two, the second inner network and a damaged prior: the rest is only read."""
    method, fold = ichjax.load_run(run).method, shutil.copytree(run / "fold_0", tmp_path / "fold_0")
    expected, before = method.load(fold), {path.name: path.read_bytes() for path in (fold / "priors").iterdir()}
    splits = json.loads((run / "splits.json").read_text())["folds"][0]
    part = lambda name: [scan for scan in scans if scan.number in splits[name]]  # noqa: E731
    for name in ("weights", "checkpoints", "inner_1"):
        shutil.rmtree(fold / name)
    (fold / "model.json").unlink()
    next((fold / "priors").iterdir()).write_bytes(b"damaged")
    params = method.fit(part("train"), part("validation"), workdir=fold, fold=0)
    jax.tree.map(np.testing.assert_array_equal, params.weights, expected.weights)
    assert method.fingerprint(params) == method.fingerprint(expected)
    assert {path.name: path.read_bytes() for path in (fold / "priors").iterdir()} == before
    assert capsys.readouterr().out.count("1/1") == 2  # epochs


def test_no_prior_is_of_a_network_that_was_trained_on_its_scan(tiny_config, scans, tmp_path, monkeypatch):
    """With a first stage that remembers its training scans: priors 1 of these, 1/2 of validation scans, 0 of others."""
    method = registry.make("subtypes", tiny_config(**SMALL | {"options.inner_folds": 3}))
    train, valid = scans[:7], scans[7:]
    fits, stored = [], {}

    class Remembers:
        def fit(self, train, valid, *, workdir, fold):
            fits.append(([scan.number for scan in train], [scan.number for scan in valid], workdir.name))
            names = {scan.volume.name: 1.0 for scan in train} | {scan.volume.name: 0.5 for scan in valid}
            return types.SimpleNamespace(grid=regrid.own_grid(train[0].volume), names=names)

        def predict(self, params, volume):
            return Prediction(jnp.full(volume.hu.shape, params.names.get(volume.name, 0.0)))

    def second(self, train, valid, *, workdir, fold):
        grid = regrid.own_grid(train[0].volume)
        stored.update({scan.number: self._on_grid(scan, grid, workdir).prior for scan in (*train, *valid)})
        raise InterruptedError

    monkeypatch.setattr(method, "_stage_one", Remembers())
    monkeypatch.setattr(PatchNetworkMethod, "fit", second)
    with pytest.raises(InterruptedError):
        method.fit(train, valid, workdir=tmp_path, fold=0)
    numbers = [scan.number for scan in train]
    assert fits[0] == (numbers, [scan.number for scan in valid], "stage_one")
    assert [name for *_, name in fits[1:]] == ["inner_0", "inner_1", "inner_2"]
    left_out = [number for trained, *_ in fits[1:] for number in numbers if number not in trained]
    assert sorted(left_out) == numbers  # each once
    assert all(validated == fits[0][1] for _, validated, _ in fits)
    assert all((stored[number] == 0).all() for number in numbers)
    assert all((stored[scan.number] == 125).all() for scan in valid)
    assert all(isinstance(prior, np.memmap) and prior.dtype == np.uint8 for prior in stored.values())


def test_inner_parts_are_balanced_seeded_and_independent_of_order(scans):
    parts = subtypes.inner_parts(scans, 2, seed=0, fold=0)
    numbers = [[scan.number for scan in part] for part in parts]
    assert sorted(itertools.chain(*numbers)) == [scan.number for scan in scans]
    assert abs(len(parts[0]) - len(parts[1])) <= 1
    bleeding = [sum(bool(scan.truth_px.any()) for scan in part) for part in parts]
    assert abs(bleeding[0] - bleeding[1]) <= 1
    edh = SUBTYPES.index("EDH")
    assert [sum(scan.slice_labels[:, edh].any() for scan in part) for part in parts] == [1, 1]
    again = subtypes.inner_parts(scans[::-1], 2, seed=0, fold=0)
    assert [[scan.number for scan in part] for part in again] == numbers
    others = {str([[s.number for s in p] for p in subtypes.inner_parts(scans, 2, seed=k, fold=0)]) for k in range(5)}
    assert len(others) > 1


def test_a_prior_is_on_the_grid_of_training(scans, tmp_path, tiny_config, monkeypatch):
    method = registry.make("subtypes", tiny_config(**SMALL))
    probability = jnp.asarray(scans[0].mask, jnp.float32)
    monkeypatch.setattr(method, "_stage_one", types.SimpleNamespace(predict=lambda *_: Prediction(probability)))
    grid = regrid.Geometry(16, 16, 12.0, 12.0)
    method._store_priors(None, scans[:1], grid, tmp_path / "priors")
    coarse = regrid.resample_to_grid(scans[0], grid)
    prior = method._on_grid(scans[0], grid, tmp_path).prior
    assert prior.shape == coarse.mask.shape
    np.testing.assert_array_equal(prior >= 125, coarse.mask > 0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "options.inner_fold",
            3,
            r"config\.options\.inner_fold is unknown to this method; expected one of inner",
        ),
        ("options.inner_folds", 1, r"config\.options\.inner_folds is 1; expected a whole number, 2 or more"),
        ("options.prior_blank", 1.5, r"config\.options\.prior_blank is 1\.5; expected 0 to 1"),
        ("model.encoder", "plain", r"config\.model\.encoder is 'plain'; expected 'residual'"),
        ("train.focal_gamma", 2.0, r"config\.train\.focal_gamma is 2\.0; expected 0"),
        ("predict.quantize_8bit", True, r"config\.predict\.quantize_8bit is True; expected False"),
        ("predict.min_max_stretch", True, r"config\.predict\.min_max_stretch is True; expected False"),
        ("data.splits", "slice_split", r"config\.data\.splits is 'slice_split'; expected 'paper' or 'stratified'"),
    ],
)
def test_what_it_cannot_follow_is_refused(tiny_config, field, value, message):
    with pytest.raises(InputError, match=message):
        registry.make("subtypes", tiny_config(**SMALL | {field: value}))


def test_fewer_training_scans_than_parts_are_refused(tiny_config, scans, tmp_path):
    method = registry.make("subtypes", tiny_config(**SMALL))
    with pytest.raises(InputError, match=r"fold 0 has 1 training scans; expected at least .*inner_folds, 2"):
        method.fit(scans[:1], scans[1:2], workdir=tmp_path, fold=0)
