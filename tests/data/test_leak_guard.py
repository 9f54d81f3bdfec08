"""The leak guard: the same scan is recognized through its study or its pixels, whatever file it comes in."""

import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest

from ichjax.data import leak_guard, rsna, rsna_index
from ichjax.data.leak_guard import ScanIdentity, SeenScans
from ichjax.dicom.slice_file import hash_study
from ichjax.errors import InputError
from ichjax.scan import nifti
from tests.dicom_slices import write_set


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """The index of an RSNA set of two scans."""
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    heights = [0, 5, 10, 16]
    studies = [("P1", "1.2.1", "a"), ("P2", "1.2.2", "b")]
    write_set(tmp_path / "set", [(p, uid, [(f"ID_{x}{z}", z, []) for z in heights]) for p, uid, x in studies])
    return rsna_index.open_index(tmp_path / "set", workers=1)


def index_of(scans, study):
    return int(np.flatnonzero(scans.scans["study"] == hash_study(study).encode())[0])


def test_a_scan_converted_to_nifti_has_the_same_digests(scans, tmp_path):
    volume = rsna.read_scan(scans, 0).volume
    path = tmp_path / "converted.nii.gz"
    nifti.write_nifti(path, volume.hu, volume)
    again = nifti.read_nifti(path)
    assert leak_guard.slice_digests(again) == leak_guard.slice_digests(volume)
    assert len(leak_guard.slice_digests(volume)) == 4


@pytest.mark.parametrize("axes", ["PSR", "IAL"])
def test_the_file_s_axes_do_not_matter(scans, tmp_path, axes):
    volume = rsna.read_scan(scans, 1).volume
    path, turned = tmp_path / "scan.nii", tmp_path / "turned.nii"
    nifti.write_nifti(path, volume.hu, volume)
    image = nib.load(path)
    target = nib.orientations.axcodes2ornt(tuple(axes))
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), target)
    nib.save(image.as_reoriented(turn), turned)
    again = nifti.read_nifti(turned)
    assert leak_guard.slice_digests(again) == leak_guard.slice_digests(volume)


def test_padding_clipped_bone_and_lost_slices_do_not_hide_a_scan(scans):
    volume = rsna.read_scan(scans, 0).volume
    hu = volume.hu[1:].copy()
    hu[:, :2, :2] = 3071  # padding
    changed = dataclasses.replace(volume, hu=np.clip(hu, -200, 3071))
    assert leak_guard.slice_digests(changed) < leak_guard.slice_digests(volume)
    assert len(leak_guard.slice_digests(changed)) == 3


def test_one_hu_of_brain_makes_another_slice_and_air_makes_none(scans):
    volume = rsna.read_scan(scans, 0).volume
    changed = volume.hu.copy()
    changed[:, 16, 16] += 1
    assert leak_guard.slice_digests(dataclasses.replace(volume, hu=changed)).isdisjoint(
        leak_guard.slice_digests(volume)
    )
    assert leak_guard.slice_digests(dataclasses.replace(volume, hu=np.full_like(volume.hu, -1000))) == frozenset()


def test_test_scans_seen_in_pre_training_are_refused(scans):
    first, second = (rsna.read_scan(scans, index_of(scans, study)).volume for study in ("1.2.1", "1.2.2"))
    seen = leak_guard.collect(rsna.identify_scans(scans, [index_of(scans, "1.2.1")]))
    by_pixels, by_study = leak_guard.identify(first), ScanIdentity(frozenset([hash_study("1.2.1")]), frozenset())
    other = leak_guard.identify(second, studies=[hash_study("1.2.2")])
    leak_guard.refuse_seen(seen, {7: other}, fold=0)
    leak_guard.refuse_seen(seen, {}, fold=0)
    with pytest.raises(InputError) as caught:
        leak_guard.refuse_seen(seen, {9: by_study, 7: other, 5: by_pixels}, fold=3)
    message = str(caught.value)
    assert message.startswith("fold 3: 2 of its 3 test scans were seen in pre-training (subjects 5, 9); expected")
    assert "1.2.1" not in message
    assert hash_study("1.2.1") not in message


def test_many_subjects_are_counted():
    seen = SeenScans(1, frozenset(["a"]), frozenset())
    tests = {number: ScanIdentity(frozenset(["a"]), frozenset()) for number in range(20)}
    with pytest.raises(InputError, match=r"20 of its 20 .* 6, 7 and 12 more\)"):
        leak_guard.refuse_seen(seen, tests, fold=0)


def test_a_study_in_a_file_s_name_counts(scans):
    volume = rsna.read_scan(scans, 0).volume
    named = leak_guard.identify(volume, file_name="ID_0219ef88_ID_e5c1a31210.nii.gz")
    assert named.studies == {hash_study("ID_e5c1a31210")}
    assert leak_guard.identify(volume, file_name="049.nii").studies == frozenset()


def test_a_scan_that_cannot_be_stacked_is_known_by_its_study(scans):
    for number in scans.slice_numbers(0):
        scans.path(number).unlink()
    (identity,) = rsna.identify_scans(scans, [0])
    assert identity.slices == frozenset()
    assert identity.studies == {scans.scans["study"][0].decode()}


def test_slices_of_a_scan_that_cannot_be_stacked_count_one_by_one(scans, tmp_path):
    """Two slices at one position: it is trained on, slice by slice, and a converted scan without its name has them."""
    volume = rsna.read_scan(scans, 0).volume
    write_set(tmp_path / "again", [("P1", "1.2.9", [(f"ID_c{k}", z, []) for k, z in enumerate([0, 5, 5, 16])])])
    index = rsna_index.open_index(tmp_path / "again", workers=1)
    with pytest.raises(InputError, match="lie at one position"):
        rsna.read_scan(index, 0)
    (identity,) = rsna.identify_scans(index, [0])
    assert len(identity.slices) == 4
    first = index_of(scans, "1.2.1")
    assert identity.slices == leak_guard.slice_digests(rsna.read_scan(scans, first).volume)  # the same noise
    assert leak_guard.is_seen(leak_guard.collect([identity]), leak_guard.identify(volume)) == (first == 0)


def test_a_record_is_read_as_written_and_names_nobody(scans, tmp_path):
    seen = leak_guard.collect(rsna.identify_scans(scans, [0, 1]))
    path = tmp_path / "seen.json"
    leak_guard.write(seen, path)
    assert leak_guard.read(path) == seen
    assert (seen.scans, len(seen.studies), len(seen.slices)) == (2, 2, 8)
    text = path.read_text()
    assert "P1" not in text
    assert "1.2.1" not in text
    assert json.loads(text)["studies"] == sorted(hash_study(uid) for uid in ("1.2.1", "1.2.2"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "has the schema 2; expected 1"),
        ({"studies": "x"}, "expected a list of hashes as 'studies'"),
        ({"slices": [1]}, "expected a list of hashes as 'slices'"),
        ({"scans": None}, "expected the number of scans"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path, change, message):
    path = tmp_path / "seen.json"
    path.write_text(json.dumps({"schema": 1, "scans": 0, "studies": [], "slices": [], **change}))
    with pytest.raises(InputError, match=message):
        leak_guard.read(path)
