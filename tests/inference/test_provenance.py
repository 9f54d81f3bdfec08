"""The source of each result is named without a patient, and no output changes its name when scans are added."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest

from ichjax.inference import provenance
from tests.expected import PREDICTION_FILES

pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all
POSITIONS_MM = (0.0, 5.0, 10.0, 15.0)
DISC = "DICOM/PAT0/STU0/SER0"
SECRETS = ("DOEJANE", "PID-90210", "19501231", "HEAD PLAIN")


@pytest.fixture
def command(predict_command, tmp_path):
    """command(*inputs, options): (exit status, what was printed, {name: row of the worklist}); output in out/."""

    def call(*inputs, options=()):
        status, printed = predict_command(*inputs, options=options)
        with (tmp_path / "out" / "worklist.csv").open() as file:
            return status, printed, {row["scan"]: row for row in csv.DictReader(file)}

    return call


@pytest.fixture
def disc(ct_series, tmp_path):
    """disc(name, seed, **tags): a disc whose folders and files have the same names as those of all others."""

    def write(name, seed, **tags):
        hu = np.full((4, 32, 32), -1000, np.int16)
        hu[:, 3:29, 3:29] = 1000
        hu[:, 5:27, 5:27] = np.random.default_rng(seed).integers(20, 70, (4, 22, 22))
        patient = {"PatientName": f"DOEJANE^{name}", "PatientID": f"PID-90210-{name}", "PatientBirthDate": "19501231"}
        tags = {"StudyInstanceUID": "1.2.3", "SeriesNumber": 4, "SeriesDescription": "HEAD PLAIN", **patient, **tags}
        ct_series(tmp_path / "in" / name / DISC, hu, POSITIONS_MM, **tags)
        return tmp_path / "in" / name

    return write


def record(tmp_path, name):
    return json.loads((tmp_path / "out" / name / "prediction.json").read_text())


def digests(tmp_path):
    """{name of an output: (inode, digest of its scan)}."""
    files = sorted((tmp_path / "out").glob("*/prediction.json"))
    return {file.parent.name: (file.stat().st_ino, json.loads(file.read_text())["scan_digest"]) for file in files}


def test_names_stay_when_a_disc_is_added(command, disc, tmp_path):
    """Before the others, in the same folder, or as another input, in any order."""
    discs = [disc("disc_1", 1), disc("disc_2", 2)]
    status, _, rows = command(tmp_path / "in")
    assert (status, list(rows)) == (0, ["SER0", "SER0_2"])
    assert [re.sub(", [0-9a-f]{8}$", "", rows[name]["source"]) for name in ("SER0", "SER0_2")] == [
        *("file 1, series 4, 4 slices", "file 5, series 4, 4 slices"),
    ]
    before = digests(tmp_path)
    third = disc("disc_0", 0)
    status, text, rows = command(tmp_path / "in")
    assert (status, set(rows)) == (0, {"SER0", "SER0_2", "SER0_3"})
    assert digests(tmp_path).items() > before.items()
    assert text.count("already done, kept") == 2
    for inputs in ([*discs[::-1], third], [discs[1]], [third, tmp_path / "in"]):
        status, text, rows = command(*inputs)
        assert (status, set(rows)) == (0, {"SER0", "SER0_2", "SER0_3"})
        assert "1 predicted" not in text
    assert digests(tmp_path).items() > before.items()
    assert rows["SER0_3"]["source"].startswith("file 1, ")
    assert rows["SER0_2"]["source"].startswith("file 9 of input 2, ")


def test_the_first_disc_of_many_keeps_its_plain_name(command, disc):
    first, second = disc("disc_2", 2), disc("disc_1", 1)
    assert set(command(first)[2]) == {"SER0"}
    status, text, rows = command(second, first)
    assert (status, set(rows)) == (0, {"SER0", "SER0_2"})
    assert "SER0: already done, kept" in text


def test_a_disc_given_twice_is_one_scan(command, disc, tmp_path):
    first = disc("disc_1", 1)
    copy = shutil.copytree(first, tmp_path / "copy of disc_1")
    for inputs in ([first, first], [copy, first], [tmp_path / "in", copy]):
        status, _, rows = command(*inputs)
        assert (status, set(rows)) == (0, {"SER0"})
    assert set(digests(tmp_path)) == {"SER0"}


def test_two_patients_with_the_same_pixels_are_two_scans(command, disc):
    one, other = disc("disc_1", 1, SeriesInstanceUID="1.2.3.4"), disc("disc_2", 1, SeriesInstanceUID="1.2.3.4")
    assert set(command(one)[2]) == {"SER0"}
    assert set(command(other)[2]) == {"SER0", "SER0_2"}
    assert set(command(other, one)[2]) == {"SER0", "SER0_2"}


def test_a_scan_that_was_moved_keeps_its_folder(command, disc, tiny_root, tmp_path):
    scan = shutil.copy(tiny_root / "ct_scans" / "049.nii", tmp_path / "scan.nii")
    first, second = disc("disc_1", 1), disc("disc_2", 2)
    command(first, second, scan)
    before = {name: digest for name, (_, digest) in digests(tmp_path).items()}
    moved = [first.rename(tmp_path / "archive"), second.rename(tmp_path / "in" / "disc_1")]
    os.rename(scan, tmp_path / "renamed.nii")
    for _ in range(2):
        status, text, rows = command(*moved[::-1], tmp_path / "renamed.nii")
        assert (status, set(rows)) == (0, {"SER0", "SER0_2", "scan"})
        assert text.count("already done, kept") == 3
    assert {name: digest for name, (_, digest) in digests(tmp_path).items()} == before


def test_outputs_of_earlier_versions_keep_their_names(command, disc, tmp_path):
    """They have neither a source nor a key: the scan's digest tells them apart."""
    discs = [disc("disc_1", 1), disc("disc_2", 2)]
    command(tmp_path / "in")
    (tmp_path / "out" / ".source_key").unlink()
    for name in ("SER0", "SER0_2"):
        written = record(tmp_path, name)
        del written["source"]
        (tmp_path / "out" / name / "prediction.json").write_text(json.dumps(written))
    disc("disc_0", 0)
    status, text, rows = command(discs[1])
    assert (status, set(rows)) == (0, {"SER0", "SER0_2"})
    assert "SER0_2: already done, kept" in text
    assert rows["SER0"]["source"] == ""  # as it is not known in this command
    status, text, rows = command(tmp_path / "in")
    assert (status, set(rows)) == (0, {"SER0", "SER0_2", "SER0_3"})
    assert text.count("already done, kept") == 2
    assert [rows[name]["source"].split(",")[0] for name in ("SER0", "SER0_2", "SER0_3")] == [
        "file 5",
        "file 9",
        "file 1",
    ]
    assert all("source" in record(tmp_path, name) for name in rows)


def test_without_its_key_an_output_is_recognized_by_its_scans(command, disc, tmp_path):
    """As where only the visible files were copied."""
    disc("disc_1", 1), disc("disc_2", 2)
    command(tmp_path / "in")
    hashes = {name: record(tmp_path, name)["source"]["hash"] for name in ("SER0", "SER0_2")}
    (tmp_path / "out" / ".source_key").unlink()
    status, text, rows = command(tmp_path / "in")
    assert text.count("already done, kept") == 2
    assert all(record(tmp_path, name)["source"]["hash"] != value for name, value in hashes.items())
    (tmp_path / "out" / ".source_key").write_text("no key")
    with pytest.raises(provenance.InputError, match="source_key: is damaged; expected a key of 64 hexadecimal digits"):
        provenance.read_key(tmp_path / "out")
    assert (status, set(rows)) == (0, {"SER0", "SER0_2"})


def test_the_key_is_made_once_and_never_shown(command, disc, tmp_path):
    _, text, _ = command(disc("disc_1", 1))
    key = (tmp_path / "out" / ".source_key").read_text().strip()
    assert re.fullmatch("[0-9a-f]{64}", key)
    _, again, _ = command(disc("disc_2", 2))
    assert (tmp_path / "out" / ".source_key").read_text().strip() == key
    assert key not in text + again
    for path in (tmp_path / "out").rglob("*.[jc]s*"):
        assert key not in path.read_text()
    source = record(tmp_path, "SER0")["source"]
    assert source == {
        **{"input": 1, "input_path": 1, "series_number": 4, "slices": 4},
        "hash": source["hash"],
    }
    assert re.fullmatch("[0-9a-f]{32}", source["hash"])
    other = record(tmp_path, "SER0_2")["source"]["hash"]
    assert (source["hash"][:16] != other[:16], source["hash"][16:] != other[16:]) == (True, True)


def test_paths_and_descriptions_are_written_on_request_only(command, disc, tmp_path):
    first = disc("DOEJANE", 1)
    _, _, rows = command(first)
    assert "path" not in rows["SER0"]
    for path in (tmp_path / "out" / "worklist.csv", tmp_path / "out" / "SER0" / "prediction.json"):
        assert not [secret for secret in SECRETS if secret in path.read_text()]
    before = digests(tmp_path)
    _, text, rows = command(first, options=["--with_paths"])
    assert "already done, kept" in text
    assert rows["SER0"]["path"] == str(first / DISC)
    source = record(tmp_path, "SER0")["source"]
    assert (source["path"], source["series_description"]) == (str(first / DISC), "HEAD PLAIN")
    assert {name: digest for name, (_, digest) in digests(tmp_path).items()} == {"SER0": before["SER0"][1]}
    assert "path" not in command(first)[2]["SER0"]


def test_scans_that_are_not_predicted_name_their_source(command, disc, tiny_root, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(tiny_root / "ct_scans" / "049.nii", folder / "a.nii")
    (folder / "b.nii").write_bytes(b"no scan")
    broken = disc("disc_1", 1) / DISC
    (broken / "02.dcm").write_bytes((broken / "02.dcm").read_bytes()[:-900])
    status, _, rows = command(folder, folder / "nowhere", options=["--with_paths"])
    assert (status, set(rows)) == (2, {"a", "b", "SER0", ""})
    sources = {name: re.sub("[0-9a-f]{8}$", "HASH", row["source"]) for name, row in rows.items()}
    assert sources == {
        **{"a": "file 1, 4 slices, HASH", "b": "file 2, HASH", "SER0": "file 3, series 4, HASH"},
        "": "",
    }
    assert str(broken) in rows["SER0"]["problem"]
    assert rows["b"]["path"] == str(folder / "b.nii")
    assert rows["SER0"]["path"] == str(broken)
    assert set(os.listdir(tmp_path / "out" / "a")) >= PREDICTION_FILES
    _, text, rows = command(folder, folder / "nowhere")
    assert str(broken) in text  # on the terminal, the whole path
    assert str(tmp_path) not in (tmp_path / "out" / "worklist.csv").read_text()
    assert rows["SER0"]["problem"].startswith("SER0: 02.dcm: ")
    assert rows[""]["problem"].startswith("nowhere: no such file or folder")


def test_scans_of_a_data_set_are_numbered(command, tiny_root):
    _, _, rows = command(tiny_root)
    files = sorted(path.name for path in (tiny_root / "ct_scans").iterdir())
    start = sum(path.is_file() for path in tiny_root.iterdir()) + 1
    for name, row in rows.items():
        assert row["source"].startswith(f"file {start + files.index(f'{name}.nii')}, 4 slices, ")


def test_base_and_vertex_are_one_scan_with_one_source(command, ct_series, tmp_path):
    tags = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4"}
    hu = np.full((4, 32, 32), -1000, np.int16)
    hu[:, 3:29, 3:29], hu[:, 5:27, 5:27], hu[:, 12:18, 12:18] = 1000, 30, 65
    whole = ct_series(tmp_path / "whole", hu, POSITIONS_MM)
    ct_series(tmp_path / "parts" / "base", hu[:2], POSITIONS_MM[:2], SeriesNumber=2, **tags)
    ct_series(tmp_path / "parts" / "vertex", hu[2:], POSITIONS_MM[2:], SeriesNumber=3, **tags)
    status, _, rows = command(whole, tmp_path / "parts", options=["--dicom_seg"])
    masks = [(tmp_path / "out" / name / "mask.nii.gz").read_bytes() for name in ("whole", "parts")]
    assert masks[0] == masks[1]
    assert "merged from 2 series" in rows["parts"]["warnings"]
    assert rows["parts"]["source"].startswith("file 1 of input 2, series 2, 4 slices, ")
    assert status == 2
    assert "2 values of SeriesInstanceUID" in rows["parts"]["problem"]  # only the segmentation is missing
