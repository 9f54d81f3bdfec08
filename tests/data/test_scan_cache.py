"""The scan cache returns what the reader returns, reads each scan once, and replaces damaged entries."""

import concurrent.futures
import dataclasses
import os
import shutil
import threading

import nibabel as nib
import numpy as np
import pytest

from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.data import dataset as datasets
from ichjax.errors import InputError
from ichjax.files import cache_folder
from ichjax.phantom import dataset as phantoms


@pytest.fixture
def subjects(tiny_root, tmp_path, monkeypatch):
    """The first three subjects of a copy of the tiny data set, and an empty cache."""
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    return ct_ich_nifti.read_dataset(root).subjects[:3]


@pytest.fixture
def reads(monkeypatch):
    """The numbers of the subjects whose files are read."""
    numbers, load = [], ct_ich_nifti.load_scan
    monkeypatch.setattr(ct_ich_nifti, "load_scan", lambda subject: numbers.append(subject.number) or load(subject))
    return numbers


def check_equal(cached, scan):
    assert cached.subject is scan.subject
    assert cached.number == scan.subject.number
    assert cached.notes == scan.notes
    for field in dataclasses.fields(scan.volume):
        value, expected = getattr(cached.volume, field.name), getattr(scan.volume, field.name)
        np.testing.assert_array_equal(value, expected, err_msg=field.name, strict=isinstance(expected, np.ndarray))
    np.testing.assert_array_equal(cached.mask, scan.mask, strict=True)
    np.testing.assert_array_equal(cached.slice_labels, scan.slice_labels, strict=True)
    np.testing.assert_array_equal(cached.truth_px, [int(plane.sum()) for plane in scan.mask])


def test_cached_scans_equal_the_reader_s(subjects, reads):
    for _ in range(2):
        scans, problems = scan_cache.open_scans(subjects)
        assert problems == {}
        for subject, cached in zip(subjects, scans, strict=True):
            check_equal(cached, ct_ich_nifti.load_scan(subject))
    # Each round reads all three for comparison; the cache read them in the first round only.
    assert len(reads) == 3 + 3 + 3


@pytest.fixture(params=["jpeg", "own"])
def phantom_subject(request, tmp_path, monkeypatch):
    """A phantom with a hemorrhage in one of the other layouts, and an empty cache."""
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    phantoms.write_dataset(tmp_path / "data", subjects=1, seed=3, layout=request.param, workers=1)
    return datasets.read_dataset(tmp_path / "data").subjects[0]


def test_any_layout_is_cached_and_every_file_is_part_of_the_digest(phantom_subject):
    """`nominal_spacing` is kept; a changed byte in any file (brain, bone, mask) gives another entry."""
    for _ in range(2):
        check_equal(scan_cache.open_scan(phantom_subject), datasets.load_scan(phantom_subject))
    assert scan_cache.open_scan(phantom_subject).volume.nominal_spacing == (phantom_subject.layout == "jpeg")
    files = datasets.files(phantom_subject)
    digests = {scan_cache._digest(phantom_subject)}
    for path in files:
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        digests.add(scan_cache._digest(phantom_subject))
        path.write_bytes(before)
    assert len(digests) == 1 + len(files)
    if phantom_subject.layout == "jpeg":
        files[0].rename(files[0].with_name("99.jpg"))  # the same bytes on another slice
        assert scan_cache._digest(phantom_subject) not in digests


def test_voxels_are_memory_mapped_and_read_only(subjects):
    scan = scan_cache.open_scan(subjects[0])
    for array in (scan.volume.hu, scan.mask):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1


def test_a_changed_scan_mask_or_label_gives_another_entry(subjects, reads):
    subject = subjects[0]
    digests = {scan_cache.open_scan(subject).digest}
    labels = subject.slice_labels.copy()
    labels[0, 0] = True
    digests.add(scan_cache.open_scan(dataclasses.replace(subject, slice_labels=labels)).digest)
    for path in (subject.scan_path, subject.mask_path):
        image = nib.load(path)
        array = np.asanyarray(image.dataobj).copy()
        array[16, 16, 0] ^= 1
        nib.save(nib.Nifti1Image(array, image.affine), path)
        digests.add(scan_cache.open_scan(subject).digest)
    assert len(digests) == 4
    assert len(reads) == 4
    check_equal(scan_cache.open_scan(subject), ct_ich_nifti.load_scan(subject))


@pytest.mark.parametrize("damage", ["meta.json gone", "meta.json torn", "hu.npy cut", "mask.npy empty", "other mask"])
def test_a_damaged_entry_is_recreated(subjects, reads, damage):
    folder = cache_folder() / "scans" / scan_cache.open_scan(subjects[0]).digest
    name = damage.split()[0] if damage != "other mask" else "mask.npy"
    if damage.endswith("gone"):
        (folder / name).unlink()
    elif damage == "other mask":
        np.save(folder / name, np.zeros((4, 32, 31), np.uint8))
    else:
        size = (folder / name).stat().st_size
        os.truncate(folder / name, 0 if damage.endswith("empty") else size // 2)
    check_equal(scan_cache.open_scan(subjects[0]), ct_ich_nifti.load_scan(subjects[0]))
    assert len(reads) == 3
    scan_cache.open_scan(subjects[0])
    assert len(reads) == 3
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]


@pytest.mark.parametrize("damaged", [False, True])
def test_many_can_open_the_same_scans_at_the_same_time(subjects, damaged):
    if damaged:
        for subject in subjects:
            (cache_folder() / "scans" / scan_cache.open_scan(subject).digest / "meta.json").unlink()
    together = threading.Barrier(12)

    def open_all(_):
        together.wait()
        return [scan_cache.open_scan(subject) for subject in subjects]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        opened = list(pool.map(open_all, range(12)))
    for scans in opened:
        for scan, subject in zip(scans, subjects, strict=True):
            check_equal(scan, ct_ich_nifti.load_scan(subject))
    assert len(list((cache_folder() / "scans").iterdir())) == len(subjects)


def test_a_broken_scan_does_not_affect_the_others(subjects):
    subjects[1].scan_path.write_bytes(subjects[1].scan_path.read_bytes()[:2000])
    missing = dataclasses.replace(subjects[2], mask_path=subjects[2].mask_path.with_name("absent.nii"))
    scans, problems = scan_cache.open_scans([subjects[0], subjects[1], missing])
    assert [scan.number for scan in scans] == [subjects[0].number]
    assert sorted(problems) == [subjects[1].number, subjects[2].number]
    assert f"subject {subjects[1].number}" in problems[subjects[1].number]
    assert "absent.nii" in problems[subjects[2].number]


def test_a_cache_that_cannot_be_written_is_reported(subjects, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cache of scans cannot be written \(.+\)"):
        scan_cache.open_scan(subjects[0])


def test_the_cache_folder_is_from_the_environment_or_the_user_s(monkeypatch, tmp_path):
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("ICHJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "ichjax"
