"""Each network of the literature, small: resume, gradients, devices, a planted hemorrhage, one slice and 600."""

import dataclasses
import functools
import pathlib

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.methods import registry
from ichjax.ops.augment import AffineRange
from ichjax.train import fold, parallel
from ichjax.train import state as states
from ichjax.train import step as steps

pytestmark = [pytest.mark.xdist_group("networks"), pytest.mark.methods]  # each is trained once

SLICES, VOLUMES = {"grid": {"side": 32}}, {"grid": {"side": 32}, "depth": 4, "stack": 4}
PATCHES = {"grid": {"side": 0}, "patch": {"side": 16, "stride": 8}}
TINY = {
    "kuo": PATCHES | {"model": {"base_width": 1, "neighbors": 1}},
    "kuang": PATCHES | {"outer": 2, "inner": 20, "block": 1, "start": 0.6, "b": (0.3,), "model": {"depth": 1}},
    "cho": SLICES | {"classifier_width": 4, "pools": 2, "head": 8, "gates": (0.0, 0.5)},
    "chang": SLICES
    | {
        "widths": (4, 4, 4, 4), "features": 4, "hidden": 8, "mask_convolutions": 1, "candidates": 24, "proposals": 6,
        "accepted": 3, "true_boxes": 4,
    },
    "prevedello": SLICES | {"width": 4},
    "chilamkurthy": SLICES | {"width": 4},
    "lee": SLICES | {"width": 4, "members": ("resnet18",)},
    "ye": SLICES | {"width": 4, "hidden": 4, "stack": 2},
    "grewal": SLICES | {"growth": 4, "layers": 1, "hidden": 4, "stack": 2},
    "recurrent_unet": SLICES | {"hidden": 2, "stack": 3},
    "arbabshirani": VOLUMES | {"widths": (4, 4, 4, 4, 4), "hidden": 4},
    "jnawali": VOLUMES
    | {
        "alex_widths": (4, 4, 4, 4, 4), "inception_stem": 4, "inception_levels": ((32,), (32,)),
        "shallow_widths": (4, 4, 4), "hidden": 4,
    },
}  # fmt: skip
EPOCHS, MORE_EPOCHS, KILLED_AFTER = 10, {"chang": 40}, 5
# The others learn labels of slices or scans, of which five scans are too few to tell where the blood is.
SEGMENTING = ("kuo", "kuang", "cho", "chang", "recurrent_unet")


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)[0]


def make(tiny_config, name):
    config = tiny_config(**{"predict.inside_skull": False, "model.norm": "instance"})
    train = {
        "epochs": MORE_EPOCHS.get(name, EPOCHS),
        "batch_size": 4,
        "learning_rate": 0.02,
        "ema_decay": 0.0,
        "schedule": "constant",
        "warmup_steps": 0,
        "clip_norm": 0.0,
    }
    config.options[name] = TINY[name] | {"train": train}
    return registry.make(name, config)


@pytest.fixture(scope="module", params=TINY)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(name, tiny_config, scans, tmp_path_factory):
    """(method, parameters, folder) after training on five scans, four of which bleed."""
    method, folder = make(tiny_config, name), tmp_path_factory.mktemp(name)
    return method, method.fit(scans[:5], scans[5:7], workdir=folder, fold=0), folder


def of_depth(volume, depth):
    """The scan with so many slices, repeated from the first on."""
    origins = volume.slice_origins_mm[:1] + 5.0 * np.arange(depth)[:, None] * volume.normal
    return dataclasses.replace(volume, hu=np.resize(volume.hu, (depth, *volume.hu.shape[1:])), slice_origins_mm=origins)


def test_a_killed_training_resumes_to_the_same_bits(fitted, scans, tmp_path, monkeypatch):
    method, params, _ = fitted
    with monkeypatch.context() as patch:
        patch.setattr(fold, "report_epoch", functools.partial(_kill_at, KILLED_AFTER))
        with pytest.raises(Killed):
            method.fit(scans[:5], scans[5:7], workdir=tmp_path, fold=0)
    again = method.fit(scans[:5], scans[5:7], workdir=tmp_path, fold=0)
    jax.tree.map(np.testing.assert_array_equal, again.weights, params.weights)
    assert method.fingerprint(again) == method.fingerprint(params)


def _kill_at(epoch, fold, row, *_):
    if row["epoch"] == epoch:
        raise Killed


def test_a_finished_fold_is_only_read(fitted, monkeypatch):
    method, params, folder = fitted
    monkeypatch.setattr(type(method), "train", None)
    assert method.fingerprint(method.fit([], [], workdir=folder, fold=0)) == method.fingerprint(params)


def test_each_parameter_has_a_gradient_and_one_and_four_devices_agree(name, tiny_config, scans):
    method = make(tiny_config, name)
    network, config = method.network, method.config
    on_grid = method._on_common_grid(scans[:5], scans[5:7], pathlib.Path())[1]
    reader, _ = fold.examples(config, network, on_grid, "matched", 0, classes=network.learns_classes)
    batch = reader.read(np.flatnonzero(reader.table.positive)[:4])
    rng, start = np.random.default_rng(0), jax.device_get(states.create(network, config, fold=0))
    # Away from the start, where a head of zeros hides the gradient of all below it.
    start = start.replace(params=jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(x.dtype), start.params))
    optimizer = states.make_optimizer(states.make_schedule(config, 10), states.optimizer_settings(config))
    settings, results = steps.StepSettings(AffineRange(**config.augment), 0), []
    make_step = functools.partial(steps.make_train_step, network, optimizer, settings)
    for devices in (1, 4):
        mesh = parallel.make_mesh(jax.devices()[:devices])
        step = parallel.compile_step(make_step, mode="jit", mesh=mesh, grouped=False)
        state, metrics = step(parallel.replicate(start, mesh), parallel.shard_batch(batch, mode="jit", mesh=mesh))
        results.append(jax.device_get((state.params, metrics["loss"], metrics["gradient_norm"])))
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4)
    np.testing.assert_allclose(results[0][2], results[1][2], rtol=1e-3)
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), start.params, results[0][0])
    assert [jax.tree_util.keystr(path) for path, by in jax.tree_util.tree_leaves_with_path(moved) if by == 0] == []


@pytest.mark.parametrize("depth", [1, 600])
def test_one_slice_and_600_are_predicted(fitted, scans, depth):
    method, params, _ = fitted
    volume = of_depth(scans[1].volume, depth)
    prediction = method.predict(params, volume)
    probability = np.asarray(prediction.probability)
    assert probability.shape == volume.hu.shape
    assert np.isfinite(probability).all()
    assert 0.0 <= probability.min() <= probability.max() <= 1.0
    if prediction.subtype_scores is not None:
        scores = np.column_stack([prediction.subtype_scores, prediction.slice_scores])
        assert scores.shape == (depth, 6)
        assert 0.0 <= scores.min() <= scores.max() <= 1.0
    if prediction.scan_scores is not None:
        assert prediction.scan_scores.shape == (6,)
    if method.segments_subtypes:
        classes = np.asarray(prediction.class_probability)
        np.testing.assert_allclose(classes.sum(axis=-1), 1.0, atol=1e-5)
        np.testing.assert_allclose(1.0 - classes[..., 0], probability, atol=1e-5)


def test_planted_blood_is_where_the_probability_is_high(name, fitted, scans):
    if name not in SEGMENTING:
        pytest.skip("learns labels alone")
    method, params, _ = fitted
    predicted = np.concatenate([np.asarray(method.predict(params, scan.volume).probability).ravel() for scan in scans])
    truth = np.concatenate([np.asarray(scan.mask).ravel() > 0 for scan in scans])
    assert roc_auc_score(truth, predicted) > 0.7
