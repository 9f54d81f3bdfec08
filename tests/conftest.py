"""Shared fixtures; every test runs on several CPU devices, with strict rank promotion and warnings as errors."""

import functools
import gc
import os
import tempfile

from tests import xla

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        f"--xla_force_host_platform_device_count={os.environ.get('ICHJAX_TEST_DEVICES', '4')}",
        *xla.FLAGS,
    ]
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Programs that several tests compile, in this process or another, are compiled once per session.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.TemporaryDirectory(prefix="ichjax-programs-")  # removed by the process that made it
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import hypothesis
import jax
import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import launch
from ichjax import config
from ichjax.train import parallel
from ichjax.train import step as steps

jax.config.update("jax_numpy_rank_promotion", "raise")
gc.freeze()
gc.set_threshold(50_000, 20, 50)  # tracing makes many objects; collecting them took 8 % of the time

# No deadline, because compilation makes the first examples slow and the machine may be busy; always the same examples.
hypothesis.settings.register_profile("ichjax", deadline=None, derandomize=True, max_examples=20)
hypothesis.settings.load_profile("ichjax")


def pytest_configure(config):
    """Registers the mark that keeps tests sharing a costly run on one worker, also if pytest-xdist is not installed."""
    config.addinivalue_line("markers", "xdist_group(name): runs on the worker of its group")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keeps the tests of a file on one worker, which then makes its fixtures and compiles its programs only once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keeps the tests out of the user's cache folder."""
    os.environ["ICHJAX_CACHE"] = str(tmp_path_factory.mktemp("cache"))


TINY_AFFINE = np.array([[-6.0, 0, 0, 93], [0, 6, 0, -93], [0, 0, 5, 0], [0, 0, 0, 1]])  # x left, y front, slices up
TINY_BLEEDS = {  # {subject: (slices, center row and column in a Volume's slice, sub-type)}
    49: ((1, 2), (12, 11), "Intraparenchymal"),
    50: ((0, 1, 2), (13, 20), "Epidural"),
    52: ((2, 3), (20, 12), "Epidural"),
    53: ((1, 2), (19, 20), "Intraparenchymal"),
    55: ((1,), (16, 16), "Subdural"),
    56: ((1, 2, 3), (11, 17), "Subdural"),
}


def _tiny_subject(number):
    """(hu int16, mask uint8) [4, 32, 32]: brain in a ring of bone in air, with a blob of blood in `TINY_BLEEDS`."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:32, :32]
    radius = np.hypot(y - 15.5, x - 15.5)
    plane = np.select([radius < 11.5, radius < 13], [30.0, 1000.0], -1000.0)
    hu, mask = np.repeat(plane[None], 4, axis=0), np.zeros((4, 32, 32), np.uint8)
    if number in TINY_BLEEDS:
        slices, (row, column), _ = TINY_BLEEDS[number]
        blob = np.hypot(y - row, x - column) < 3.6
        for d in slices:
            hu[d][blob], mask[d][blob] = 65.0, 1
    return np.rint(hu + rng.normal(0, 3, hu.shape)).clip(-1000).astype(np.int16), mask


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    """A data set of subjects 49 to 57 in the nifti layout, 32 x 32 x 4 voxels of 6 x 6 x 5 mm; copy it before changing
    it. 51 has an empty mask, 54 and 57 have no mask, the others bleed (`TINY_BLEEDS`)."""
    root = tmp_path_factory.mktemp("tiny")
    for folder in ("ct_scans", "masks"):
        (root / folder).mkdir()
    types = ("Intraventricular", "Intraparenchymal", "Subarachnoid", "Epidural", "Subdural")
    slices = [f"PatientNumber,SliceNumber,{','.join(types)},No_Hemorrhage,Fracture_Yes_No"]
    people = [f'Patient Number,"Age\n(years)",Gender,{",".join(types)},Fracture (yes 1/no 0),Note1']
    for number in range(49, 58):
        hu, mask = _tiny_subject(number)
        bleeding, _, subtype = TINY_BLEEDS.get(number, ((), None, None))
        for folder, array in (("ct_scans", hu), ("masks", mask)):
            if folder == "ct_scans" or number not in (54, 57):
                image = nib.Nifti1Image(array.transpose(2, 1, 0)[:, ::-1], TINY_AFFINE)
                nib.save(image, root / folder / f"{number:03d}.nii")
        for d in range(4):
            flags = ["1" if d in bleeding and name == subtype else "" for name in types]
            slices.append(f"{number},{d + 1},{','.join(flags)},{'' if d in bleeding else '1'},")
        flags = ["1" if name == subtype else "" for name in types]
        people.append(f"{number},{10 + 5 * (number - 49)},{'Male' if number % 2 else 'Female'},{','.join(flags)},,")
    (root / "hemorrhage_diagnosis_raw_ct.csv").write_text("\n".join(slices) + "\n")
    (root / "Patient_demographics.csv").write_text("\n".join(people) + "\n")
    return root


@pytest.fixture(scope="session")
def tiny_config(tiny_root):
    """tiny_config(**{"train.epochs": 1, ...}): a configuration for `tiny_root` that trains in a second or two."""

    def make(**overrides):
        fields = {
            "data.root": str(tiny_root),
            "data.splits": "stratified",
            "data.folds": 3,
            "data.leave_out": (),
            "patch.side": 16,
            "patch.stride": 8,
            "model.base_width": 4,
            "model.depth": 2,
            "model.dropout": 0.1,
            "model.norm": "group",
            "model.head": "plain",
            "train.epochs": 2,
            "train.batch_size": 8,
            "train.learning_rate": 3e-3,
            "predict.closing_px": 2,
            "predict.opening_px": 2,
            **overrides,
        }
        made = config.default()
        made.update_from_flattened_dict(fields)
        return made

    return make


@pytest.fixture(scope="session")
def config_file():
    """config_file(folder, config): writes a configuration as a file for --config, and returns its path."""

    def write(folder, made):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "tiny.py"
        fields = {name: value for name, value in config.flatten(made).items() if not name.startswith("options.")}
        path.write_text(
            "from ichjax.config import default\n\n\ndef get_config():\n    config = default()\n"
            f"    config.update_from_flattened_dict({fields!r})\n"
            f"    config.options.update({config.fields_of(made.options)!r})\n    return config\n"
        )
        return path

    return write


@pytest.fixture(scope="session")
def after_steps():
    """after_steps(start, batches, network, optimizer, settings, mode=, devices=): the state after all batches."""

    def run(start, batches, *made_of, mode, devices):
        mesh = parallel.make_mesh(jax.devices()[:devices])
        step = parallel.compile_step(functools.partial(steps.make_train_step, *made_of), mode=mode, mesh=mesh)
        state = parallel.replicate(start, mesh)
        for batch in parallel.prefetch(iter(batches), mode=mode, mesh=mesh):
            state, _ = step(state, batch)
        return state

    return run


@pytest.fixture(scope="session")
def ct_series():
    """ct_series(folder, hu, table_mm, tilt_degrees=0, **tags): writes hu [N, rows, columns] as a DICOM CT series with
    pixels of 6 x 6 mm and table positions `table_mm` [N]; further header fields by keyword."""

    def write(folder, hu, table_mm, *, tilt_degrees=0.0, **tags):
        folder.mkdir(parents=True)
        angle, series = np.radians(tilt_degrees), tags.pop("SeriesInstanceUID", generate_uid())
        for k, (pixels, at) in enumerate(zip(hu, table_mm, strict=True)):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
            ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
            ds.SeriesInstanceUID, ds.Modality, ds.ImageType = series, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.ImageOrientationPatient = [1, 0, 0, 0, round(np.cos(angle), 12), round(-np.sin(angle), 12)]
            ds.ImagePositionPatient, ds.PixelSpacing, ds.SliceThickness = [-93, -93, at], [6, 6], 5
            ds.RescaleSlope, ds.RescaleIntercept = 1, 0
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.Rows, ds.Columns = pixels.shape
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
            ds.PixelData = np.ascontiguousarray(pixels).astype("<i2").tobytes()
            for keyword, value in tags.items():
                setattr(ds, keyword, value)
            ds.save_as(folder / f"{k:02d}.dcm")
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_threshold_run(tiny_config, config_file, tmp_path_factory):
    """A finished work directory of the threshold method on `tiny_root`."""
    folder = tmp_path_factory.mktemp("threshold")
    path = config_file(folder, tiny_config(**{"method": "threshold", "compare_with": ()}))
    assert launch.main(["crossval", f"--config={path}", f"--workdir={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.fixture
def predict_command(tiny_threshold_run, tmp_path, capsys):
    """predict_command(*inputs, options): (exit status, what was printed) of `predict` into tmp_path / 'out'."""

    def call(*inputs, options=()):
        words = [f"--workdir={tiny_threshold_run}", "--input", *map(str, inputs), f"--output={tmp_path / 'out'}"]
        status = launch.main(["predict", *words, *options])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        assert status != 1, printed.err
        return status, printed.out + printed.err

    return call


@pytest.fixture(scope="session")
def tiny_network_run(tiny_config, config_file, tmp_path_factory):
    """A work directory with folds 0 and 2 of three, of a very small network without normalization; copy it before
    changing it."""
    folder = tmp_path_factory.mktemp("network")
    small = {"model.base_width": 2, "model.depth": 1, "model.norm": "none", "train.epochs": 1, "compare_with": ()}
    path = config_file(folder, tiny_config(**small))
    for fold in (0, 2):
        words = [f"--config={path}", f"--workdir={folder / 'run'}", f"--config.fold={fold}"]
        assert launch.main(["train", *words]) == 0
    return folder / "run"
