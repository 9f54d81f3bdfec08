"""The U-Net method: fit, load, predict on any grid; missing or damaged files are reported."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.errors import InputError
from ichjax.methods import patch_network, registry


@pytest.fixture(scope="module")
def scans(tiny_root):
    return scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:4])[0]


def cropped(scan, height, width):
    """The scan without its last rows and columns."""
    volume = dataclasses.replace(scan.volume, hu=scan.volume.hu[:, :height, :width])
    return dataclasses.replace(
        scan,
        volume=volume,
        mask=scan.mask[:, :height, :width],
        classes=scan.classes[:, :height, :width],
        digest=f"{height} {width}",
    )


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(**{"model.base_width": 2, "model.depth": 1, "model.norm": "none", "train.epochs": 1})


@pytest.fixture(scope="module")
def fitted(config, scans, tmp_path_factory):
    """(method, parameters, folder) after one epoch."""
    method, folder = registry.make("unet", config), tmp_path_factory.mktemp("fold_0")
    return method, method.fit(scans[:3], scans[3:], workdir=folder, fold=0), folder


def test_load_returns_what_fit_returned(fitted, scans, monkeypatch):
    method, params, folder = fitted
    assert params.grid == (32, 32, 6.0, 6.0)
    assert params.chosen["epoch"] == 1
    assert json.loads((folder / "model.json").read_text())["chosen"] == params.chosen == method.chosen(params)
    monkeypatch.setattr(patch_network, "train_fold", None)  # a finished fold is only read
    for loaded in (method.load(folder), method.fit(scans[:3], scans[3:], workdir=folder, fold=0)):
        jax.tree.map(np.testing.assert_array_equal, loaded.weights, params.weights)
        assert (loaded.grid, loaded.chosen) == (params.grid, params.chosen)
        np.testing.assert_array_equal(
            method.predict(loaded, scans[0].volume).probability, method.predict(params, scans[0].volume).probability
        )


def test_a_record_without_the_chosen_epoch_is_refused(fitted, tmp_path):
    method, _, folder = fitted
    copy = shutil.copytree(folder, tmp_path / "fold_0")
    record = json.loads((copy / "model.json").read_text())
    del record["chosen"]
    (copy / "model.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"the trained weights cannot be read \('chosen'\)"):
        method.load(copy)


def test_a_prediction_is_on_the_scans_own_grid(fitted, scans):
    method, params, _ = fitted
    volume = scans[0].volume
    wide = dataclasses.replace(volume, hu=np.pad(volume.hu, ((0, 0), (4, 4), (0, 8)), constant_values=-1000))
    for own in (volume, dataclasses.replace(volume, hu=volume.hu[:3]), wide):
        prediction = method.predict(params, own)
        assert prediction.probability.shape == own.hu.shape
        assert prediction.probability.dtype == jnp.float32
        assert float(prediction.probability.min()) >= 0.0
        assert float(prediction.probability.max()) <= 1.0
        assert prediction.slice_scores is prediction.subtype_scores is None


def test_it_prints_an_estimate_of_the_time(fitted, scans, capsys):
    method, params, _ = fitted
    method.announce(params, [scan.volume for scan in scans], "fold 0: predicting 4 scans")
    assert "fold 0: predicting 4 scans: 16 slices at " in capsys.readouterr().out
    method.announce(params, [], "nothing")
    assert capsys.readouterr().out == ""


def test_post_processing_follows_the_configuration(config):
    post = registry.make("unet", config).post
    assert (post.threshold, post.closing_px, post.opening_px) == (0.5, 2, 2)
    assert post._replace(threshold=0.55).all_thresholds == (0.5, 0.55, 0.6, 0.7, 0.8, 0.9)


def test_a_scan_of_another_matrix_is_resampled_to_the_common_grid(config, scans, tmp_path, monkeypatch):
    seen = {}

    def train(config, network, train, valid, **where):
        seen.update(train=train, valid=valid)
        raise InterruptedError

    monkeypatch.setattr(patch_network, "train_fold", train)
    mixed = [scans[0], cropped(scans[1], 24, 32), *scans[2:]]
    with pytest.raises(InterruptedError):
        registry.make("unet", config).fit(mixed, scans, workdir=tmp_path, fold=0)
    assert [scan.volume.hu.shape[1:] for scan in seen["train"]] == [(32, 32)] * 4
    assert seen["train"][0] is scans[0]


def test_a_side_that_cannot_be_pooled_is_refused(tiny_config):
    with pytest.raises(InputError, match=r"config\.patch\.side is 20; expected a multiple of 8"):
        registry.make("unet", tiny_config(**{"patch.side": 20, "model.depth": 3}))


def test_an_uneven_grid_and_an_empty_fold_are_input_errors(config, scans, tmp_path):
    method, odd = registry.make("unet", config), cropped(scans[1], 32, 31)
    with pytest.raises(InputError, match="do not cover a slice of 32 x 31 evenly"):
        method.fit([odd], [odd], workdir=tmp_path, fold=0)
    with pytest.raises(InputError, match="no scan could be read"):
        method.fit([], [], workdir=tmp_path, fold=0)


def test_a_network_on_another_grid_predicts_on_the_scans_own_grid(config, scans, tmp_path):
    config = config.copy_and_resolve_references()
    config.grid.side, config.patch.side, config.patch.stride = 16, 8, 4
    method = registry.make("unet", config)
    params = method.fit(scans[:3], scans[3:], workdir=tmp_path, fold=0)
    assert params.grid == (16, 16, 12.0, 12.0)
    assert params.trained_on.pixel_mm == (6.0, 6.0)
    assert method.load(tmp_path).trained_on == params.trained_on
    assert method.predict(params, scans[0].volume).probability.shape == scans[0].volume.shape


def test_whole_slices_with_a_hemorrhage_as_in_experiment_2(tiny_config, scans, tmp_path):
    """A small configs/paper_full_slice.py: one patch per slice, without the border."""
    fields = {"model.base_width": 2, "model.depth": 2, "model.norm": "none", "model.head": "paper", "train.epochs": 1}
    fields |= {"grid.side": 24, "grid.border": 4, "patch.side": 24, "patch.stride": 24, "train.batch_size": 4}
    config = tiny_config(**fields, **{"train.slices": "hemorrhage", "train.negatives": "none"})
    method = registry.make("unet", config)
    params = method.fit(scans[:3], scans[3:], workdir=tmp_path, fold=0)
    assert params.grid == (24, 24, 6.0, 6.0)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["step"] == 5 // 4  # 2 + 3 slices of the training scans have a hemorrhage
    probability = np.asarray(method.predict(params, scans[0].volume).probability)
    assert probability.shape == (4, 32, 32)
    assert not probability[:, :4].any()  # the border
    assert not probability[:, :, -4:].any()


def test_options_of_the_authors_code_follow_the_configuration(fitted, config, scans):
    method, params, _ = fitted
    plain = np.asarray(method.predict(params, scans[0].volume).probability)
    for field in ("patch.corner_pixel", "predict.min_max_stretch", "predict.quantize_8bit"):
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict({field: True})
        result = np.asarray(registry.make("unet", changed).predict(params, scans[0].volume).probability)
        assert (result != plain).any(), field
        assert result.min() >= 0.0
        assert result.max() <= 1.0


def test_missing_or_damaged_files_are_input_errors(fitted, tmp_path):
    method, _, folder = fitted
    with pytest.raises(InputError, match=r"no finished fold; expected model.json and weights/"):
        method.load(tmp_path)
    (tmp_path / "model.json").write_bytes((folder / "model.json").read_bytes())
    with pytest.raises(InputError, match="weights"):
        method.load(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InputError, match="the trained weights cannot be read"):
        method.load(tmp_path)


@pytest.mark.parametrize(("limit", "expected"), [(0, 0), (30, 1), (1440, 18)])
def test_a_limit_of_patches_becomes_one_of_slices_and_never_none(tiny_config, limit, expected):
    """A slice of 576 pixels has the area of 81 patches of 64."""
    config = tiny_config(**{"grid.side": 576, "patch.side": 64, "train.examples_per_epoch": limit})
    assert registry.make("full_slices", config).config.train.examples_per_epoch == expected
