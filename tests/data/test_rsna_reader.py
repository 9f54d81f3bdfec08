"""Batches of slices and scans of the RSNA 2019 layout: content, order, padding, slices that cannot be read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import loader, rsna, rsna_index, rsna_reader
from ichjax.errors import InputError
from ichjax.scan.volume import AIR_HU
from tests.dicom_slices import SCANS, SIDE, find, head, slice_of, write, write_set


@pytest.fixture
def index(rsna_root):
    return rsna_index.open_index(rsna_root, workers=1)


def test_a_batch_holds_the_slices_of_its_index(index):
    reader = rsna_reader.SliceReader(index, side=SIDE)
    batch = reader.read(np.array([3, 0]), size=3)
    assert {name: (array.shape, str(array.dtype)) for name, array in batch.items()} == {
        "image": ((3, SIDE, SIDE), "int16"),
        "label": ((3, 6), "uint8"),
        "index": ((3,), "int32"),
        "weight": ((3,), "float32"),
    }
    assert batch["weight"].tolist() == [1, 1, 0]
    for i, number in enumerate((3, 0)):
        np.testing.assert_array_equal(batch["image"][i], rsna.read_slice(index, number))
        np.testing.assert_array_equal(batch["label"][i], index.slices["labels"][number])
    assert (batch["image"][2] == AIR_HU).all()


def test_neighbors_are_of_the_same_scan_and_end_slices_repeated(index):
    reader = rsna_reader.SliceReader(index, side=SIDE, neighbors=1)
    for scan in range(len(index.scans)):
        numbers = list(index.slice_numbers(scan))
        for number in numbers:
            image = reader.read(np.array([number]))["image"][0]
            for channel, step in enumerate((-1, 0, 1)):
                other = min(max(number + step, numbers[0]), numbers[-1])
                np.testing.assert_array_equal(image[..., channel], rsna.read_slice(index, other))


def test_a_slice_that_cannot_be_read_has_no_weight_and_is_reported_once(index):
    lines = []
    reader = rsna_reader.SliceReader(index, side=SIDE, report=lines.append)
    number = slice_of(index, "ID_d")
    index.path(number).unlink()
    for _ in range(2):
        batch = reader.read(np.array([number, slice_of(index, "ID_a")]))
        assert batch["weight"].tolist() == [0, 1]
        assert (batch["image"][0] == AIR_HU).all()
    assert len(lines) == 1
    assert lines[0].startswith("skipped: ID_d.dcm: cannot be read")


def test_a_slice_without_usable_labels_has_no_weight(tmp_path, rsna_cache):
    write_set(tmp_path / "set", SCANS, extra=["ID_d_any,0"])  # contradicts a later row
    index = rsna_index.open_index(tmp_path / "set", workers=1)
    number = slice_of(index, "ID_d")
    assert rsna_reader.SliceReader(index, side=SIDE).read(np.array([number]))["weight"].tolist() == [0]
    assert number not in rsna.slices_of(index, (0, 1))
    assert number in rsna.slices_of(index, (0, 1), labeled=False)
    scan = int(index.slices["scan"][number])
    batch = rsna_reader.ScanReader(index, depth=4, side=SIDE).read(np.array([scan]))
    assert batch["present"].tolist() == [[1, 1, 1, 1]]
    assert batch["slice_weight"].tolist() == [[1, 1, 0, 1]]


def test_scans_are_padded_and_long_ones_are_windows_without_gaps(index):
    long, short = find(index, "1.2.10"), find(index, "1.2.20")
    reader = rsna_reader.ScanReader(index, depth=3, side=SIDE)
    windows = reader.windows_of(np.array([long]))
    first = index.slice_numbers(long)[0]
    assert [reader.slice_numbers(k).tolist() for k in windows] == [
        [first, first + 1, first + 2],
        [first + 1, first + 2, first + 3],
    ]
    batch = reader.read(np.array([*windows, *reader.windows_of(np.array([short]))]), size=4)
    assert batch["present"].tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert batch["weight"].tolist() == [1, 1, 1, 0]
    assert np.round(batch["position_mm"][:2]).tolist() == [[0, 7, 20], [0, 13, 18]]
    for k in range(2):
        for row in range(3):
            np.testing.assert_array_equal(batch["image"][k, row], rsna.read_slice(index, first + k + row))
    assert (batch["image"][2, 1:] == AIR_HU).all()
    assert batch["label"][:2, :, 2].tolist() == [[0, 0, 1], [0, 1, 0]]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 17))
def test_every_slice_of_every_scan_is_in_a_window(counts, depth):
    scans = np.zeros(len(counts), rsna_index.SCAN_TYPE)
    scans["slices"], scans["first"] = counts, np.cumsum(counts) - counts
    reader = rsna_reader.ScanReader(rsna_index.RsnaIndex(None, None, None, scans, {}, ()), depth=depth)
    seen = [[] for _ in counts]
    for window in range(len(reader.first)):
        numbers = reader.slice_numbers(window)
        assert len(numbers) == min(depth, counts[reader.scans[window]])
        assert (np.diff(numbers) == 1).all()
        seen[reader.scans[window]] += numbers.tolist()
    for scan, numbers in enumerate(seen):
        assert sorted(set(numbers)) == list(range(scans["first"][scan], scans["first"][scan] + counts[scan]))


def test_padding_is_air(tmp_path, rsna_cache):
    """-2000 in unsigned numbers, as some files of the set have it."""
    write_set(tmp_path / "set", [("P", "1.2", [("ID_a", 0, []), ("ID_b", 5, [])])])
    stored = (head(0).astype(int) + 1024).astype(np.uint16)
    stored[:3] = 63536
    stored[15, 15] = 5000  # metal in the head stays
    tags = {"PixelRepresentation": 0, "RescaleIntercept": -1024, "PixelPaddingValue": 63536}
    write(tmp_path / "set" / "stage_2_train" / "ID_b.dcm", stored, StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1",
          ImagePositionPatient=[-93, -93, 5], **tags)  # fmt: skip
    index = rsna_index.open_index(tmp_path / "set", workers=1)
    hu = rsna.read_slice(index, slice_of(index, "ID_b"))
    assert (hu[:3] == AIR_HU).all()
    assert hu[15, 15] == 5000 - 1024
    np.testing.assert_array_equal(np.delete(hu[3:], 12, axis=0), np.delete(head(0)[3:], 12, axis=0))


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("kind", ["slices", "scans"])
def test_batches_depend_on_seed_and_step_alone(index, threads, kind):
    """Whatever the threads and the step at which reading starts."""
    reader = rsna_reader.SliceReader(index, side=SIDE)
    rows = np.arange(len(index.names))
    if kind == "scans":
        reader, rows = rsna_reader.ScanReader(index, depth=4, side=SIDE), np.arange(len(index.scans))
    size = len(rows) // 2
    order = rsna_reader.ExampleOrder(rows, seed=5)

    def run(start, stop, threads):
        options = {"batch_size": size, "start_step": start, "stop_step": stop, "threads": threads}
        return list(loader.training_batches(reader, order, **options))

    expected = [reader.read(order.order(step // order.steps(size))[(step % order.steps(size)) * size :][:size])
                for step in range(6)]  # fmt: skip
    for start in (0, 3):
        for batch, other in zip(run(start, 6, threads), expected[start:], strict=True):
            for name, array in batch.items():
                np.testing.assert_array_equal(array, other[name], strict=True)


def test_every_example_is_visited_once_an_epoch_and_epochs_differ():
    order = rsna_reader.ExampleOrder(np.arange(50), seed=1)
    epochs = [order.order(epoch) for epoch in (0, 1)]
    assert all(sorted(epoch.tolist()) == list(range(50)) for epoch in epochs)
    assert (epochs[0] != epochs[1]).any()
    assert (rsna_reader.ExampleOrder(np.arange(50), seed=2).order(0) != epochs[0]).any()
    with pytest.raises(InputError, match="50 examples, fewer than batch_size 64"):
        order.steps(64)


def test_fixed_batches_pad_the_last_one(index):
    reader = rsna_reader.SliceReader(index, side=SIDE)
    batches = list(loader.fixed_batches(reader, np.arange(8), batch_size=3, threads=0))
    assert [batch["weight"].sum() for batch in batches] == [3, 3, 2]
    assert np.concatenate([batch["index"] for batch in batches])[:8].tolist() == list(range(8))


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), side=st.sampled_from([1, 4, 16, 20]))
def test_a_slice_of_any_matrix_keeps_its_mean_on_the_square(rows, columns, side):
    """A slice of one value in air: the square holds its share of the area, up to rounding at its edges."""
    square = rsna_reader.to_square(np.full((rows, columns), 1000, np.int16), side)
    assert (square.shape, square.dtype) == ((side, side), np.int16)
    assert square.min() >= AIR_HU
    assert square.max() <= 1000
    if rows == columns:
        assert (square == 1000).all()
    if max(rows, columns) % side == 0:
        full = max(rows, columns) ** 2
        mean = (1000 * rows * columns + AIR_HU * (full - rows * columns)) / full
        assert square.mean() == pytest.approx(mean, abs=0.5)


def test_blocks_are_averaged():
    hu = np.array([[0, 2, 10, 10], [4, 6, 10, 11], [0, 0, -5, -5], [0, 0, -5, -5]], np.int16)
    assert rsna_reader.to_square(hu, 2).tolist() == [[3, 10], [0, -5]]
    assert rsna_reader.to_square(hu, 4) is hu
