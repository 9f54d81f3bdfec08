"""No output identifies a patient: every byte that is written or printed is searched."""

import gzip
import logging
import re
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest

import launch
from ichjax.report.figures import run as run_figures

pytestmark = pytest.mark.xdist_group("predict")  # one trained run for all
SECRETS = ("DOEJANE", "PID-90210", "19501231", "Saint Elsewhere", "1.2.3.4.5.6.7.8.9.4711", "DRWHO")


@pytest.fixture
def titles(monkeypatch):
    """Collects the titles of the figures, since text in pixels cannot be searched."""
    drawn, draw = [], run_figures.overlay_sheet

    def spy(*args, **kwargs):
        drawn.append(kwargs["title"])
        draw(*args, **kwargs)

    monkeypatch.setattr(run_figures, "overlay_sheet", spy)
    return drawn


def png_chunks(data):
    """[(type, contents)] of a PNG, compressed text decompressed."""
    chunks, start = [], 8
    while start < len(data):
        (length,), kind = struct.unpack(">I", data[start : start + 4]), data[start + 4 : start + 8]
        content = data[start + 8 : start + 8 + length]
        if kind == b"zTXt":
            content = zlib.decompress(content[content.index(b"\0") + 2 :])
        chunks.append((kind.decode(), content))
        start += length + 12
    return chunks


def all_bytes(folder):
    """{path: its name and bytes, compressed and decompressed}."""
    contents = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder)).encode()
        if path.is_file():
            data = path.read_bytes()
            decompressed = gzip.decompress(data) if path.suffix == ".gz" else b""
            texts = [content for _, content in png_chunks(data)] if path.suffix == ".png" else []
            contents[path] = b"|".join([name, data, decompressed, *texts])
        else:
            contents[path] = name
    return contents


def holds(haystack, secret):
    """Whether bytes hold a secret, as ASCII or as UTF-16, in any case."""
    return any(form.lower() in haystack.lower() for form in (secret.encode(), secret.encode("utf-16-le")))


def test_the_search_finds_compressed_text(tmp_path):
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(b"...doejane...")
    chunk = b"zTXt" + b"Title\0\0" + zlib.compress(b"DOEJANE")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(chunk) - 4) + chunk + b"\0\0\0\0")
    assert [holds(data, "DOEJANE") for data in all_bytes(tmp_path).values()] == [True, True]


def test_outputs_of_predict_name_no_patient(tiny_threshold_run, tiny_root, ct_series, tmp_path, titles, capsys):
    image = nib.load(tiny_root / "ct_scans" / "049.nii")
    array = np.asarray(image.dataobj)
    image.header["descrip"] = b"DOEJANE 19501231"
    image.header["aux_file"] = b"DOEJANE.hdr"
    image.header["db_name"] = b"PID-90210"
    image.header["intent_name"] = b"DRWHO"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Saint Elsewhere, DOEJANE"))
    named = tmp_path / "DOEJANE 19501231" / "named"  # as discs are often named
    named.mkdir(parents=True)
    nib.save(nib.Nifti1Image(array, image.affine, image.header), named / "a.nii")
    assert holds((named / "a.nii").read_bytes(), "DOEJANE")
    ct_series(
        named / SECRETS[4],  # exports often name a series' folder by its UID
        array.transpose(2, 1, 0)[:, ::-1],
        (0.0, 5.0, 10.0, 15.0),
        SeriesInstanceUID=SECRETS[4],
        StudyInstanceUID=SECRETS[4] + ".1",
        PatientName="DOEJANE",
        PatientID="PID-90210",
        PatientBirthDate="19501231",
        InstitutionName="Saint Elsewhere",
        ReferringPhysicianName="DRWHO",
        SeriesDescription="HEAD DOEJANE",
        ImageComments="DOEJANE",
    )
    words = [f"--workdir={tiny_threshold_run}", "--input", str(named / "a.nii"), str(named / SECRETS[4])]
    assert launch.main(["predict", *words, f"--output={tmp_path / 'out'}"]) == 0
    printed = capsys.readouterr()
    contents = all_bytes(tmp_path / "out")
    assert {path.name for path in contents} == {
        *("a", "scan", "mask.nii.gz", "scan.nii.gz", "overlay.png", "prediction.json"),
        *("worklist.csv", "manifest.json", ".source_key"),
    }
    contents["terminal"] = (printed.out + printed.err).encode()
    contents["titles"] = " ".join(titles).encode()
    assert len(titles) == 2
    for path, data in contents.items():
        for secret in SECRETS:
            assert not holds(data, secret), f"{path} holds {secret}"
        if path != "terminal":
            assert not holds(data, str(tmp_path)), f"{path} holds a path"
            assert not re.search(rb"\d+(\.\d+){5,}", data[:2000]), f"{path} holds a UID"
    for path in (tmp_path / "out").rglob("*.nii.gz"):
        header = nib.load(path).header
        assert len(header.extensions) == 0
        for field in ("descrip", "aux_file", "db_name", "intent_name"):
            assert header[field].tobytes().strip(b"\0") == b""


def test_messages_about_damaged_files_name_no_patient(tiny_threshold_run, tiny_root, ct_series, tmp_path, capsys):
    array = np.asarray(nib.load(tiny_root / "ct_scans" / "049.nii").dataobj).transpose(2, 1, 0)
    tags = {"PatientName": "DOEJANE", "PatientID": "PID-90210", "InstitutionName": "Saint Elsewhere"}
    cut = ct_series(tmp_path / "cut", array, (0.0, 5.0, 10.0, 15.0), **tags)
    (cut / "01.dcm").write_bytes((cut / "01.dcm").read_bytes()[:-700])
    twice = ct_series(tmp_path / "twice", array, (0.0, 5.0, 5.0, 15.0), **tags)
    no_head = ct_series(tmp_path / "no_head", np.zeros_like(array), (0.0, 5.0, 10.0, 15.0), **tags)
    words = [f"--workdir={tiny_threshold_run}", "--input", str(cut), str(twice), str(no_head)]
    assert launch.main(["predict", *words, f"--output={tmp_path / 'out'}"]) == 2
    printed = capsys.readouterr()
    assert printed.out.count("skipped: ") == 3
    for secret in SECRETS:
        assert secret not in printed.out + printed.err


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # raised by the writing
def test_values_that_violate_the_standard_are_not_printed(
    tiny_threshold_run, tiny_root, ct_series, tmp_path, capsys, caplog, recwarn
):
    """pydicom warns of such values and logs the warnings, which quote them."""
    array = np.asarray(nib.load(tiny_root / "ct_scans" / "049.nii").dataobj).transpose(2, 1, 0)
    tags = {
        "StudyInstanceUID": "DOEJANE.19501231",
        "FrameOfReferenceUID": "PID-90210",
        "PatientBirthDate": "19501231 DOEJANE",
        "PatientID": "PID-90210" * 20,
        "PatientSex": "DRWHO",
        "AccessionNumber": "Saint Elsewhere" * 4,
    }
    folder = ct_series(tmp_path / "bent", array, (0.0, 5.0, 10.0, 15.0), **tags)
    caplog.clear(), recwarn.clear(), caplog.set_level(logging.DEBUG)
    words = ["predict", f"--workdir={tiny_threshold_run}", f"--input={folder}", f"--output={tmp_path / 'out'}"]
    launch.main([*words, "--dicom_seg"])
    printed = capsys.readouterr()
    texts = [printed.out, printed.err, caplog.text, *(str(warning.message) for warning in recwarn)]
    for secret in SECRETS:
        assert secret not in " ".join(texts)
    logging.getLogger("pydicom").warning("DOEJANE")  # shows that the log would have caught it
    assert "DOEJANE" in caplog.text


def test_a_run_holds_no_path_except_that_of_its_data(tiny_threshold_run, tiny_root):
    """Only config.json holds the path of the data set, which `report` needs."""
    for path, data in all_bytes(tiny_threshold_run).items():
        if path.name != "config.json":
            assert not holds(data, str(tiny_root)), path
            assert not holds(data, str(tiny_threshold_run)), path
