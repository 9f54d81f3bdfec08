"""The index of the RSNA 2019 layout: order, subjects, resumption, bad files, and that it names no patient."""

import json
import signal
import subprocess
import sys
import time

import pytest

from ichjax.data import rsna, rsna_headers, rsna_index, rsna_labels
from ichjax.data.rsna_labels import DETECTION_LABELS
from ichjax.errors import InputError
from ichjax.files import cache_folder
from tests import dicom_slices
from tests.dicom_slices import NAMES, SCANS, find, names_of, table_rows, write_set, write_table


def test_slices_are_in_the_order_of_scans_and_positions_with_their_labels(rsna_root):
    index = rsna_index.open_index(rsna_root, workers=1)
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


def test_subjects_are_numbered_and_have_all_studies_of_a_patient(rsna_root):
    index = rsna_index.open_index(rsna_root, workers=1)
    subjects = [int(index.scans["subject"][find(index, study)]) for study in ("1.2.30", "1.2.20", "1.2.10")]
    assert subjects == [0, 0, 1]  # in the order of file names: ID_a is of the first
    assert rsna.subject_labels(index).astype(int).tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1]]
    assert rsna.scans_of(index, (1,)).tolist() == [find(index, "1.2.10")]
    assert len(rsna.slices_of(index, (0,))) == 4


def test_two_patients_of_one_study_are_one_subject(tmp_path, rsna_cache):
    scans = [("A", "1.2.1", [("ID_1", 0, [])]), ("B", "1.2.1", [("ID_2", 5, [])]), ("B", "1.2.2", [("ID_3", 0, [])])]
    write_set(tmp_path / "set", scans)
    assert rsna_index.open_index(tmp_path / "set", workers=1).scans["subject"].tolist() == [0, 0]


def test_a_further_series_of_a_study_is_a_scan_of_its_own(tmp_path, rsna_cache):
    write_set(tmp_path / "set", SCANS)
    dicom_slices.write(tmp_path / "set/stage_2_train/ID_x.dcm", StudyInstanceUID="1.2.10", SeriesInstanceUID="1.9")
    index = rsna_index.open_index(tmp_path / "set", workers=1)
    assert len(index.scans) == 4
    assert index.notes[0].startswith("1 studies have a further series")
    assert index.notes[1] == "1 images have no usable labels in stage_2_train.csv"


def test_the_index_is_read_again_without_headers_until_a_file_changes(rsna_root, monkeypatch):
    first = rsna_index.open_index(rsna_root, workers=1)
    read = []
    original = rsna_headers.read_slice_header
    monkeypatch.setattr(rsna_headers, "read_slice_header", lambda path: read.append(path) or original(path))
    second = rsna_index.open_index(rsna_root, workers=1)
    assert first.slices.tobytes() == second.slices.tobytes()
    assert read == []
    dicom_slices.write(rsna_root / "stage_2_train/ID_new.dcm", StudyInstanceUID="1.2.99")
    assert len(rsna_index.open_index(rsna_root, workers=1).scans) == 4
    assert len(read) == 9


def test_bad_files_are_named_and_cost_no_other(rsna_root):
    images = rsna_root / "stage_2_train"
    (images / "ID_text.dcm").write_text("not an image")
    dicom_slices.write(images / "ID_6431af929.dcm", PixelData=b"\0" * 100)
    index = rsna_index.open_index(rsna_root, workers=1)
    assert set(index.skipped) == {"ID_text.dcm", "ID_6431af929.dcm"}
    assert index.skipped["ID_6431af929.dcm"] == "has 100 bytes of pixels; expected 2048 (short)"
    assert len(index.names) == 8


@pytest.mark.parametrize("folder", ["stage_2_train_images", "train", "."])
def test_images_are_found_in_the_usual_folders(rsna_root, folder):
    for path in (rsna_root / "stage_2_train").iterdir():
        (rsna_root / folder).mkdir(exist_ok=True)
        path.rename(rsna_root / folder / path.name)
    (rsna_root / "stage_2_train").rmdir()
    assert len(rsna_index.open_index(rsna_root, workers=1).names) == 8


def test_a_set_without_images_or_without_any_readable_one_is_refused(rsna_root, tmp_path):
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
def test_a_killed_index_resumes_and_is_the_same(rsna_root, rsna_cache, monkeypatch, damage):
    expected = rsna_index.open_index(rsna_root, workers=1)
    monkeypatch.setenv("ICHJAX_CACHE", str(rsna_cache.with_name("other")))
    monkeypatch.setattr(rsna_headers, "PART_FILES", 3)
    original, read = rsna_headers.read_slice_header, []

    def killed(path):
        if len(read) == 7:
            raise KeyboardInterrupt
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(rsna_headers, "read_slice_header", killed)
    with pytest.raises(KeyboardInterrupt):
        rsna_index.open_index(rsna_root, workers=1)
    parts = sorted(cache_folder().rglob("*.npz"))
    assert len(parts) == 2
    if damage:
        parts[0].write_bytes(parts[0].read_bytes()[:50])
    read.clear()
    index = rsna_index.open_index(rsna_root, workers=1)
    assert len(read) == (5 if damage else 2)
    assert index.slices.tobytes() == expected.slices.tobytes()
    assert index.scans.tobytes() == expected.scans.tobytes()
    assert index.names.tobytes() == expected.names.tobytes()
    assert not list(cache_folder().rglob("*.parts"))


def test_several_processes_make_the_same_index(rsna_root, rsna_cache, monkeypatch):
    expected = rsna_index.open_index(rsna_root, workers=1)
    monkeypatch.setenv("ICHJAX_CACHE", str(rsna_cache.with_name("other")))
    monkeypatch.setattr(rsna_headers, "PART_FILES", 2)
    index = rsna_index.open_index(rsna_root, workers=2)
    assert index.slices.tobytes() == expected.slices.tobytes()
    assert index.scans.tobytes() == expected.scans.tobytes()


def test_a_damaged_index_is_made_again(rsna_root, rsna_cache):
    expected = rsna_index.open_index(rsna_root, workers=1).slices.tobytes()
    slices = next(rsna_cache.rglob("slices.npy"))
    content = slices.read_bytes()
    slices.unlink()  # a new file, since the old one is still mapped
    slices.write_bytes(content[:200])
    assert rsna_index.open_index(rsna_root, workers=1).slices.tobytes() == expected


def test_nothing_in_the_cache_names_a_patient(rsna_root, rsna_cache, monkeypatch):
    """Neither in the index nor in the parts of a killed one."""
    monkeypatch.setattr(rsna_headers, "PART_FILES", 2)
    with monkeypatch.context() as patch:
        patch.setattr(rsna_index, "_assemble", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rsna_index.open_index(rsna_root, workers=1)
    content = b"".join(path.read_bytes() for path in rsna_cache.rglob("*") if path.is_file())
    rsna_index.open_index(rsna_root, workers=1)
    content += b"".join(path.read_bytes() for path in rsna_cache.rglob("*") if path.is_file())
    assert b"ID_a" in content
    for secret in (b"pid-", b"90210", b"1.2.30", b"1.2.10"):
        assert secret not in content.lower()
    assert not list(rsna_cache.rglob(".part_key"))


def test_remarks_are_json(rsna_root, rsna_cache):
    rsna_index.open_index(rsna_root, workers=1)
    assert json.loads(next(rsna_cache.rglob("remarks.json")).read_text()) == {"skipped": {}, "notes": []}


INDEX_SLOWLY = """
import sys, time
from ichjax.data import rsna_headers, rsna_index
rsna_headers.PART_FILES = 2
read = rsna_headers.read_slice_header
rsna_headers.read_slice_header = lambda path: time.sleep(0.2) or read(path)
rsna_index.open_index(sys.argv[1], workers=1)
"""


@pytest.mark.faults
def test_an_index_whose_process_is_killed_resumes(rsna_root, rsna_cache, monkeypatch):
    expected = rsna_index.open_index(rsna_root, workers=1).slices.tobytes()
    monkeypatch.setenv("ICHJAX_CACHE", str(rsna_cache.with_name("other")))
    process = subprocess.Popen([sys.executable, "-c", INDEX_SLOWLY, str(rsna_root)])
    while process.poll() is None and not list(rsna_cache.with_name("other").rglob("part_*.npz")):
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in cache_folder().rglob("part_*.npz")}
    assert 1 <= len(before) < 4
    monkeypatch.setattr(rsna_headers, "PART_FILES", 2)
    read, original = [], rsna_headers.read_slice_header
    monkeypatch.setattr(rsna_headers, "read_slice_header", lambda path: read.append(path) or original(path))
    assert rsna_index.open_index(rsna_root, workers=1).slices.tobytes() == expected
    assert len(read) == 8 - 2 * len(before)
