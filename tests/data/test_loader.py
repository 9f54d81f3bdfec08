"""Batches are the same for any number of threads and any start step, and hold the pixels of the scans."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichjax.data import ct_ich_nifti, loader, scan_cache
from ichjax.data.patch_index import Epochs, patch_table
from ichjax.scan import midplane
from ichjax.scan.volume import AIR_HU

BATCH = 8


@pytest.fixture(scope="module")
def data(tiny_root):
    """(scans, table, reader) of the whole tiny data set."""
    scans, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects)
    table = patch_table(scans, side=16, stride=8)
    return scans, table, loader.PatchReader(scans, table)


def run(data, start, stop, *, threads, seed=1, fold=0):
    epochs = Epochs(data[1], "matched", seed, fold)
    return list(
        loader.training_batches(data[2], epochs, batch_size=BATCH, start_step=start, stop_step=stop, threads=threads)
    )


def check_same(batches, expected):
    assert len(batches) == len(expected)
    for a, b in zip(batches, expected, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], strict=True)


def check_pixels(data, batch):
    """Compares a batch's pixels with the scans, by its index."""
    scans, table, _ = data
    for i in np.flatnonzero(batch["weight"]):
        row = batch["index"][i]
        scan, top, left = scans[table.scan[row]], table.row[row], table.column[row]
        at = np.s_[table.slice[row], top : top + 16, left : left + 16]
        np.testing.assert_array_equal(batch["image"][i], scan.volume.hu[at])
        np.testing.assert_array_equal(batch["mask"][i], scan.mask[at])
        assert batch["mask"][i].any() == table.positive[row]


def test_a_batch_holds_the_pixels_of_its_index(data):
    batch = run(data, 0, 1, threads=0)[0]
    assert {name: (array.shape, str(array.dtype)) for name, array in batch.items()} == {
        "image": ((BATCH, 16, 16), "int16"),
        "mask": ((BATCH, 16, 16), "uint8"),
        "index": ((BATCH,), "int32"),
        "weight": ((BATCH,), "float32"),
    }
    assert (batch["weight"] == 1).all()
    check_pixels(data, batch)


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_do_not_depend_on_the_number_of_threads(data, threads):
    steps = Epochs(data[1], "matched", 1, 0).steps(BATCH)
    check_same(run(data, 0, 2 * steps + 3, threads=threads), run(data, 0, 2 * steps + 3, threads=0))


@settings(max_examples=8)
@given(st.data())
def test_batches_do_not_depend_on_the_start_step(data, drawn):
    stop = 2 * Epochs(data[1], "matched", 1, 0).steps(BATCH) + 2
    start = drawn.draw(st.integers(0, stop))
    whole = run(data, 0, stop, threads=0)
    check_same(run(data, start, stop, threads=drawn.draw(st.sampled_from([0, 2]))), whole[start:])


def test_batches_follow_the_order_of_their_epoch(data):
    epochs = Epochs(data[1], "matched", 1, 0)
    steps = epochs.steps(BATCH)
    batches = run(data, 0, 3 * steps, threads=2)
    for epoch in range(3):
        seen = np.concatenate([batch["index"] for batch in batches[epoch * steps : (epoch + 1) * steps]])
        np.testing.assert_array_equal(seen, epochs.order(epoch)[: steps * BATCH])


def test_seeds_and_folds_have_different_orders(data):
    runs = [run(data, 0, 3, threads=0, seed=seed, fold=fold) for seed, fold in ((1, 0), (2, 0), (1, 1))]
    seen = [np.concatenate([batch["index"] for batch in batches]).tolist() for batches in runs]
    assert all(a != b for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("threads", [0, 1, 4, 9])
@pytest.mark.parametrize("count", [1, BATCH, 2 * BATCH + 3])
def test_fixed_batches_hold_each_row_once_and_padding_has_weight_zero(data, threads, count):
    rows = np.random.default_rng(0).permutation(len(data[1]))[:count]
    batches = list(loader.fixed_batches(data[2], rows, batch_size=BATCH, threads=threads))
    assert all(batch["image"].shape == (BATCH, 16, 16) for batch in batches)
    seen = np.concatenate([batch["index"][batch["weight"] == 1] for batch in batches])
    np.testing.assert_array_equal(seen, rows)
    padding = np.concatenate([batch["weight"] for batch in batches])[count:]
    assert padding.tolist() == [0.0] * (-count % BATCH)
    assert (batches[-1]["image"][batches[-1]["weight"] == 0] == AIR_HU).all()
    assert not batches[-1]["mask"][batches[-1]["weight"] == 0].any()
    for batch in batches:
        check_pixels(data, batch)


def test_neighboring_slices_around_each_patch(data):
    """The example's own slice is in the middle; the end slices of a scan are repeated."""
    scans, table, plain = data
    around = loader.PatchReader(scans, table, neighbors=1)
    rows = np.arange(0, len(table.scan), 7)
    batch, expected = around.read(rows, size=len(rows) + 2), plain.read(rows, size=len(rows) + 2)
    assert batch["image"].shape == (len(rows) + 2, 16, 16, 3)
    assert batch["image"].dtype == np.int16
    for name in ("mask", "index", "weight"):
        np.testing.assert_array_equal(batch[name], expected[name])
    np.testing.assert_array_equal(batch["image"][..., 1], expected["image"])
    for i, row in enumerate(rows):
        hu, d = scans[table.scan[row]].volume.hu, table.slice[row]
        at = np.s_[table.row[row] : table.row[row] + 16, table.column[row] : table.column[row] + 16]
        for offset in (-1, 0, 1):
            expected_hu = hu[min(max(d + offset, 0), len(hu) - 1)][at]
            np.testing.assert_array_equal(batch["image"][i, ..., offset + 1], expected_hu)
    assert (batch["image"][-2:] == AIR_HU).all()


@pytest.mark.parametrize("neighbors", [0, 1])
def test_a_prior_is_the_last_channel_in_thousandths(data, neighbors):
    scans, table, _ = data
    rng = np.random.default_rng(0)
    priors = [rng.integers(0, 251, scan.mask.shape).astype(np.uint8) for scan in scans]
    with_priors = [dataclasses.replace(scan, prior=prior) for scan, prior in zip(scans, priors, strict=True)]
    rows = np.arange(0, len(table), 7)
    batch = loader.PatchReader(with_priors, table, neighbors=neighbors, priors=1).read(rows, size=len(rows) + 1)
    slices = batch["image"][:-1, ..., :-1]
    plain = loader.PatchReader(scans, table, neighbors=neighbors).read(rows)["image"]
    np.testing.assert_array_equal(slices if neighbors else slices[..., 0], plain)
    for image, row in zip(batch["image"], rows, strict=False):
        top, left = table.row[row], table.column[row]
        expected = priors[table.scan[row]][table.slice[row], top : top + 16, left : left + 16] * 4.0
        np.testing.assert_array_equal(image[..., -1], expected)
    assert batch["image"].dtype == np.int16
    assert batch["image"][..., -1].max() == 1000


@pytest.mark.parametrize("neighbors", [0, 1])
def test_the_mirrored_slice_follows_the_others(data, neighbors, monkeypatch):
    scans, table, _ = data
    monkeypatch.setattr(midplane, "column_sum", lambda hu: 36)  # columns 0 to 4 have no mirror image
    mirrored = loader.PatchReader(scans, table, neighbors=neighbors, mirrored=True)
    rows = np.arange(0, len(table.scan), 5)
    batch = mirrored.read(rows, size=len(rows) + 1)
    plain = loader.PatchReader(scans, table, neighbors=neighbors).read(rows, size=len(rows) + 1)
    assert batch["image"].shape == (len(rows) + 1, 16, 16, 2 * neighbors + 2)
    np.testing.assert_array_equal(batch["image"][..., :-1], plain["image"].reshape(len(rows) + 1, 16, 16, -1))
    for image, row in zip(batch["image"], rows, strict=False):
        whole = np.pad(scans[table.scan[row]].volume.hu[table.slice[row]], ((0, 0), (0, 5)), constant_values=AIR_HU)
        at = np.s_[table.row[row] : table.row[row] + 16, table.column[row] : table.column[row] + 16]
        np.testing.assert_array_equal(image[..., -1], whole[:, ::-1][at])
    assert (batch["image"][-1] == AIR_HU).all()
