"""Training on scans that the devices hold: the batches and the bits of the host's path, on any number of devices."""

import dataclasses
import functools
import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ichjax import xla
from ichjax.data import loader
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.errors import InputError, Interrupted
from ichjax.models.network import Network
from ichjax.ops.augment import AffineRange
from ichjax.train import interrupt, loop, parallel, programs, resident
from ichjax.train import step as steps
from ichjax.train.state import TrainState
from tests import eight_devices

MANY = jax.device_count()


def assert_same_bits(ours, theirs):
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), ours, theirs)


OPTIONS = {
    "plain": {},
    "neighbors": {"neighbors": 2},
    "mirrored": {"mirrored": True},
    "classes": {"classes": True},
    "priors": {"priors": 1},
    "all": {"neighbors": 1, "mirrored": True, "classes": True, "priors": 1},
    "narrow": {"neighbors": 1, "mirrored": True},
}


@pytest.fixture(scope="module")
def reader_of(parts):
    """reader_of(case): a reader of three scans of different sizes, with one of `OPTIONS`."""
    rng = np.random.default_rng(0)

    def cropped(scan, at, case):
        hu = np.clip(scan.volume.hu[at], -20, 100) if case == "narrow" else scan.volume.hu[at]
        prior = rng.integers(0, 251, hu.shape).astype(np.uint8)
        volume, classes = dataclasses.replace(scan.volume, hu=hu), 3 * scan.mask[at]
        return dataclasses.replace(scan, volume=volume, mask=scan.mask[at], classes=classes, prior=prior)

    def make(case):
        cuts = (np.s_[:3], np.s_[:, :, :24], np.s_[1:3, :24])
        scans = [cropped(scan, at, case) for scan, at in zip(parts[0], cuts, strict=True)]
        return loader.PatchReader(scans, patch_table(scans, side=16, stride=8), **OPTIONS[case])

    return make


LAYOUTS = [("jit", 1, 1, False), ("pmap", 2, 3, True), ("shard_map", 4, 3, False)]


@pytest.mark.parametrize(
    ("case", "mode", "devices", "group", "divided"),
    [*((case, "jit", 4, 1, True) for case in OPTIONS), *(("all", *layout) for layout in LAYOUTS)],
)
def test_batches_are_those_that_the_host_reads(reader_of, monkeypatch, case, mode, devices, group, divided):
    reader, mesh, grouped = reader_of(case), parallel.make_mesh(jax.devices()[:devices]), group > 1
    if divided:
        monkeypatch.setattr(resident, "number_of_parts", lambda *_: devices)
    chex.clear_trace_counter()
    monkeypatch.setattr(resident, "cut_share", chex.assert_max_traces(resident.cut_share, n=1 + (group > 1)))
    held = resident.ResidentScans(reader, mesh, mode=mode, grouped=grouped)
    assert held.parts == (devices if divided else 1)
    read = functools.partial(
        loader.training_batches, epochs=Epochs(reader.table, "matched", 1, 0), batch_size=8, start_step=0, stop_step=5,
        threads=0, group=group,
    )  # fmt: skip
    ours = list(held.batches(read(held)))
    theirs = list(parallel.prefetch(read(reader), mode=mode, mesh=mesh, grouped=grouped))
    assert [sorted(batch) for batch in ours] == [["image", "index", "mask", "weight"]] * len(theirs)
    assert_same_bits(*(jax.device_get(batches) for batches in (ours, theirs)))
    if mode != "pmap":
        pairs = zip(*map(jax.tree.leaves, (ours, theirs)), strict=True)
        assert all(a.sharding.is_equivalent_to(b.sharding, a.ndim) for a, b in pairs)


def test_divided_scans_stay_on_their_devices(reader_of, monkeypatch):
    """The compiled program gathers the rows of the batch, and scatters its patches."""
    monkeypatch.setattr(resident, "number_of_parts", lambda _, devices, __: devices)
    reader, mesh = reader_of("all"), parallel.make_mesh(jax.devices()[:2])
    held = resident.ResidentScans(reader, mesh, mode="jit", grouped=False)
    volumes, _ = held._arrays
    slices = 3 + 2  # the subjects have 3, 4 and 2 slices
    for volume in volumes.values():
        assert [shard.data.shape for shard in volume.addressable_shards] == [(slices, 32, 32)] * 2
    examples = parallel.shard_batch(held.read(np.arange(8)), mode="jit", mesh=mesh)
    text = held._program.lower(*held._arrays, examples).compile().as_text()
    assert re.findall(r"= (\S+?)(?:\{\S*)? all-gather(?:-start)?\(", text) == ["s32[8]"]
    assert f"[{2 * slices}," not in text
    assert f"[{slices},32,32]" in text
    assert not re.search(r"all-to-all|collective-permute", text)


class Tiny(nn.Module):
    """One convolution of the last channel."""

    @nn.compact
    def __call__(self, images, *, dropout_keys=None):
        return nn.Conv(1, (3, 3))(images)[..., 0]


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["jit", "pmap", "shard_map"])
@pytest.mark.parametrize("devices", [1, MANY] if MANY < 8 else [MANY])
def test_training_gives_the_same_bits_in_every_mode(reader_of, monkeypatch, mode, devices):
    """Of the same compiled step; pmap traces it again for batches on the devices, jit and shard_map do not."""
    reader, mesh = reader_of("plain"), parallel.make_mesh(jax.devices()[:devices])
    network, optimizer = Network(Tiny(), ((40.0, 120.0),)), optax.adam(1e-2)
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), 16)
    state = jax.device_get(TrainState(jnp.int32(0), jnp.int32(0), params, optimizer.init(params)))
    settings = steps.StepSettings(AffineRange(20.0, 0.1, 0.1, 0.2), 0)

    def make_step(axis):
        return chex.assert_max_traces(
            steps.make_train_step(network, optimizer, settings, axis=axis), n=1 + (mode == "pmap")
        )

    chex.clear_trace_counter()
    step = parallel.compile_step(make_step, mode=mode, mesh=mesh)
    read = functools.partial(
        loader.training_batches, epochs=Epochs(reader.table, "matched", 1, 0), batch_size=8, start_step=0, stop_step=5,
    )  # fmt: skip

    def trained(batches):
        own = parallel.replicate(state, mesh)
        for batch in batches:
            own, _ = step(own, batch)
        return jax.device_get(own.params)

    expected = trained(parallel.prefetch(read(reader), mode=mode, mesh=mesh))
    assert np.abs(expected["Conv_0"]["kernel"] - state.params["Conv_0"]["kernel"]).min() > 0.01
    for parts in (1, devices):
        monkeypatch.setattr(resident, "number_of_parts", lambda *_, parts=parts: parts)
        held = resident.ResidentScans(reader, mesh, mode=mode, grouped=False)
        assert_same_bits(trained(held.batches(read(held))), expected)


@pytest.mark.faults
@pytest.mark.skipif(MANY == 8, reason="runs this file on eight devices")
def test_eight_devices_give_the_same_bits():
    assert "3 passed" in eight_devices.run(__file__, "every_mode", marker="faults")


def test_a_fold_on_resident_scans_ends_with_the_same_bits(train, whole, tmp_path, capsys):
    expected = whole[1]
    capsys.readouterr()
    fitted = train(tmp_path, **{"train.resident": True})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "fold 0: the training scans are in the memory of every device, 0.00 GB"
    assert_same_bits(fitted.params, expected.params)
    assert fitted.validation_jaccard == expected.validation_jaccard
    assert not [array for array in jax.live_arrays() if array.shape == (12, 32, 32)]  # freed before the next fold


@pytest.mark.faults
def test_an_interrupted_fold_with_every_option_on_divided_scans_ends_with_the_same_bits(
    train, tmp_path, monkeypatch, capsys
):
    drawn = {"train.hard_negatives": 0.5, "train.mine_every": 1, "train.sampling": "lesions"}
    seen = {"model.neighbors": 1, "model.mirrored_channel": True, "train.slice_head_weight": 0.5}
    fields = {**drawn, **seen, "train.steps_per_dispatch": 2, "parallel": "pmap"}
    expected = train(tmp_path / "host", **fields)
    monkeypatch.setattr(xla, "memory_limit", lambda: 60_000)  # the scans have 40 kB, and divided 15 kB
    fields["train.resident"] = True
    with monkeypatch.context() as patch:
        patch.setattr(interrupt.Watch, "should_stop", lambda _, dispatches: dispatches == 1)
        with pytest.raises(Interrupted, match="saved after step 2"):
            train(tmp_path / "resident", **fields)
    assert "divided by subjects over the memory of 4 devices, 0.00 GB on each" in capsys.readouterr().out
    fitted = train(tmp_path / "resident", **fields)
    assert_same_bits(fitted.params, expected.params)
    assert_same_bits(*(np.load(tmp_path / at / "hard_negatives_1.npy") for at in ("host", "resident")))


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_fold_traces_its_step_once(train, tmp_path, monkeypatch, mode):
    """Its speed is measured on a batch of the devices, too: pmap would compile another program for one of the host."""
    make = programs.make_train_step
    monkeypatch.setattr(programs, "make_train_step", lambda *a, **b: chex.assert_max_traces(make(*a, **b), n=1))
    programs.make.cache_clear()
    chex.clear_trace_counter()
    train(tmp_path, **{"train.resident": True, "parallel": mode, "train.epochs": 1})
    programs.make.cache_clear()


def test_a_finished_fold_places_nothing(train, whole, monkeypatch):
    folder, expected = whole
    monkeypatch.setattr(loop, "hold_scans", None)
    assert_same_bits(train(folder, **{"train.resident": True}).params, expected.params)


@pytest.mark.parametrize(
    ("limit", "devices", "parts"),
    [(None, 4, 1), (2000, 4, 1), (1999, 4, 4), (600, 4, 4), (2000, 1, 1)],
)
def test_scans_are_divided_only_where_they_do_not_fit_one_device(limit, devices, parts):
    """1000 bytes in all, unevenly divided into 300 at most."""
    assert resident.number_of_parts({1: 1000, 4: 300}.get, devices, limit) == parts


@pytest.mark.parametrize(
    ("limit", "devices", "said"),
    [
        (5_980_000_000, 4, "10.00 GB, divided by subjects 3.00 GB on each of 4 devices; expected at most 2.99 GB"),
        (15_000_000_000, 1, "10.00 GB; expected at most 7.50 GB"),
    ],
)
def test_scans_that_do_not_fit_all_devices_together_are_refused(limit, devices, said):
    with pytest.raises(InputError) as caught:
        resident.number_of_parts({1: 10_000_000_000, 4: 3_000_000_000}.get, devices, limit)
    start, end = "config.train.resident is True, but the training scans need ", ", 50% of its memory: set "
    assert str(caught.value) == f"{start}{said} per device{end}config.train.resident=False"


def test_a_fold_whose_scans_do_not_fit_is_refused_before_it_trains(train, tmp_path, monkeypatch):
    monkeypatch.setattr(xla, "memory_limit", lambda: 20_000)
    with pytest.raises(InputError, match=r"need 0\.00 GB, divided by subjects 0\.00 GB on each of 4 devices"):
        train(tmp_path, **{"train.resident": True})
    assert not (tmp_path / "metrics.jsonl").exists()
