"""A second head is trained like the rest: in every mode, resumed to the same bits, and it learns a planted sub-type."""

import functools

import jax
import nibabel as nib
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ichjax import config as configs
from ichjax import config_check
from ichjax.data import dataset as datasets
from ichjax.data import loader, scan_cache
from ichjax.data.label_tables import SUBTYPES
from ichjax.data.patch_index import patch_table
from ichjax.errors import InputError, Interrupted
from ichjax.methods import registry
from ichjax.models import unet
from ichjax.ops.augment import AffineRange
from ichjax.train import epoch as epochs
from ichjax.train import loop
from ichjax.train import state as states
from ichjax.train import step as steps

pytestmark = pytest.mark.faults

SUBJECTS, SLICES = 6, 8
WEIGHT = {"train.slice_head_weight": 0.5}
STILL = {f"augment.{name}": 0.0 for name in AffineRange._fields}
PLANTED = {
    "train.learning_rate": 1e-2,
    "model.base_width": 8,
    "model.depth": 1,
    "model.dropout": 0.0,
    **STILL,
    **WEIGHT,
}
AFFINE = np.diag([-1.0, -1.0, 5.0, 1.0])


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Brains with a square bleed (IPH) or a narrow, brighter one (SDH) on half of their slices."""
    root, rng = tmp_path_factory.mktemp("planted"), np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    (root / "label_names.csv").write_text("label,name\n1,SDH\n2,IPH\n")
    for number in range(1, SUBJECTS + 1):
        hu, mask = np.full((SLICES, 32, 32), 30.0), np.zeros((SLICES, 32, 32), np.uint8)
        for d in range(SLICES):
            row, column = rng.integers(6, 20, 2)
            if d % 4 == 0:
                mask[d, row : row + 6, column : column + 6] = 2
            elif d % 4 == 1:
                mask[d, row : row + 2, column - 4 : column + 14] = 1
        hu = np.where(mask > 0, np.array([0.0, 95.0, 65.0])[mask], hu) + rng.normal(0, 3, hu.shape)
        hu[:, 0], hu[:, 1] = -1000, 1000
        for folder, array in (("images", np.rint(hu).astype(np.int16)), ("masks", mask)):
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), AFFINE), root / folder / f"{number}.nii")
    opened, problems = scan_cache.open_scans(datasets.read_dataset(root).subjects)
    assert not problems
    return opened


def test_it_learns_a_planted_sub_type(scans, tiny_config, tmp_path):
    config = tiny_config(**PLANTED, **{"train.epochs": 8})
    method = registry.make("unet", config)
    params = method.fit(scans[:4], scans[4:5], workdir=tmp_path, fold=0)
    predictions = [method.predict(method.load(tmp_path), scan.volume) for scan in scans[4:]]
    scores = np.concatenate([np.asarray(one.subtype_scores) for one in predictions])
    labels = np.concatenate([scan.slice_labels for scan in scans[4:]])
    for name in ("IPH", "SDH"):
        k = SUBTYPES.index(name)
        bleeding = labels.any(axis=1)
        assert roc_auc_score(labels[bleeding, k], scores[bleeding, k]) > 0.9  # told from the other
        assert (scores[~bleeding, k] < 0.5).all()
    bleeds = np.concatenate([np.asarray(one.slice_scores) for one in predictions])
    assert roc_auc_score(labels.any(axis=1), bleeds) > 0.99
    never = [SUBTYPES.index(name) for name in ("IVH", "SAH", "EDH")]
    assert scores[:, never].max() < 0.3
    assert method.fingerprint(params) == method.fingerprint(method.load(tmp_path))


def test_the_reader_gives_classes_to_the_head_alone(scans):
    table = patch_table(scans, side=16, stride=8)
    rows = np.flatnonzero(table.positive)[:20]
    plain = loader.PatchReader(scans, table).read(rows)["mask"]
    classes = loader.PatchReader(scans, table, classes=True).read(rows)["mask"]
    np.testing.assert_array_equal(classes > 0, plain)
    assert set(np.unique(classes)) == {0, 2, 5}


@pytest.fixture(scope="module")
def train(tiny_config, after_steps):
    """train(mode, devices): parameters after ten steps of eight patches with all kinds of classes."""
    small = {"patch.side": 8, "model.base_width": 2, "model.depth": 1, "model.norm": "none", "model.dropout": 0.5}
    config = tiny_config(**small, **WEIGHT)
    network = unet.network_from_config(config)
    start = jax.device_get(states.create(network, config, fold=0))
    optimizer = states.make_optimizer(states.make_schedule(config, 10))
    settings = steps.StepSettings(AffineRange(**config.augment), 0, accumulate=2)

    def batch_of(seed):
        rng = np.random.default_rng(seed)
        image = rng.integers(-40, 130, (8, 8, 8)).astype(np.int16)
        classes = rng.choice([1, 2, 3, 4, 5, 255], (8, 1, 1)) * (image > 90)
        index = rng.choice(1000, 8, replace=False).astype(np.int32)
        return {"image": image, "mask": classes.astype(np.uint8), "index": index, "weight": np.ones(8, np.float32)}

    @functools.cache
    def run(mode, devices):
        batches = map(batch_of, range(10))
        state = after_steps(start, batches, network, optimizer, settings, mode=mode, devices=devices)
        return jax.device_get(state.params)

    run.start = start.params
    return run


@pytest.mark.parametrize(
    ("mode", "devices"), [("jit", 4), ("pmap", 2), pytest.param("shard_map", 4, marks=pytest.mark.faults)]
)
def test_every_mode_and_number_of_devices_give_the_same_parameters(train, mode, devices):
    ours, theirs = train(mode, devices), train("jit", 1)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5), ours, theirs)
    assert (ours["slice_head"]["bias"] != train.start["slice_head"]["bias"]).all()


def test_an_interrupted_training_resumes_to_the_same_bits(scans, tiny_config, tmp_path, monkeypatch):
    config = tiny_config(**PLANTED | {"model.base_width": 2, "model.depth": 1, "model.norm": "none"})
    network = unet.network_from_config(config)
    fit = functools.partial(loop.train_fold, config, network, scans[:2], scans[2:3], fold=0)
    whole = fit(folder=tmp_path / "whole")
    run_epoch = epochs.run_epoch

    def stop_in_the_second(program, state, batches, now, **options):
        if now.step:
            raise Interrupted("stopped by the test")
        return run_epoch(program, state, batches, now, **options)

    with monkeypatch.context() as patch:
        patch.setattr(epochs, "run_epoch", stop_in_the_second)
        with pytest.raises(Interrupted):
            fit(folder=tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, fit(folder=tmp_path / "parts").params, whole.params)


def test_the_weight_is_part_of_the_digest_and_not_negative(tiny_config):
    plain, headed = tiny_config(), tiny_config(**WEIGHT)
    assert configs.digest(plain) != configs.digest(headed)
    with pytest.raises(InputError, match=r"config\.train\.slice_head_weight is -1.0; expected at least 0"):
        config_check.check(tiny_config(**{"train.slice_head_weight": -1.0}))
