"""The Python API and prediction by a run: folds, fields of config.predict, thin slices, orientations."""

import dataclasses
import itertools
import json
import shutil

import jax
import nibabel as nib
import numpy as np
import pytest

import ichjax
import launch
from ichjax.errors import InputError
from ichjax.experiment import tuning
from ichjax.methods import registry
from ichjax.metrics import calibration
from ichjax.ops import patches
from ichjax.scan import nifti
from ichjax.scan import volume as volumes
from ichjax.scan.skull import inside_skull
from ichjax.scan.volume import hu_digest
from tests.ops.test_components import gate_by_scipy

pytestmark = pytest.mark.xdist_group("export")  # the network of a run that is trained once


@pytest.fixture
def scan(tiny_root):
    """A scan that is not one of the run's own."""
    volume = nifti.read_nifti(tiny_root / "ct_scans" / "049.nii")
    volume.hu[0, 0, 0] += 1
    return volume


def test_the_python_api(tiny_network_run, tiny_root):
    run = ichjax.load_run(tiny_network_run)
    volume = ichjax.read(tiny_root / "ct_scans" / "050.nii")
    prediction = ichjax.predict(volume, run)
    assert prediction.mask.shape == prediction.probability.shape == volume.shape
    assert (prediction.mask.dtype, prediction.probability.dtype) == (np.uint8, np.float32)
    assert ichjax.describe(run, volume, prediction)["slices"] == 4
    np.testing.assert_array_equal(ichjax.predict(tiny_root / "ct_scans" / "050.nii", run).mask, prediction.mask)
    assert set(ichjax._FUNCTIONS) <= set(dir(ichjax))
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = ichjax.segment


def test_the_inside_of_the_skull_restricts_a_prediction_and_reports_what_it_removed(tiny_network_run, scan):
    runs = [ichjax.load_run(tiny_network_run, threshold=0.001, inside_skull=value) for value in (True, False)]
    on, off = (ichjax.predict(scan, run) for run in runs)
    inside, found = inside_skull(scan.hu, scan.spacing_mm)
    assert found
    np.testing.assert_array_equal(on.probability, np.where(inside, off.probability, 0))
    removed_ml = float((off.mask.sum(axis=(1, 2), dtype=int) - on.mask.sum(axis=(1, 2), dtype=int)) @ scan.pixel_ml)
    assert removed_ml > 0
    fields = ichjax.describe(runs[0], scan, on)
    assert fields["skull_found"] is True
    np.testing.assert_allclose(fields["outside_skull_ml"], removed_ml, atol=1e-3)
    assert not {"skull_found", "outside_skull_ml"} & set(ichjax.describe(runs[1], scan, off))


def test_a_mask_is_written_on_the_scans_own_grid(tiny_network_run, tiny_root, tmp_path):
    path = tiny_root / "ct_scans" / "050.nii"
    volume = ichjax.read(str(path))
    mask = np.zeros(volume.shape, bool)
    mask[1, 12:14, 20:25] = True
    ichjax.write(tmp_path / "mask.nii.gz", mask, volume)
    image = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(image.affine, nib.load(path).affine)
    index = np.argwhere(np.asarray(image.dataobj))
    np.testing.assert_allclose(volume.to_file_index([1, 12.5, 22]), index.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(volume.file_origins_mm()[0], image.affine[:3, 3], atol=1e-9)
    for array, name, problem in (
        (mask[1:], "a.nii", "has the shape"),
        (mask, "a.mha", r"ends in \.nii"),
        (mask.astype(np.int64), "a.nii", "holds int64"),
    ):
        with pytest.raises(InputError, match=problem):
            ichjax.write(tmp_path / name, array, volume)


def test_wrong_arguments_raise_one_sentence(tiny_network_run, scan):
    run = ichjax.load_run(tiny_network_run)
    for arguments, problem in (
        ((scan.hu, run), "the scan is of type ndarray; expected a Volume"),
        ((scan, str(tiny_network_run)), "the run is of type str; expected what load_run returns"),
    ):
        with pytest.raises(InputError, match=problem):
            ichjax.predict(*arguments)
    prediction = ichjax.predict(scan, run)
    with pytest.raises(InputError, match="the mask has the shape"):
        ichjax.describe(run, dataclasses.replace(scan, hu=scan.hu[:, 1:]), prediction)
    for fields, problem in (({"threshold": None}, "threshold is None"), ({"tune": "all"}, "tune cannot be changed")):
        with pytest.raises(InputError, match=problem):
            ichjax.load_run(tiny_network_run, **fields)
    assert ichjax.load_run(tiny_network_run, threshold=np.float32(0.25)).post.threshold == 0.25
    with pytest.raises(InputError, match="nowhere: no such folder"):
        ichjax.load_run("nowhere")


def test_the_inside_of_the_skull_is_computed_once(tiny_network_run, scan, monkeypatch):
    computed, intracranial = [], calibration.intracranial
    monkeypatch.setattr(calibration, "intracranial", lambda volume: computed.append(volume) or intracranial(volume))
    run = ichjax.load_run(tiny_network_run, threshold=0.001, closing_px=0, opening_px=0)
    assert ichjax.describe(run, scan, ichjax.predict(scan, run))["lesions"]
    assert computed == [scan]


def test_all_folds_are_averaged_or_one_is_used(tiny_network_run, scan):
    both, first, third = (ichjax.load_run(tiny_network_run, fold=fold) for fold in (None, 0, 2))
    assert (both.folds, first.folds, third.folds) == ((0, 2), (0,), (2,))
    one, other = (ichjax.predict(scan, run).probability for run in (first, third))
    assert np.abs(one - other).max() > 1e-4
    np.testing.assert_allclose(ichjax.predict(scan, both).probability, (one + other) / 2, atol=1e-6)
    with pytest.raises(InputError, match="fold 1 is not trained; expected one of 0, 2"):
        ichjax.load_run(tiny_network_run, fold=1)


def test_the_runs_own_scan_is_predicted_by_the_fold_that_held_it_out(tiny_network_run, tiny_root, tmp_path):
    run = ichjax.load_run(tiny_network_run)
    folds = json.loads((tiny_network_run / "splits.json").read_text())["folds"]
    for number in range(49, 58):
        (tested,) = [fold["fold"] for fold in folds if number in fold["test"]]
        path = tmp_path / "somebody.nii.gz"  # another name, and another order of axes
        image = nib.load(tiny_root / "ct_scans" / f"{number:03d}.nii")
        nib.save(image.as_reoriented([[2, 1], [0, -1], [1, 1]]), path)
        prediction = ichjax.predict(path, run)
        if tested in run.folds:
            assert (prediction.folds, prediction.own_scan) == ((tested,), "held out")
        else:  # fold 1 is not trained, and the others have seen it
            assert (prediction.folds, prediction.own_scan) == ((0, 2), "trained on it")
            warning = ichjax.describe(run, ichjax.read(path), prediction)["warnings"][0]
            assert warning.startswith("the run was trained on this scan")


def test_the_runs_own_scan_is_cut_as_the_fold_that_held_it_out_has_chosen(tiny_network_run, tiny_root, tmp_path):
    """The other fold may have chosen its threshold on this scan."""
    copy = shutil.copytree(tiny_network_run, tmp_path / "run")
    own = ichjax.load_run(copy).post
    for fold, threshold in ((0, 0.3), (2, 0.6)):
        tuning.write(copy / f"fold_{fold}", own._replace(threshold=threshold, closing_px=fold, chosen_on="validation"))
    run, folds = ichjax.load_run(copy), json.loads((copy / "splits.json").read_text())["folds"]
    for fold, threshold in ((0, 0.3), (2, 0.6)):
        volume = ichjax.read(tiny_root / "ct_scans" / f"{folds[fold]['test'][0]:03d}.nii")
        prediction = ichjax.predict(volume, run)
        record = ichjax.describe(run, volume, prediction)
        assert (record["threshold"], record["closing_px"]) == (threshold, fold)
        alone = ichjax.predict(volume, ichjax.load_run(copy, fold=fold))
        np.testing.assert_array_equal(prediction.mask, alone.mask)
        assert ichjax.load_run(copy, threshold=0.7).post_of(prediction.folds, prediction.own_scan).threshold == 0.7
    other = ichjax.read(tiny_root / "ct_scans" / f"{folds[1]['test'][0]:03d}.nii")
    record = ichjax.describe(run, other, ichjax.predict(other, run))
    assert (record["own_scan"], record["threshold"]) == ("trained on it", 0.3)  # the lower median


def test_a_run_without_scans_json_recognizes_no_scan(tiny_network_run, tiny_root, tmp_path):
    shutil.copytree(tiny_network_run, tmp_path / "run")
    (tmp_path / "run" / "scans.json").unlink()
    prediction = ichjax.predict(tiny_root / "ct_scans" / "049.nii", ichjax.load_run(tmp_path / "run"))
    assert (prediction.folds, prediction.own_scan) == ((0, 2), "")


def test_the_digest_depends_on_hu_alone(tiny_root, scan):
    own = nifti.read_nifti(tiny_root / "ct_scans" / "049.nii")
    assert hu_digest(own) == hu_digest(nifti.read_nifti(tiny_root / "ct_scans" / "049.nii", name="else"))
    assert hu_digest(own) != hu_digest(scan)


def test_on_a_cpu_whole_slices_are_the_default_where_they_predict_the_same(tiny_network_run, scan, tiny_config):
    run, patchwise = ichjax.load_run(tiny_network_run), ichjax.load_run(tiny_network_run, whole_slices=False)
    assert (run.method.mode, run.changed) == ("whole slices", {"whole_slices": True})
    assert (patchwise.method.mode, patchwise.changed) == ("patches, flat mean", {})
    assert run.digest != patchwise.digest
    whole, by_patches = (ichjax.predict(scan, one).probability for one in (run, patchwise))
    assert np.abs(whole - by_patches).max() > 0
    np.testing.assert_allclose(whole[:, 3:-3, 3:-3].mean(), by_patches[:, 3:-3, 3:-3].mean(), rtol=0.05)
    for field, value in (("model.norm", "group"), ("patch.corner_pixel", True), ("predict.quantize_8bit", True)):
        assert not registry.make("unet", tiny_config(**{"model.norm": "none", field: value})).same_on_whole_slices


def test_mirrored_slices_have_equal_weight(tiny_network_run, scan):
    """The probability is the mean over a scan and its mirror image."""
    run, mirrored = ichjax.load_run(tiny_network_run), ichjax.load_run(tiny_network_run, mirror=True)
    other = dataclasses.replace(scan, hu=np.ascontiguousarray(scan.hu[:, :, ::-1]))
    expected = ichjax.predict(scan, run).probability + ichjax.predict(other, run).probability[:, :, ::-1]
    np.testing.assert_allclose(ichjax.predict(scan, mirrored).probability, expected / 2, atol=1e-6)
    assert mirrored.method.mode == "whole slices, and mirrored"


def test_gates_replace_the_runs_own_and_are_reported(tiny_network_run, scan):
    plain = {"closing_px": 0, "opening_px": 0}
    probability = ichjax.predict(scan, ichjax.load_run(tiny_network_run)).probability
    plain["threshold"] = round(float(np.quantile(probability, 0.9)), 4)
    without = ichjax.load_run(tiny_network_run, **plain)
    assert ichjax.describe(without, scan, ichjax.predict(scan, without))["gates"] == {}
    gates = {"find_threshold": round(float(np.quantile(probability, 0.99)), 4), "min_lesion_slices": 2}
    run = ichjax.load_run(tiny_network_run, **plain, **gates)
    prediction = ichjax.predict(scan, run)
    low, options = np.float32(plain["threshold"]), {"high": np.float32(gates["find_threshold"])}
    pixel_ml = scan.pixel_ml.astype(np.float32)
    gated = gate_by_scipy(prediction.probability, pixel_ml, low, **options, min_ml=0.0, min_slices=2)
    np.testing.assert_array_equal(prediction.mask, gated > low)
    np.testing.assert_array_equal(prediction.probability, probability)
    assert ichjax.describe(run, scan, prediction)["gates"] == gates
    assert run.identity != without.identity


def test_the_slice_rule_in_pixels_is_reported_as_an_area(tiny_network_run, scan):
    run = ichjax.load_run(tiny_network_run)
    config = run.config.copy_and_resolve_references()
    config.evaluate.slice_rule_px = 400
    run = dataclasses.replace(run, config=config)
    record = ichjax.describe(run, scan, ichjax.predict(scan, run))
    assert record["rule_mm2"] == pytest.approx(400 * scan.pixel_mm[0] * scan.pixel_mm[1], abs=0.1)
    assert record["rule_from"] == "evaluate.slice_rule_px of the run's config.json"


def test_named_fields_replace_the_runs_own(tiny_network_run, scan):
    probability = ichjax.predict(scan, ichjax.load_run(tiny_network_run)).probability
    threshold = round(float(np.quantile(probability, 0.7)), 4)
    run = ichjax.load_run(tiny_network_run, threshold=threshold, closing_px=0, opening_px=0)
    prediction = ichjax.predict(scan, run)
    np.testing.assert_array_equal(prediction.mask, prediction.probability > np.float32(threshold))
    record = ichjax.describe(run, scan, prediction)
    assert (record["threshold"], record["threshold_chosen_on"]) == (threshold, "set for this prediction")
    assert (record["closing_px"], record["opening_px"]) == (0, 0)
    for fields, problem in (
        ({"treshold": 0.5}, "config.predict.treshold cannot be changed here; expected one of threshold, "),
        ({"threshold": 2.0}, "config.predict.threshold is 2.0; expected between 0 and 1"),
        ({"stitch": "round"}, "expected one of flat, gaussian"),
        ({"mirror": "no"}, "config.predict cannot be"),
    ):
        with pytest.raises(InputError, match=problem):
            ichjax.load_run(tiny_network_run, **fields)


def test_the_command_takes_a_fold_and_fields(tiny_network_run, tiny_root, tmp_path, capsys):
    def predict(name, *options):
        scan = str(tiny_root / "ct_scans" / "050.nii")
        words = ["predict", f"--workdir={tiny_network_run}", f"--input={scan}", f"--output={tmp_path / name}", *options]
        return launch.main(words), capsys.readouterr()

    low, high = 0.005, 0.95
    records = {}
    for name, options in {
        "low": [f"--config.predict.threshold={low}"],
        "high": [f"--config.predict.threshold={high}", "--fold=2", "--config.predict.mirror=True"],
    }.items():
        status, printed = predict(name, *options)
        assert status == 0, printed
        records[name] = json.loads((tmp_path / name / "050" / "prediction.json").read_text())
    assert [records[name]["threshold"] for name in ("low", "high")] == [low, high]
    assert [records[name]["run_folds"] for name in ("low", "high")] == [[0, 2], [2]]
    assert records["low"]["volume_ml"] > records["high"]["volume_ml"]
    status, printed = predict("low")  # the same output folder, another threshold
    assert status == 2
    assert "a prediction by another run or with other settings" in printed.out
    for option, problem in (
        ("--fold=1", "fold 1 is not trained"),
        ("--config.predict.threshold=2", "predict.threshold"),
        ("--config.train.epochs=2", "train.epochs"),
    ):
        status, printed = predict("refused", option)
        assert status == 2
        assert problem in printed.err
        assert not (tmp_path / "refused").exists()


def test_thin_slices_are_averaged_to_slabs(tiny_network_run, scan):
    """Each slice eight times at 0.625 mm: the network sees the original slices."""
    affine = scan.file_affine.copy()
    affine[:3, 2] *= 0.625 / 5
    thin = volumes.from_file_grid(np.repeat(scan.to_file_grid(scan.hu), 8, axis=2), affine, name="thin")
    run = ichjax.load_run(tiny_network_run)
    prediction, thick = ichjax.predict(thin, run), ichjax.predict(scan, run)
    assert (prediction.slab_slices, thick.slab_slices) == (8, 1)
    assert prediction.probability.shape == (32, 32, 32)
    middle = (np.arange(32) + 0.5) / 8 - 0.5
    for d, position in enumerate(np.clip(middle, 0, 3)):
        low = min(int(position), 2)
        share = position - low
        expected = (1 - share) * thick.probability[low] + share * thick.probability[low + 1]
        np.testing.assert_allclose(prediction.probability[d], expected, atol=1e-5)
    assert ichjax.describe(run, thin, prediction)["slab_slices"] == 8


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_same_scan_in_all_48_orders_of_its_axes_gives_the_same_mask(tiny_network_run, tiny_root, tmp_path, order):
    """Eight flips of each of the six orders; the mask comes back on the file's own grid."""
    image = nib.load(tiny_root / "ct_scans" / "050.nii")
    run = ichjax.load_run(tiny_network_run)
    median = float(np.median(ichjax.predict(ichjax.read(tiny_root / "ct_scans" / "050.nii"), run).probability))
    run = ichjax.load_run(tiny_network_run, threshold=round(median, 5), closing_px=2, opening_px=3)
    expected = ichjax.predict(tiny_root / "ct_scans" / "050.nii", run).mask
    assert 0.1 < expected.mean() < 0.9
    assert (expected != expected[:, ::-1]).any()
    assert (expected != expected[:, :, ::-1]).any()
    assert (expected != expected[::-1]).any()
    for flips in itertools.product((1, -1), repeat=3):
        turned = image.as_reoriented(np.stack([order, flips], axis=1))
        nib.save(turned, tmp_path / "turned.nii")
        volume = ichjax.read(tmp_path / "turned.nii")
        prediction = ichjax.predict(volume, run)
        np.testing.assert_array_equal(prediction.mask, expected)
        nifti.write_nifti(tmp_path / "mask.nii", prediction.mask, volume)
        mask = nib.load(tmp_path / "mask.nii")
        assert mask.shape == turned.shape
        np.testing.assert_allclose(mask.affine, turned.affine, atol=1e-5)
        for index in np.argwhere(expected)[::97]:  # by millimeters, independent of `to_file_grid`
            ras = nifti.read_nifti(tiny_root / "ct_scans" / "050.nii").affine @ [*index, 1]
            voxel = np.rint(np.linalg.inv(turned.affine) @ ras)[:3].astype(int)
            assert np.asarray(mask.dataobj)[tuple(voxel)] == 1


def test_gaussian_stitching_equals_adding_patch_by_patch():
    rng = np.random.default_rng(0)
    for side, stride, rows, columns in ((16, 8, 3, 4), (12, 4, 2, 5), (8, 8, 2, 2)):
        cut = rng.random((2, rows, columns, side, side)).astype(np.float32)
        offset = (np.arange(side) - (side - 1) / 2) / (side / 8)
        bell = np.maximum(np.exp(-(offset**2) / 2), 1e-3)
        weight = np.outer(bell, bell)
        total = np.zeros((2, (rows - 1) * stride + side, (columns - 1) * stride + side))
        weights = np.zeros(total.shape[1:])
        for i, j in np.ndindex(rows, columns):
            window = np.s_[i * stride : i * stride + side, j * stride : j * stride + side]
            total[(slice(None), *window)] += cut[:, i, j] * weight
            weights[window] += weight
        stitched = jax.jit(patches.stitch, static_argnames=("stride", "gaussian"))(cut, stride=stride, gaussian=True)
        np.testing.assert_allclose(stitched, total / weights, rtol=1e-5, atol=1e-6)
