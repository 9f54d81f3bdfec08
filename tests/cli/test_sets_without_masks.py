"""Data sets with labels and no masks through the commands: phantoms in their layouts, stats, and what is refused."""

import dataclasses
import shutil

import numpy as np
import pytest

import launch
from ichjax.data import cq500, rsna, rsna_index
from ichjax.data.cq500_reads import READS_TABLE, read_reads
from ichjax.data.rsna_labels import DETECTION_LABELS
from ichjax.phantom import store, write, write_cq500, write_rsna
from ichjax.phantom.subject import make_subject
from ichjax.phantom.write_dicom import DAMAGED, MIN_WRAPPED_HU, SHORT, WRAPPED

pytestmark = pytest.mark.xdist_group("without masks")
FOOTER = "Synthetic data, no patients: ichjax phantoms, preset demo, seed 3"
SLICES = 3  # of each phantom, to be quick


@pytest.fixture(scope="module")
def whole():
    """A subject with a hemorrhage and one without."""
    made = [make_subject(number, seed=3) for number in (50, 51)]
    assert {bool(subject.slice_labels.any()) for subject in made} == {True, False}
    return made


@pytest.fixture(scope="module")
def subjects(whole):
    """The same, reduced to a few slices, with blood if there is any."""
    cut = []
    for subject in whole:
        first = min(int(np.argmax(subject.slice_labels.any(axis=1))), len(subject.hu) - SLICES)
        names = ("hu", "classes", "slice_labels", "fracture")
        cut.append(dataclasses.replace(subject, **{name: getattr(subject, name)[first:][:SLICES] for name in names}))
    return cut


@pytest.fixture(scope="module")
def rsna_root(subjects, tmp_path_factory):
    """An RSNA set; the first subject's slices are wrapped, short and no image at all."""
    root = tmp_path_factory.mktemp("rsna")
    write_rsna.write_scan(root, subjects[0], quirks={0: WRAPPED, 1: SHORT, 2: DAMAGED})
    write_rsna.write_scan(root, subjects[1])
    write_tables(write_rsna, root, subjects)
    return root


@pytest.fixture(scope="module")
def cq500_root(whole, tmp_path_factory):
    """A CQ500 set of whole phantoms, which the choice of a series needs."""
    root = tmp_path_factory.mktemp("cq500")
    for subject in whole:
        write_cq500.write_scan(root, subject)
    write_tables(write_cq500, root, whole)
    return root


def write_tables(writer, root, subjects):
    rows = [row for subject in subjects for row in write.slice_rows(subject)]
    writer.write_tables(root, rows, [write.subject_row(subject) for subject in subjects], footer=FOOTER)


def call(capsys, *words):
    status = launch.main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return status, said.out + said.err


def test_phantoms_in_the_rsna_layout_are_read_back(rsna_root, subjects):
    index = rsna_index.open_index(rsna_root, workers=1)
    assert sorted(index.skipped.values()) == [
        "has 43690 bytes of pixels; expected 131072 (short)",
        "is not DICOM, or damaged; expected a readable CT slice",
    ]
    whole = next(scan for scan in range(2) if index.scans["slices"][scan] == SLICES)
    scan = rsna.read_scan(index, whole)
    np.testing.assert_array_equal(scan.volume.hu, subjects[1].hu)
    np.testing.assert_array_equal(scan.labels[:, :5], subjects[1].slice_labels)
    np.testing.assert_allclose(scan.volume.affine, subjects[1].affine, atol=1e-5)
    (number,) = index.slice_numbers(1 - whole)
    np.testing.assert_array_equal(rsna.read_slice(index, number), np.maximum(subjects[0].hu[0], MIN_WRAPPED_HU))
    np.testing.assert_array_equal(index.slices["labels"][number, :5], subjects[0].slice_labels[0])
    assert store.is_synthetic(rsna_root)


def test_phantoms_in_the_cq500_layout_are_read_back(cq500_root, whole):
    for scan, subject in zip(cq500.read_dataset(cq500_root).scans, whole, strict=True):
        assert scan.reads.number == subject.number
        assert scan.reads.labels.tolist() == [*subject.slice_labels.any(axis=0), subject.slice_labels.any()]
        assert scan.reads.findings["CalvarialFracture"] == subject.fracture.any()
    np.testing.assert_array_equal(cq500.read_scan(scan).volume.hu, subject.hu)
    assert store.is_synthetic(cq500_root)


def test_one_reader_misses_the_first_sub_type_of_every_third_subject(tmp_path):
    people = [[str(number), "30", "Male", "1", "", "", "", "1", "", "Chronic"] for number in (50, 51)]
    write_cq500.write_tables(tmp_path, [], people, footer=FOOTER)
    reads, unusable, notes = read_reads(tmp_path / READS_TABLE)
    assert [reads[number].votes["IVH"] for number in (50, 51)] == [3, 2]
    assert [reads[number].votes["SDH"] for number in (50, 51)] == [3, 3]
    for one in reads.values():
        assert one.labels.tolist() == [True, False, False, False, True, True]
        assert one.findings["ChronicBleed"]
    assert (unusable, notes) == ({}, ())


def test_stats_of_an_rsna_set(rsna_root, subjects, capsys):
    status, said = call(capsys, "stats", f"--config.data.root={rsna_root}")
    assert status == 2  # two files were skipped
    lines = {" ".join(line.split()) for line in said.splitlines()}
    assert "subjects scans slices" in lines
    assert f"All 2 2 {SLICES + 1}" in lines
    labels = np.concatenate([subjects[0].slice_labels[:1], subjects[1].slice_labels])
    for name, count in zip(DETECTION_LABELS, [*labels.sum(axis=0), labels.any(axis=1).sum()], strict=True):
        assert any(line.startswith(f"{name} ") and line.endswith(f" {count}") for line in lines)
    assert "Slices a scan 1 2 3" in lines
    assert "Skipped: 2" in lines
    assert said.count("skipped: ID_") == 2
    assert "2 labeled images of stage_2_train.csv have no file that can be used" in lines


def test_stats_of_a_cq500_set(cq500_root, whole, capsys, tmp_path):
    root, made = tmp_path / "set", whole
    shutil.copytree(cq500_root, root)
    shutil.rmtree(root / "CQ500CT51 CQ500CT51")
    status, said = call(capsys, "stats", f"--config.data.root={root}")
    assert status == 2
    lines = {" ".join(line.split()) for line in said.splitlines()}
    assert "skipped: CQ500-CT-51: has labels, but no folder" in lines
    assert {"All 2", "With usable labels 1", f"any {int(made[0].slice_labels.any())}"} <= lines
    assert f"CalvarialFracture {int(made[0].fracture.any())} 1" in lines
    assert f"Slices a scan {len(made[0].hu)} {len(made[0].hu)} {len(made[0].hu)}" in lines


@pytest.mark.parametrize("command", ["crossval", "train", "evaluate", "prepare"])
def test_commands_that_need_masks_refuse_it(rsna_root, capsys, tmp_path, command):
    (tmp_path / "masks").mkdir()
    options = {
        "evaluate": [f"--predictions={tmp_path / 'masks'}"],
        "prepare": ["--to=nnunet", f"--output={tmp_path}/n"],
    }
    words = options.get(command, [f"--workdir={tmp_path / 'run'}"])
    status, said = call(capsys, command, "--config=demo", f"--config.data.root={rsna_root}", *words)
    assert status == 2
    assert "which has labels and no masks; expected a data set with masks" in said
    assert not (tmp_path / "run").exists()


def test_the_command_writes_such_a_set(capsys, tmp_path):
    status, _ = call(capsys, "phantom", f"--output={tmp_path / 'x'}", "--layout=rsna", "--subjects=1")
    assert status == 0
    assert store.is_synthetic(tmp_path / "x")
    assert len(list((tmp_path / "x/stage_2_train").glob("ID_*.dcm"))) >= 9
