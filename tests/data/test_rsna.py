"""The RSNA 2019 layout: labels, the index and its resumption, scans, and batches; all files are tiny."""

import collections
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import loader, rsna, rsna_headers, rsna_index, rsna_labels, rsna_reader, splits
from ichjax.data.rsna_labels import DETECTION_LABELS
from ichjax.dicom.slice_file import hash_study
from ichjax.errors import InputError
from ichjax.files import cache_folder
from ichjax.scan.volume import AIR_HU
from tests import dicom_slices
from tests.dicom_slices import table_rows, write_set, write_table

SIDE = dicom_slices.SIDE
# (patient, study, [(image, z in mm, sub-types)]): names do not follow positions, one patient has two studies.
SCANS = [
    ("PID-90210", "1.2.30", [("ID_c", 10, ["epidural"]), ("ID_a", 0, []), ("ID_b", 5, ["epidural", "subdural"])]),
    ("PID-1", "1.2.10", [("ID_z", 0, []), ("ID_k", 7, []), ("ID_d", 20, ["subarachnoid"]), ("ID_e", 25, [])]),
    ("pid-90210 ", "1.2.20", [("ID_f", 0, [])]),
]
NAMES = {name: (z, kinds) for _, _, slices in SCANS for name, z, kinds in slices}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path, cache):
    """A set of three scans of two subjects."""
    write_set(tmp_path / "set", SCANS)
    return tmp_path / "set"


def names_of(index, scan):
    return [index.path(number).stem for number in index.slice_numbers(scan)]


def find(index, study):
    return int(np.flatnonzero(index.scans["study"] == hash_study(study).encode())[0])


def slice_of(index, image):
    return [index.path(number).stem for number in range(len(index.names))].index(image)


# The table of labels


def test_labels_are_in_the_order_of_the_projects_subtypes(tmp_path):
    write_table(tmp_path, [*table_rows("ID_1", ["epidural", "intraventricular"]), *table_rows("ID_2")])
    table = rsna_labels.read_slice_labels(tmp_path / "stage_2_train.csv")
    labels, known = table.labels(["ID_2", "ID_1", "ID_3"])
    assert DETECTION_LABELS == ("IVH", "IPH", "SAH", "EDH", "SDH", "any")
    assert labels.astype(int).tolist() == [[0] * 6, [1, 0, 0, 1, 0, 1], [0] * 6]
    assert known.tolist() == [True, True, False]
    assert table.notes == ()


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path):
    path, lines = tmp_path / "stage_2_train.csv", ["ID,Label", *table_rows("ID_1", ["subdural"]), "", ""]
    path.write_text("\r\n".join(lines), encoding="utf-8-sig")
    assert set(rsna_labels.read_slice_labels(path).known) == {"ID_1"}
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"stage_2_train\.csv: cannot be read"):
        rsna_labels.read_slice_labels(path)


def test_repeated_rows_count_once_and_contradictions_are_reported(tmp_path):
    rows = [*table_rows("ID_1"), *table_rows("ID_2", ["epidural"]), *table_rows("ID_3"), *table_rows("ID_4")]
    rows += ["ID_1_any,0", "ID_1_any,0", "ID_3_epidural,1"]  # repeated; a contradiction
    rows = [row if row != "ID_2_any,1" else "ID_2_any,0" for row in rows if row != "ID_4_subdural,0"]
    write_table(tmp_path, rows)
    table = rsna_labels.read_slice_labels(tmp_path / "stage_2_train.csv")
    assert set(table.known) == {"ID_1"}
    assert table.notes == (
        "stage_2_train.csv: repeated rows are counted once: 3",
        "stage_2_train.csv: 'any' contradicts the sub-types of 1 images, whose labels are not used: ID_2",
        "stage_2_train.csv: repeated rows contradict each other of 1 images, whose labels are not used: ID_3",
        "stage_2_train.csv: rows are missing of 1 images, whose labels are not used: ID_4",
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["ID,Label"], "no rows below its header"),
        (["image,label", "ID_1_any,0"], "begins with 'image,label'; expected the header ID,Label"),
        ([], "begins with ''; expected"),
        (["ID,Label", "ID_1_any,0", "ID_1_chronic,0"], "line 3: holds 'ID_1_chronic,0'"),
        (["ID,Label", "ID_1_any,2"], "line 2: holds 'ID_1_any,2'"),
        (["ID,Label", "any,1"], "line 2: holds 'any,1'"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path, lines, message):
    (tmp_path / "stage_2_train.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=message):
        rsna_labels.read_slice_labels(tmp_path / "stage_2_train.csv")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(dicom_slices.KINDS), st.integers(0, 1)), min_size=1))
def test_any_table_gives_the_labels_that_its_rows_agree_on(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("table")
    write_table(root, [f"ID_{image}_{kind},{value}" for image, kind, value in rows])
    table = rsna_labels.read_slice_labels(root / "stage_2_train.csv")
    values = collections.defaultdict(set)
    for image, kind, value in rows:
        values[f"ID_{image}", kind].add(value)
    for image in {f"ID_{row[0]}" for row in rows}:
        found = [values.get((image, rsna_labels.RSNA_TYPE[label]), {0, 1}) for label in DETECTION_LABELS]
        usable = all(len(one) == 1 for one in found)
        flags = [max(one) for one in found]
        if usable and max(flags[:5]) == flags[5]:
            assert table.labels([image])[0].astype(int).tolist() == [flags]
        else:
            assert image in table.unusable


# The index


def test_slices_are_in_the_order_of_scans_and_positions_with_their_labels(root):
    index = rsna_index.open_index(root, workers=1)
    assert names_of(index, find(index, "1.2.30")) == ["ID_a", "ID_b", "ID_c"]
    assert names_of(index, find(index, "1.2.10")) == ["ID_z", "ID_k", "ID_d", "ID_e"]
    assert list(index.scans["study"]) == sorted(index.scans["study"])
    for number, row in enumerate(index.slices):
        _, kinds = NAMES[index.path(number).stem]
        expected = [rsna_labels.RSNA_TYPE[label] in kinds for label in DETECTION_LABELS[:5]]
        assert row["labels"].tolist() == [*expected, bool(kinds)]
    assert index.slices["known"].all()
    assert index.skipped == {}
    assert index.notes == ()


def test_subjects_are_numbered_and_have_all_studies_of_a_patient(root):
    index = rsna_index.open_index(root, workers=1)
    subjects = [int(index.scans["subject"][find(index, study)]) for study in ("1.2.30", "1.2.20", "1.2.10")]
    assert subjects == [0, 0, 1]  # in the order of file names: ID_a is of the first
    assert rsna.subject_labels(index).astype(int).tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1]]
    assert rsna.scans_of(index, (1,)).tolist() == [find(index, "1.2.10")]
    assert len(rsna.slices_of(index, (0,))) == 4


def test_two_patients_of_one_study_are_one_subject(tmp_path, cache):
    scans = [("A", "1.2.1", [("ID_1", 0, [])]), ("B", "1.2.1", [("ID_2", 5, [])]), ("B", "1.2.2", [("ID_3", 0, [])])]
    write_set(tmp_path / "set", scans)
    assert rsna_index.open_index(tmp_path / "set", workers=1).scans["subject"].tolist() == [0, 0]


def test_a_further_series_of_a_study_is_a_scan_of_its_own(tmp_path, cache):
    write_set(tmp_path / "set", SCANS)
    dicom_slices.write(tmp_path / "set/stage_2_train/ID_x.dcm", StudyInstanceUID="1.2.10", SeriesInstanceUID="1.9")
    index = rsna_index.open_index(tmp_path / "set", workers=1)
    assert len(index.scans) == 4
    assert index.notes[0].startswith("1 studies have a further series")
    assert index.notes[1] == "1 images have no usable labels in stage_2_train.csv"


def test_the_index_is_read_again_without_headers_until_a_file_changes(root, monkeypatch):
    first = rsna_index.open_index(root, workers=1)
    read = []
    original = rsna_headers.read_slice_header
    monkeypatch.setattr(rsna_headers, "read_slice_header", lambda path: read.append(path) or original(path))
    second = rsna_index.open_index(root, workers=1)
    assert first.slices.tobytes() == second.slices.tobytes()
    assert read == []
    dicom_slices.write(root / "stage_2_train/ID_new.dcm", StudyInstanceUID="1.2.99")
    assert len(rsna_index.open_index(root, workers=1).scans) == 4
    assert len(read) == 9


def test_bad_files_are_named_and_cost_no_other(root):
    images = root / "stage_2_train"
    (images / "ID_text.dcm").write_text("not an image")
    dicom_slices.write(images / "ID_6431af929.dcm", PixelData=b"\0" * 100)
    index = rsna_index.open_index(root, workers=1)
    assert set(index.skipped) == {"ID_text.dcm", "ID_6431af929.dcm"}
    assert index.skipped["ID_6431af929.dcm"] == "has 100 bytes of pixels; expected 2048 (short)"
    assert len(index.names) == 8


@pytest.mark.parametrize("folder", ["stage_2_train_images", "train", "."])
def test_images_are_found_in_the_usual_folders(root, folder):
    for path in (root / "stage_2_train").iterdir():
        (root / folder).mkdir(exist_ok=True)
        path.rename(root / folder / path.name)
    (root / "stage_2_train").rmdir()
    assert len(rsna_index.open_index(root, workers=1).names) == 8


def test_a_set_without_images_or_without_any_readable_one_is_refused(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no stage_2_train\.csv"):
        rsna_index.open_index(tmp_path / "empty")
    write_table(tmp_path / "empty", table_rows("ID_1"))
    with pytest.raises(InputError, match=r"holds no \.dcm files"):
        rsna_index.open_index(tmp_path / "empty")
    (tmp_path / "empty/ID_1.dcm").write_text("x")
    with pytest.raises(InputError, match=r"none of its 1 files can be used \(ID_1\.dcm: is not DICOM"):
        rsna_index.open_index(tmp_path / "empty")


@pytest.mark.parametrize("damage", [False, True])
def test_a_killed_index_resumes_and_is_the_same(root, cache, monkeypatch, damage):
    expected = rsna_index.open_index(root, workers=1)
    monkeypatch.setenv("ICHJAX_CACHE", str(cache.with_name("other")))
    monkeypatch.setattr(rsna_headers, "PART_FILES", 3)
    original, read = rsna_headers.read_slice_header, []

    def killed(path):
        if len(read) == 7:
            raise KeyboardInterrupt
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(rsna_headers, "read_slice_header", killed)
    with pytest.raises(KeyboardInterrupt):
        rsna_index.open_index(root, workers=1)
    parts = sorted(cache_folder().rglob("*.npz"))
    assert len(parts) == 2
    if damage:
        parts[0].write_bytes(parts[0].read_bytes()[:50])
    read.clear()
    index = rsna_index.open_index(root, workers=1)
    assert len(read) == (5 if damage else 2)
    assert index.slices.tobytes() == expected.slices.tobytes()
    assert index.scans.tobytes() == expected.scans.tobytes()
    assert index.names.tobytes() == expected.names.tobytes()
    assert not list(cache_folder().rglob("*.parts"))


def test_several_processes_make_the_same_index(root, cache, monkeypatch):
    expected = rsna_index.open_index(root, workers=1)
    monkeypatch.setenv("ICHJAX_CACHE", str(cache.with_name("other")))
    monkeypatch.setattr(rsna_headers, "PART_FILES", 2)
    index = rsna_index.open_index(root, workers=2)
    assert index.slices.tobytes() == expected.slices.tobytes()
    assert index.scans.tobytes() == expected.scans.tobytes()


def test_a_damaged_index_is_made_again(root, cache):
    expected = rsna_index.open_index(root, workers=1).slices.tobytes()
    slices = next(cache.rglob("slices.npy"))
    content = slices.read_bytes()
    slices.unlink()  # a new file, since the old one is still mapped
    slices.write_bytes(content[:200])
    assert rsna_index.open_index(root, workers=1).slices.tobytes() == expected


def test_nothing_in_the_cache_names_a_patient(root, cache, monkeypatch):
    """Neither in the index nor in the parts of a killed one."""
    monkeypatch.setattr(rsna_headers, "PART_FILES", 2)
    with monkeypatch.context() as patch:
        patch.setattr(rsna_index, "_assemble", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rsna_index.open_index(root, workers=1)
    content = b"".join(path.read_bytes() for path in cache.rglob("*") if path.is_file())
    rsna_index.open_index(root, workers=1)
    content += b"".join(path.read_bytes() for path in cache.rglob("*") if path.is_file())
    assert b"ID_a" in content
    for secret in (b"PID-90210", b"90210", b"1.2.30", b"1.2.10"):
        assert secret not in content.lower()
    assert not list(cache.rglob(".part_key"))


# Scans


def test_a_scan_has_true_positions_and_the_labels_of_its_slices(root):
    index = rsna_index.open_index(root, workers=1)
    scan = rsna.read_scan(index, find(index, "1.2.10"))
    names = ["ID_z", "ID_k", "ID_d", "ID_e"]
    np.testing.assert_array_equal(scan.volume.positions_mm, [0, 7, 20, 25])
    np.testing.assert_array_equal(scan.labels[:, 2], [False, False, True, False])
    for d, name in enumerate(names):
        np.testing.assert_array_equal(scan.volume.hu[d], rsna.read_slice(index, slice_of(index, name)))
    assert scan.volume.pixel_mm == (6.0, 6.0)
    assert not scan.volume.nominal_spacing
    assert scan.known.all()
    assert hash_study("1.2.10")[:8] in scan.volume.name


def test_a_scan_of_one_slice_has_a_nominal_spacing(root):
    index = rsna_index.open_index(root, workers=1)
    volume = rsna.read_scan(index, find(index, "1.2.20")).volume
    assert volume.nominal_spacing
    assert volume.spacing_mm[0] == rsna.NOMINAL_SLICE_MM


def test_a_slice_that_cannot_be_read_leaves_a_gap_and_is_named(root):
    images = root / "stage_2_train"
    dicom_slices.write(
        images / "ID_k.dcm", np.full((SIDE, SIDE), 7, "<i2"), PatientID="PID-1", StudyInstanceUID="1.2.10",
        SeriesInstanceUID="1.2.10.1", ImagePositionPatient=[-93, -93, 7],
    )  # fmt: skip
    index = rsna_index.open_index(root, workers=1)
    scan = rsna.read_scan(index, find(index, "1.2.10"))
    assert scan.skipped == ("ID_k.dcm: every pixel is 7 HU; expected an image",)
    np.testing.assert_array_equal(scan.volume.positions_mm, [0, 20, 25])
    np.testing.assert_array_equal(scan.labels[:, 2], [False, True, False])


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImagePositionPatient": [-93, -93, 5]}, r"ID_b\.dcm and ID_x\.dcm lie at one position"),
        ({"PixelSpacing": [6, 5]}, r"ID_a\.dcm and ID_x\.dcm differ in spacing"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, r"differ in orientation"),
        ({"Rows": 16}, r"ID_a\.dcm and ID_x\.dcm differ in rows"),
    ],
)
def test_slices_that_form_no_scan_are_named(root, tags, message):
    tags = {"ImagePositionPatient": [-93, -93, 20], "PatientID": "PID-1", **tags}
    path = root / "stage_2_train/ID_x.dcm"
    dicom_slices.write(path, StudyInstanceUID="1.2.30", SeriesInstanceUID="1.2.30.1", **tags)
    index = rsna_index.open_index(root, workers=1)
    with pytest.raises(InputError, match=message):
        rsna.read_scan(index, find(index, "1.2.30"))


def test_median_spacing_of_each_scan(root):
    index = rsna_index.open_index(root, workers=1)
    spacing = rsna.slice_spacing_mm(index)
    assert spacing[find(index, "1.2.10")] == 7
    assert spacing[find(index, "1.2.30")] == 5
    assert np.isnan(spacing[find(index, "1.2.20")])


# Batches


@pytest.fixture
def index(root):
    return rsna_index.open_index(root, workers=1)


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


def test_a_slice_without_usable_labels_has_no_weight(tmp_path, cache):
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


def test_scans_are_padded_and_long_ones_thinned(index):
    long, short = find(index, "1.2.10"), find(index, "1.2.20")
    batch = rsna_reader.ScanReader(index, depth=3, side=SIDE).read(np.array([long, short]), size=3)
    assert batch["present"].tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert batch["weight"].tolist() == [1, 1, 0]
    first = index.slice_numbers(long)[0]
    assert [round(float(at)) for at in batch["position_mm"][0]] in ([0, 7, 25], [0, 20, 25])
    np.testing.assert_array_equal(batch["image"][0, 0], rsna.read_slice(index, first))
    np.testing.assert_array_equal(batch["image"][0, 2], rsna.read_slice(index, first + 3))
    assert (batch["image"][1, 1:] == AIR_HU).all()
    assert batch["label"][0, :, 2].tolist() == [0, int(batch["position_mm"][0, 1] == 20), 0]


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


# Folds


def test_folds_are_by_subject(tmp_path, cache):
    kinds = [["epidural"], ["subdural"], ["intraparenchymal"], [], ["epidural"], ["subdural"], [], []]
    scans = [
        (f"P{k // 2}" if k < 4 else f"Q{k}", f"1.2.{k + 1}", [(f"ID_{k}", 0, kind)]) for k, kind in enumerate(kinds)
    ]
    write_set(tmp_path / "set", scans)
    index = rsna_index.open_index(tmp_path / "set", workers=1)
    assert len(rsna.subject_labels(index)) == 6
    made = rsna.split(index, folds=3, seed=0)
    splits.check(made, range(6))
    assert made == rsna.split(index, folds=3, seed=0)
    bleeding = np.flatnonzero(rsna.subject_labels(index)[:, -1])
    assert [len(set(fold.test) & set(bleeding.tolist())) for fold in made.folds].count(0) == 0
    for fold in made.folds:
        parts = [set(rsna.scans_of(index, getattr(fold, part)).tolist()) for part in splits.PARTS]
        assert sum(map(len, parts)) == len(index.scans) == len(set.union(*parts))


def test_remarks_are_json(root, cache):
    rsna_index.open_index(root, workers=1)
    assert json.loads(next(cache.rglob("remarks.json")).read_text()) == {"skipped": {}, "notes": []}


INDEX_SLOWLY = """
import sys, time
from ichjax.data import rsna_headers, rsna_index
rsna_headers.PART_FILES = 2
read = rsna_headers.read_slice_header
rsna_headers.read_slice_header = lambda path: time.sleep(0.2) or read(path)
rsna_index.open_index(sys.argv[1], workers=1)
"""


@pytest.mark.faults
def test_an_index_whose_process_is_killed_resumes(root, cache, monkeypatch):
    expected = rsna_index.open_index(root, workers=1).slices.tobytes()
    monkeypatch.setenv("ICHJAX_CACHE", str(cache.with_name("other")))
    process = subprocess.Popen([sys.executable, "-c", INDEX_SLOWLY, str(root)])
    while process.poll() is None and not list(cache.with_name("other").rglob("part_*.npz")):
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in cache_folder().rglob("part_*.npz")}
    assert 1 <= len(before) < 4
    monkeypatch.setattr(rsna_headers, "PART_FILES", 2)
    read, original = [], rsna_headers.read_slice_header
    monkeypatch.setattr(rsna_headers, "read_slice_header", lambda path: read.append(path) or original(path))
    assert rsna_index.open_index(root, workers=1).slices.tobytes() == expected
    assert len(read) == 8 - 2 * len(before)
