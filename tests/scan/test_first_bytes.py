"""Files that are compressed or not, whatever their names, and files of other formats: told by their first bytes."""

import bz2
import gzip
import io
import itertools
import lzma
import tarfile
import tracemalloc
import zipfile

import nibabel as nib
import numpy as np
import pytest

from ichjax.errors import InputError
from ichjax.inference import discover
from ichjax.scan import first_bytes, nifti

AFFINE = np.diag([-1.0, -1.0, 5.0, 1.0])


def head(kind=nib.Nifti1Image):
    """(int16 [16, 16, 8], the bytes of a NIfTI with these HU, not compressed)."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (16, 16, 8)).astype(np.int16)
    return hu, kind(hu, AFFINE).to_bytes()


def in_members(content, *lengths):
    """A gzip file of several members, each with so many bytes; the last one has the rest."""
    ends = [0, *np.cumsum(lengths), len(content)]
    return b"".join(gzip.compress(content[a:b], 1) for a, b in itertools.pairwise(ends))


PACKINGS = {
    "not compressed": lambda content: content,
    "gzip": gzip.compress,
    "an empty member first": lambda content: in_members(content, 0, 100),
    "a header in members": lambda content: in_members(content, 1, 100, 250),
    "the voxels in members": lambda content: in_members(content, 352, 1000),
    "other bytes last": lambda content: gzip.compress(content) + b"other bytes",
    "zeros last": lambda content: gzip.compress(content) + bytes(1000),
    "an empty member last": lambda content: gzip.compress(content) + gzip.compress(b""),
}


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_compression_is_told_by_the_content(tmp_path, packing, name, kind):
    hu, content = head(kind)
    (tmp_path / name).write_bytes(PACKINGS[packing](content))
    scan = nifti.read_nifti(tmp_path / name)
    np.testing.assert_array_equal(scan.to_file_grid(scan.hu), hu)
    np.testing.assert_array_equal(scan.file_affine, AFFINE)
    assert scan.notes == ()
    assert not nifti.is_craniocaudal(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_truncated_member_is_one_sentence(tmp_path, name):
    packed = in_members(head()[1], 352, 1000)
    for length in (1, 2, 9, 20, 200, 1000, len(packed) - 40):
        (tmp_path / name).write_bytes(packed[:length])
        with pytest.raises(InputError, match=r"not a readable NIfTI|truncated"):
            nifti.read_nifti(tmp_path / name)


@pytest.mark.parametrize("rest", [b"", bytes(100_000)])
def test_voxels_that_contradict_the_checksum_are_damaged(tmp_path, rest):
    """One byte of the stored block that holds the voxels is changed: it can be decompressed, into other HU."""
    packed = bytearray(gzip.compress(head()[1] + rest, 0))
    packed[2000] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(packed)
    with pytest.raises(InputError, match=r"a\.nii\.gz: the image data is damaged or truncated \(CRC check failed"):
        nifti.read_nifti(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_bomb_of_many_members_takes_no_memory(tmp_path, name):
    """256 MB of zeros behind a header of 8 x 8 x 4 voxels and 64 members; and a bomb without any header."""
    zeros = gzip.compress(bytes(2**22))
    small = nib.Nifti1Image(np.zeros((8, 8, 4), np.int16), AFFINE).to_bytes()
    for content in (gzip.compress(small) + zeros * 64, zeros * 64):
        (tmp_path / name).write_bytes(content)
        tracemalloc.start()
        with pytest.raises(InputError):
            nifti.read_nifti(tmp_path / name)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20e6


def packed_zip(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("IM0001.dcm", content)
    return file.getvalue()


def packed_tar(content):
    file, member = io.BytesIO(), tarfile.TarInfo("IM0001.dcm")
    member.size = len(content)
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


CONTENT = head()[1]
OTHERS = {  # file name, content, expected message
    "zip": ("a.zip", packed_zip(CONTENT), r"is a zip file \(unpack it\)"),
    "zip without extension": ("a", packed_zip(CONTENT), r"is a zip file \(unpack it\)"),
    "zip called nii": ("a.nii.gz", packed_zip(CONTENT), r"is a zip file \(unpack it\); expected a NIfTI"),
    "tar": ("a.tar", packed_tar(CONTENT), r"is a tar file \(unpack it\)"),
    "tar.gz": ("a.tar.gz", gzip.compress(packed_tar(CONTENT)), r"is a tar file \(unpack it\)"),
    "bzip2": ("a.nii.bz2", bz2.compress(CONTENT), r"is a bzip2 file \(unpack it\)"),
    "xz": ("a.nii.xz", lzma.compress(CONTENT), r"is an xz file \(unpack it\)"),
    "gzip twice": ("a.nii.gz", gzip.compress(gzip.compress(CONTENT)), r"is a gzip file in a gzip file \(unpack it\)"),
    "gzip of something": ("a.gz", gzip.compress(b"text" * 300), r"is a gzip file \(unpack it\)"),
    "MetaImage": ("a.mha", b"ObjectType = Image\nNDims = 3\n", r"is a MetaImage \(convert it to \.nii\.gz, .*\)"),
    "MetaImage of other words": ("a.MHD", b"NDims = 3\n", r"is a MetaImage \(convert it to \.nii\.gz, .*\)"),
    "NRRD": ("a.nrrd", b"NRRD0004\ntype: short\n", r"is an NRRD image \(convert it to \.nii\.gz, .*\)"),
    "NRRD header": ("a.nhdr", b"NRRD0004\ntype: short\n", r"is an NRRD image \(convert it to \.nii\.gz, .*\)"),
    "NRRD called nii": ("a.nii", b"NRRD0004\ntype: short\n", r"is an NRRD image \(convert it"),
    "Git LFS": ("a.nii.gz", b"version https://git-lfs.github.com/spec/v1\n", r"fetch the file with git lfs pull"),
    "DICOM called nii": (
        "a.nii",
        bytes(128) + b"DICM" + bytes(400),
        "is a DICOM file; expected a NIfTI, or the folder",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_formats_are_named(tmp_path, case):
    name, content, message = OTHERS[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        nifti.read_nifti(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    if not nifti.is_nifti_name(name):
        with pytest.raises(InputError, match=f"^{tmp_path.name}: {name}: {message}; expected"):
            discover.read_one(tmp_path)


@pytest.mark.parametrize("names", [("scan.img", "scan.hdr"), ("scan.img.gz", "scan.hdr.gz")])
@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.AnalyzeImage])
def test_images_in_two_files_are_named(tmp_path, kind, names):
    kind(head()[0], AFFINE).to_filename(tmp_path / names[0])
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    for path in (tmp_path / names[0], tmp_path / names[1]):
        with pytest.raises(InputError, match=r"in two files, \.hdr and \.img \(convert the pair to one \.nii"):
            discover.read_one(path)
    with pytest.raises(InputError, match=r"scan\.hdr\S* and 1 more: is half of a NIfTI or Analyze image"):
        discover.read_one(tmp_path)


def test_other_files_have_no_name(tmp_path):
    for name, content in {"a.txt": b"text", "a.img": bytes(900), "b.hdr": b"#?RADIANCE\n", "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
        assert first_bytes.describe_file(tmp_path / name) == ""
    assert first_bytes.describe_file(tmp_path) == ""
    assert first_bytes.describe_file(tmp_path / "missing") == ""


def test_a_scan_is_read_beside_other_formats_which_are_printed(tmp_path, capsys):
    (tmp_path / "a.nii").write_bytes(CONTENT)
    for name in ("b.mha", "c.mha", "d.zip"):
        (tmp_path / name).write_bytes(b"ObjectType = Image\n" if name.endswith("mha") else packed_zip(b""))
    assert discover.read_one(tmp_path).shape == (8, 16, 16)
    printed = capsys.readouterr().out
    assert "skipped b.mha and 1 more: is a MetaImage" in printed
    assert "skipped d.zip: is a zip file" in printed


def test_results_need_an_existing_folder(tmp_path):
    (tmp_path / "a.nii").write_bytes(CONTENT)
    scan = nifti.read_nifti(tmp_path / "a.nii")
    for folder in (tmp_path / "missing", tmp_path / "a.nii"):
        with pytest.raises(InputError, match=f"there is no folder {folder}; expected an existing one"):
            nifti.write_nifti(folder / "mask.nii.gz", np.zeros(scan.shape, np.uint8), scan)
