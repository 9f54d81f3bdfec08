"""`predict --subtypes`: the mask of sub-types, what prediction.json says of it, and the DICOM Segmentation."""

import json

import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pydicom
import pytest

import ichjax
import launch
from ichjax.errors import InputError
from ichjax.inference import fold_means, predict
from ichjax.methods import registry
from ichjax.scan import world_grid
from tests import by_hand
from tests.by_hand import SUBTYPES
from tests.expected import PREDICTION_FILES

pytestmark = [pytest.mark.xdist_group("subtypes"), pytest.mark.methods]
TAGS = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "PatientName": "DOE^JANE"}
CODES = {  # SNOMED CT
    "Intracranial hemorrhage": "50960005",
    "Intraventricular hemorrhage": "50960005",
    "Intraparenchymal hemorrhage": "274100004",
    "Subarachnoid hemorrhage": "21454007",
    "Epidural hemorrhage": "82999001",
    "Subdural hemorrhage": "35486000",
}


@pytest.fixture(scope="module")
def run(tiny_config, config_file, tmp_path_factory):
    """A cross-validated run of the made-up method with sub-types."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.METHODS, "made_up_subtypes", "tests.methods.made_up_subtypes")
        folder = tmp_path_factory.mktemp("subtypes")
        path = config_file(folder, tiny_config(method="made_up_subtypes", compare_with=()))
        assert launch.main(["crossval", f"--config={path}", f"--workdir={folder / 'run'}"]) == 0
        yield folder / "run"


@pytest.fixture
def command(run, tmp_path, capsys):
    """command(input, *options): (exit status, what was printed, output folder)."""

    def call(path, *options, workdir=run):
        words = [f"--workdir={workdir}", "--input", str(path), f"--output={tmp_path / 'out'}", *options]
        status = launch.main(["predict", *words])
        printed = capsys.readouterr()
        return status, printed.out + printed.err, tmp_path / "out"

    return call


def head(shift=0):
    """int16 [slices, rows, columns]: skull, brain, a bleed over many columns and a small one, and air."""
    hu = np.zeros((4, 32, 32), np.int16)
    hu[:, 3:29, 3:29], hu[:, 5:27, 5:27], hu[:, :3] = 1000, 30, -1000
    hu[1:3, 12:18, 7 + shift : 21], hu[3, 20:23, 23:26] = 65, 65
    return hu


@pytest.fixture
def scan(tmp_path):
    """A scan that is not the run's own, 32 x 32 x 4 voxels of 6 x 6 x 5 mm: x grows to the left, y to the front."""
    affine = np.array([[-6.0, 0, 0, 93], [0, 6, 0, -93], [0, 0, 5, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(head().transpose(2, 1, 0)[:, ::-1], affine), tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


def expected_classes(run, path):
    """Mask and classes, uint8 [D, H, W], from the mean of what the folds predict; and the classes by most votes."""
    trained, volume = ichjax.load_run(run), ichjax.read(path)
    folds = [trained.method.predict(params, volume) for params in trained.params]
    mask = np.mean([fold.probability for fold in folds], axis=0) > 0.5
    of_folds = [np.asarray(fold.class_probability, np.float64) for fold in folds]
    votes = np.mean([np.eye(6)[by_hand.class_mask(fold, mask)] for fold in of_folds], axis=0)
    return mask, by_hand.class_mask(np.mean(of_folds, axis=0), mask), by_hand.class_mask(votes, mask)


def stored(path):
    """[D, H, W] of a file on the grid of `scan`."""
    return np.asarray(nib.load(path).dataobj)[:, ::-1].transpose(2, 1, 0)


def test_the_mask_of_sub_types_on_the_scans_own_grid(command, run, scan):
    status, text, output = command(scan, "--subtypes")
    mask, classes, by_votes = expected_classes(run, scan)
    assert status == 0
    assert set(np.unique(classes)) >= {0, 1, 2, 3}  # so that the test says something
    assert (by_votes != classes).any()
    assert {path.name for path in (output / "scan").iterdir()} == PREDICTION_FILES | {"subtypes.nii.gz"}
    file = nib.load(output / "scan" / "subtypes.nii.gz")
    assert file.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(file.affine, nib.load(scan).affine)
    np.testing.assert_array_equal(stored(output / "scan" / "subtypes.nii.gz"), classes)
    np.testing.assert_array_equal(stored(output / "scan" / "mask.nii.gz"), mask)

    record = json.loads((output / "scan" / "prediction.json").read_text())
    assert record["schema"] == 2
    assert record["subtypes"]["labels"] == {str(k + 1): name for k, name in enumerate(SUBTYPES)}
    pixels = {name: int((classes == k + 1).sum()) for k, name in enumerate(SUBTYPES)}
    assert record["subtypes"]["volume_ml"] == pytest.approx({name: 0.18 * n for name, n in pixels.items()})  # 6 x 6 x 5
    large, small = record["lesions"]
    box = classes[1:3, 12:18, 7:21]
    by_lesion = {name: 0.18 * np.count_nonzero(box == k + 1) for k, name in enumerate(SUBTYPES) if (box == k + 1).any()}
    assert large["subtype_ml"] == pytest.approx(by_lesion)
    assert sum(small["subtype_ml"].values()) == pytest.approx(small["volume_ml"]) == pytest.approx(9 * 0.18)
    volumes = ", ".join(f"{name} {0.18 * n:.2f}" for name, n in pixels.items() if n)
    assert f"scan: {0.18 * mask.sum():.2f} mL ({volumes}), 2 lesions" in text


def test_nothing_of_it_is_computed_or_written_without_the_option(command, scan, monkeypatch):
    def fail(*args):
        raise AssertionError("computed")

    monkeypatch.setattr("ichjax.inference.model._class_mask", fail)
    status, text, output = command(scan)
    assert status == 0
    assert {path.name for path in (output / "scan").iterdir()} == PREDICTION_FILES
    record = json.loads((output / "scan" / "prediction.json").read_text())
    assert "subtypes" not in record
    assert all("subtype_ml" not in lesion for lesion in record["lesions"])
    assert "2 lesions" in text
    assert "mL (" not in text


def test_a_prediction_without_sub_types_is_made_again_and_one_with_them_is_kept(command, scan):
    command(scan)
    _, text, output = command(scan, "--subtypes")
    assert "already done" not in text
    assert (output / "scan" / "subtypes.nii.gz").is_file()
    for options in ((), ("--subtypes",)):
        assert "scan: already done, kept" in command(scan, *options)[1]


def test_a_method_without_sub_types_is_refused_before_any_work(command, scan, tiny_threshold_run, monkeypatch):
    monkeypatch.setattr(predict, "find_sources", None)  # nothing is searched, read or predicted
    status, text, output = command(scan, "--subtypes", workdir=tiny_threshold_run)
    method = "the run's method 'threshold' (Threshold) does not segment sub-types"
    assert (status, text.strip()) == (2, f"ichjax: {method}; expected a run of a method that does")
    assert not output.exists()
    with pytest.raises(InputError, match="does not segment sub-types"):
        ichjax.predict(scan, ichjax.load_run(tiny_threshold_run), subtypes=True)


def test_slabs_are_interpolated_back_to_slices():
    rng = np.random.default_rng(0)
    folds, weights = rng.random((3, 4, 5, 6, 6), np.float32), rng.random((10, 4))
    mean = fold_means.mean_probability([jnp.asarray(fold) for fold in folds], weights)
    assert mean.shape == (16, 5, 6, 6)
    np.testing.assert_allclose(mean[:10], np.einsum("ds,shwc->dhwc", weights, folds.mean(axis=0)), rtol=1e-5)
    assert not mean[10:].any()


def test_a_tilted_series_has_them_on_the_world_grid_too(command, ct_series, tmp_path):
    folder = ct_series(tmp_path / "ct", head(), (0.0, 5.0, 10.0, 18.0), tilt_degrees=15.0, **TAGS)
    status, _, output = command(folder, "--subtypes")
    assert status == 0
    file, mask, hu = (nib.load(output / "ct" / f"{name}_world.nii.gz") for name in ("subtypes", "mask", "scan"))
    world = np.asarray(file.dataobj)
    assert file.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(file.affine, hu.affine)
    np.testing.assert_array_equal(world > 0, np.asarray(mask.dataobj) > 0)
    volume = ichjax.read(folder)
    classes = np.asarray(nib.load(output / "ct" / "subtypes.nii.gz").dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(
        world, world_grid.resample(volume, np.ascontiguousarray(classes), world_grid.world_grid(volume))[1]
    )
    assert len(np.unique(world)) >= 4


@pytest.mark.parametrize("hu", [head(), head(shift=10)], ids=["many sub-types", "few"])
def test_the_dicom_segmentation_has_a_coded_segment_for_each_sub_type_present(command, run, ct_series, tmp_path, hu):
    folder = ct_series(tmp_path / "ct", hu, (0.0, 5.0, 10.0, 15.0), **TAGS)
    status, _, output = command(folder, "--subtypes", "--dicom_seg")
    assert status == 0
    mask, classes, _ = expected_classes(run, folder)
    ds = pydicom.dcmread(output / "dicom_seg" / "ct.dcm")
    labels = {segment.SegmentNumber: segment.SegmentLabel for segment in ds.SegmentSequence}
    present = [k for k in range(1, 6) if (classes == k).any()]
    assert list(labels.values()) == [list(CODES)[k] for k in (0, *present)]
    for segment in ds.SegmentSequence:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == (CODES[segment.SegmentLabel], "SCT")
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        regions = [region.CodeValue for region in segment.get("AnatomicRegionSequence", [])]
        assert regions == (["35764002"] if segment.SegmentLabel == "Intraventricular hemorrhage" else [])
    assert len({segment.TrackingUID for segment in ds.SegmentSequence}) == len(labels)
    found = {number: np.zeros(mask.shape, bool) for number in labels}
    slice_of = {pydicom.dcmread(path).SOPInstanceUID: k for k, path in enumerate(sorted(folder.glob("*.dcm")))}
    for frame, groups in zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        found[number][slice_of[source.ReferencedSOPInstanceUID]] = frame
    np.testing.assert_array_equal(found[1], mask)
    for number, k in enumerate(present, start=2):
        np.testing.assert_array_equal(found[number], classes == k)
