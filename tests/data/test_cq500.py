"""CQ500: the majority of three readers, the plain series, and scans that are skipped."""

import csv
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import cq500, cq500_index, cq500_reads, splits
from ichjax.data.cq500_reads import FURTHER_FINDINGS, ICH, READERS
from ichjax.data.label_tables import SUBTYPES
from ichjax.dicom.slice_file import hash_study
from ichjax.errors import InputError
from tests import simple_heads

FINDINGS = (ICH, *SUBTYPES, *FURTHER_FINDINGS)
HEIGHTS_MM = np.arange(-60, 90, 20.0)  # of slices, from the middle of the head


def write_reads(root, votes, *, bom=False):
    """reads.csv of {name: {finding: (cell of each reader)}}; other findings are 0."""
    columns = ["name", "Category", *(f"{reader}:{name}" for reader in READERS for name in FINDINGS)]
    with (root / "reads.csv").open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for name, found in votes.items():
            cells = [found.get(finding, "000")[k].strip() for k in range(3) for finding in FINDINGS]
            writer.writerow([name, "B1", *cells])


def read(root):
    return cq500_reads.read_reads(root / "reads.csv")


@given(st.dictionaries(st.sampled_from(FINDINGS), st.tuples(*[st.sampled_from("01")] * 3), min_size=1), st.booleans())
def test_two_of_three_decide(tmp_path_factory, votes, bom):
    root = tmp_path_factory.mktemp("reads")
    write_reads(root, {"CQ500-CT-7": votes}, bom=bom)
    reads, unusable, _ = read(root)
    counts = {name: sum(cell == "1" for cell in votes.get(name, "000")) for name in FINDINGS}
    assert unusable == {}
    assert reads[7].labels.tolist() == [counts[name] >= 2 for name in ("IVH", "IPH", "SAH", "EDH", "SDH", "ICH")]
    assert reads[7].findings == {name: counts[name] >= 2 for name in FURTHER_FINDINGS}
    assert reads[7].votes == counts


def test_missing_reads_leave_a_scan_without_labels_only_if_no_two_agree(tmp_path):
    write_reads(tmp_path, {"CQ500-CT-1": {"ICH": "11 "}, "CQ500-CT-2": {"ICH": "1 0"}, "CQ500-CT-3": {"EDH": "   "}})
    reads, unusable, _ = read(tmp_path)
    assert reads[1].labels[-1]
    assert unusable == {2: "too few reads of ICH", 3: "too few reads of EDH"}


def test_a_sub_type_without_any_hemorrhage_is_noted(tmp_path):
    write_reads(tmp_path, {"CQ500-CT-1": {"ICH": "100", "SDH": "110"}, "CQ500-CT-2": {"ICH": "111", "SDH": "110"}})
    _, _, notes = read(tmp_path)
    assert notes == ("reads.csv: most readers see a sub-type, but no ICH, in 1 scans: CQ500-CT-1",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "is empty"),
        (lambda text: text.replace("R2:SAH", "R2:other"), "lacks the columns R1:SAH, R2:SAH, R3:SAH"),
        (lambda text: text.replace("name,", "scan,"), "lacks the columns name"),
        (lambda text: text.replace("CQ500-CT-1,", "scan 1,"), "line 2: names the scan 'scan 1'"),
        (lambda text: text.replace("CQ500-CT-2,", "CQ500-CT-1,"), "line 3: CQ500-CT-1 is listed twice"),
        (lambda text: text.replace("CQ500-CT-2,B1,0", "CQ500-CT-2,B1,yes"), "line 3: holds 'yes'"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path, change, message):
    write_reads(tmp_path, {"CQ500-CT-1": {}, "CQ500-CT-2": {}})
    path = tmp_path / "reads.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message):
        read(tmp_path)


@pytest.fixture(scope="module")
def scan_folders(tmp_path_factory, ct_series):
    """A set: scan 0 has a bone, a contrast and a plain series, 1 is a neck, 2 damaged, 3 has no reads, 5 no files."""
    root, pixel = tmp_path_factory.mktemp("cq500"), {"PixelSpacing": [simple_heads.PIXEL_MM] * 2}

    def add(number, series, hu, **tags):
        folder = root / f"CQ500CT{number} CQ500CT{number}/Unknown Study/{series}"
        uids = {"StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.2.{number}.{len(series)}"}
        ct_series(folder, hu, HEIGHTS_MM, **pixel, **uids, PatientID=f"CQ500CT{number}", **tags)

    head = simple_heads.head(HEIGHTS_MM)
    add(0, "CT BONE", head, SeriesDescription="bone", ConvolutionKernel="H70s")
    add(0, "CT PLAIN", head, SeriesDescription="plain", ConvolutionKernel="H30s")
    add(0, "CT POST CONTRAST", head, SeriesDescription="post contrast", ContrastBolusAgent="Omnipaque")
    add(1, "CT NECK", simple_heads.neck(HEIGHTS_MM), SeriesDescription="neck", BodyPartExamined="NECK")
    add(2, "CT PLAIN", head)
    damaged = root / "CQ500CT2 CQ500CT2/Unknown Study/CT PLAIN/03.dcm"
    damaged.write_bytes(damaged.read_bytes()[:300])
    add(3, "CT PLAIN", head)
    (root / "CQ500CT5 CQ500CT5/Unknown Study").mkdir(parents=True)
    votes = {f"CQ500-CT-{number}": {} for number in (0, 1, 2, 4, 5)}
    write_reads(root, {**votes, "CQ500-CT-0": {"ICH": "110", "SDH": "011"}, "CQ500-CT-6": {"ICH": "1 0"}})
    return root


def test_scans_have_a_folder_and_reads_and_others_are_named(scan_folders):
    dataset = cq500.read_dataset(scan_folders)
    assert [scan.name for scan in dataset.scans] == [f"CQ500-CT-{number}" for number in (0, 1, 2, 5)]
    assert dataset.scans[0].reads.labels.astype(int).tolist() == [0, 0, 0, 0, 1, 1]
    assert dataset.skipped == {
        "CQ500-CT-3": "has no row in reads.csv",
        "CQ500-CT-4": "has labels, but no folder",
        "CQ500-CT-6": "too few reads of ICH in reads.csv",
    }


def test_the_plain_series_is_read(scan_folders):
    scan = cq500.read_scan(cq500.read_dataset(scan_folders).scans[0])
    assert scan.volume.name == "CQ500-CT-0"
    assert scan.study_hash == hash_study("1.2.0")
    assert scan.volume.shape == (len(HEIGHTS_MM), simple_heads.SIDE, simple_heads.SIDE)
    assert len(scan.others) == 2
    assert any("sharp kernel H70s" in label for label in scan.others)
    assert any("contrast" in label for label in scan.others)
    assert not any(word in scan.label for word in ("sharp", "contrast"))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, r"^CQ500-CT-1: no series is a plain head, the best is series 1 .*neck"),
        (2, r"^CQ500-CT-2: 03\.dcm"),
        (5, r"^CQ500-CT-5: holds no files"),
    ],
)
def test_a_scan_that_cannot_be_read_is_named(scan_folders, number, message):
    scans = {scan.reads.number: scan for scan in cq500.read_dataset(scan_folders).scans}
    with pytest.raises(InputError, match=message):
        cq500.read_scan(scans[number])


def test_folders_may_lie_in_the_folders_of_the_archives(scan_folders, tmp_path):
    root = tmp_path / "set"
    (root / "qct01").mkdir(parents=True)
    shutil.copytree(scan_folders / "CQ500CT5 CQ500CT5", root / "qct01/CQ500CT5 CQ500CT5")
    shutil.copy(scan_folders / "reads.csv", root)
    assert [scan.name for scan in cq500.read_dataset(root).scans] == ["CQ500-CT-5"]
    (root / "CQ500CT5").mkdir()
    with pytest.raises(InputError, match="are both of CQ500-CT-5; expected one folder"):
        cq500.read_dataset(root)


def test_a_folder_that_is_no_such_set_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no reads\.csv"):
        cq500.read_dataset(tmp_path)
    write_reads(tmp_path, {"CQ500-CT-1": {}})
    with pytest.raises(InputError, match=r"no folder belongs to a scan of reads\.csv"):
        cq500.read_dataset(tmp_path)


def test_folds_have_each_scan_once(tmp_path):
    votes = {}
    for number in range(12):
        (tmp_path / f"CQ500CT{number} CQ500CT{number}").mkdir()
        votes[f"CQ500-CT-{number}"] = {"ICH": "111", SUBTYPES[number % 5]: "111"} if number % 2 else {}
    write_reads(tmp_path, votes)
    dataset = cq500.read_dataset(tmp_path)
    made = cq500.split(dataset, folds=3, seed=1)
    splits.check(made, range(12))
    bleeding = {k for k, scan in enumerate(dataset.scans) if scan.reads.labels[-1]}
    assert [len(bleeding & set(fold.test)) for fold in made.folds] == [2, 2, 2]


def test_a_scan_is_summarized_once_and_again_when_its_files_change(scan_folders, tmp_path, monkeypatch):
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    root = shutil.copytree(scan_folders, tmp_path / "set")
    scans = cq500.read_dataset(root).scans
    whole = cq500.read_scan(scans[0])
    summary = cq500_index.summarize(scans[0])
    assert summary.shape == whole.volume.shape
    assert summary.spacing_mm == pytest.approx(whole.volume.spacing_mm)
    assert (summary.label, summary.study_hash, summary.others) == (whole.label, whole.study_hash, whole.others)
    kept = list((tmp_path / "cache" / "cq500").glob("*/*"))
    assert len(kept) == 1
    assert "CQ500CT0" not in kept[0].read_text()

    reads = []
    monkeypatch.setattr(cq500, "read_scan", lambda scan: reads.append(scan.name) or whole)
    assert cq500_index.summarize(scans[0]) == summary
    assert reads == []
    (kept[0]).write_text("{")
    assert cq500_index.summarize(scans[0]) == summary
    assert reads == ["CQ500-CT-0"]
    next(scans[0].folder.rglob("*.dcm")).touch()
    cq500_index.summarize(scans[0])
    assert len(reads) == 2


def test_a_scan_that_cannot_be_used_is_not_kept(scan_folders, tmp_path, monkeypatch):
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    damaged = next(scan for scan in cq500.read_dataset(scan_folders).scans if scan.reads.number == 2)
    for _ in range(2):
        with pytest.raises(InputError, match=r"^CQ500-CT-2: 03\.dcm"):
            cq500_index.summarize(damaged)
    assert not list((tmp_path / "cache").rglob("scan.json"))
