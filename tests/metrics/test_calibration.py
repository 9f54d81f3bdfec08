"""The intracranial space, calibration and distance to bone: by hand, and against scikit-learn, OpenCV and SciPy."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
from sklearn.calibration import calibration_curve

from ichjax.metrics import calibration
from ichjax.phantom import dataset as phantoms
from ichjax.scan import volume


def scan(hu, pixel_mm=1.0, hu_range=volume.HU_RANGE):
    affine = np.diag([-pixel_mm, -pixel_mm, 5.0, 1.0])  # of a file [W, H, D]: to the left, to the back, to the head
    return volume.from_file_grid(np.asarray(hu).transpose(2, 1, 0), affine, name="scan", hu_range=hu_range)


def head(side=120, thickness=5.0, inner=40.0, depth=2):
    """(HU [D, side, side] of skin around a round skull, bool of what is inside it)."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    radius = np.hypot(y, x)
    plane = np.select(
        [radius < inner, radius < inner + thickness, radius < inner + thickness + 6], [35, 900, 40], -1000
    )
    return np.repeat(plane[None], depth, axis=0).astype(np.int16), np.repeat((radius < inner)[None], depth, axis=0)


@pytest.mark.parametrize("pixel_mm", [0.45, 1.0, 2.5])
def test_intracranial_is_the_inside_of_a_ring(pixel_mm):
    hu, inside = head(thickness=4 if pixel_mm > 2 else 8)
    np.testing.assert_array_equal(calibration.intracranial(scan(hu, pixel_mm)), inside)


def test_intracranial_with_the_thin_skull_of_an_infant():
    hu, inside = head(thickness=2.0)
    got = calibration.intracranial(scan(hu))
    assert not (got & ~inside).any()
    assert got.sum() > 0.97 * inside.sum()


def test_intracranial_with_open_sutures_in_the_vault_and_an_open_face():
    """A gap of 12 mm is closed above a slice with brain, and not below it."""
    hu, inside = head(thickness=4.0, depth=3)
    for d in (0, 2):
        hu[d, 54:66] = np.where(hu[d, 54:66] > 100, 40, hu[d, 54:66])
    got = calibration.intracranial(scan(hu))
    assert not got[0].any()
    np.testing.assert_array_equal(got[1], inside[1])
    assert (got[2] & inside[2]).sum() > 0.97 * inside[2].sum()
    assert (got[2] & ~inside[2]).sum() < 12 * 8  # what lies in the gaps themselves


def test_intracranial_with_a_gap_a_calcification_a_sinus_and_an_open_slice():
    hu, inside = head(thickness=8, depth=3)
    hu[:, 58:62, :20] = np.where(hu[:, 58:62, :20] > 100, 40, hu[:, 58:62, :20])  # a suture of 4 mm
    hu[:, 50:54, 50:54] = 600  # a calcification belongs to the brain
    hu[1][inside[1]] = -900  # an air-filled ring is a sinus
    hu[2, :60] = -1000  # half the skull is out of view
    got = calibration.intracranial(scan(hu))
    gap = np.zeros_like(inside)
    gap[:, 58:62, :20] = True  # the suture itself may count or not
    np.testing.assert_array_equal(got[0] & ~gap[0], inside[0] & ~gap[0])
    assert not got[1:].any()


def test_intracranial_of_the_eight_bit_release_and_without_bone():
    hu, inside = head()
    np.testing.assert_array_equal(calibration.intracranial(scan(hu.clip(-20, 100), hu_range=(-20, 100))), inside)
    assert not calibration.intracranial(scan(hu.clip(-20, 100))).any()


def test_intracranial_holds_the_brain_of_a_phantom():
    subject = phantoms.make_subject(49)
    scanned = volume.from_file_grid(subject.hu, subject.affine, name="phantom")
    inside = calibration.intracranial(scanned)
    brain = (scanned.hu > 5) & (scanned.hu < 80)
    core = scipy.ndimage.binary_erosion(inside, np.ones((1, 9, 9)))
    assert brain[core].mean() > 0.95
    # The largest intracranial section of an adult is over 100 cm2.
    assert inside.sum(axis=(1, 2)).max() * np.prod(scanned.pixel_mm) > 100 * 100
    assert not (inside & (scanned.hu < -200)).sum() > 0.001 * inside.sum()


def test_histogram_by_hand():
    probability = np.array([[[0, 2, 3, 17, 18, 255, 255, 255]]], np.uint8)
    truth = np.array([[[1, 1, 0, 1, 0, 1, 0, 1]]], bool)
    inside = np.array([[[1, 1, 1, 1, 1, 1, 1, 0]]], bool)
    got = calibration.histogram(probability, truth, inside)
    assert got["n"] == [2, 1, *[0] * 12, 2]  # 17 / 255 is the upper edge of the first bin
    assert got["positive"] == [1, 0, *[0] * 12, 1]
    assert got["probability_sum"] == pytest.approx([20 / 255, 18 / 255, *[0] * 12, 2])
    table = calibration.reliability([got, got])
    assert table["bins"][0] == {
        "low": 0,
        "high": pytest.approx(1 / 15),
        "n": 4,
        "probability": pytest.approx(10 / 255),
        "frequency": 0.5,
    }
    assert table["bins"][5]["frequency"] is None
    error = (4 * (0.5 - 10 / 255) + 2 * 18 / 255 + 4 * 0.5) / 10
    assert table["expected_calibration_error"] == pytest.approx(error)
    nothing = calibration.histogram(probability, truth, np.zeros_like(inside))
    assert calibration.reliability([nothing]) is None
    assert calibration.reliability([]) is None


def test_reliability_agrees_with_scikit_learn():
    """Over 200 random scans; no level on an edge, where scikit-learn's edges in floats may round either way."""
    rng = np.random.default_rng(4)
    levels = [level for level in range(3, 256) if level % 17]
    for _ in range(200):
        probability = rng.choice(levels, (2, 6, 7)).astype(np.uint8)
        truth = rng.random(probability.shape) < probability / 255.0 * rng.uniform(0.2, 1)
        inside = rng.random(probability.shape) < 0.8
        table = calibration.reliability([calibration.histogram(probability, truth, inside)])
        frequency, mean = calibration_curve(truth[inside], probability[inside] / 255.0, n_bins=15)
        full = [row for row in table["bins"] if row["n"]]
        np.testing.assert_allclose([row["frequency"] for row in full], frequency)
        np.testing.assert_allclose([row["probability"] for row in full], mean)
        pixels = np.histogram(probability[inside] / 255.0, 15, (0, 1))[0]
        error = np.average(np.abs(frequency - mean), weights=pixels[pixels > 0])
        assert table["expected_calibration_error"] == pytest.approx(error)


def test_distance_to_bone_by_hand():
    inside = np.zeros((2, 11, 30), bool)
    inside[0, 1:10, 1:29] = True  # nine rows of 2 mm
    inside[1, :, :] = True  # touches the border: its outermost pixels are 1 pixel from the outside
    truth, prediction = np.zeros_like(inside), np.zeros_like(inside)
    prediction[0, 1, 10] = True  # 2 mm: on an edge, in the bin above it
    prediction[0, 5, 15] = True  # 5 rows: 10 mm
    prediction[0, 5, 3] = True  # 3 columns of 1 mm
    prediction[1, 0, 0] = True  # 1 mm
    prediction[0, 0, 0] = True  # outside
    prediction[0, 5, 20] = truth[0, 5, 20] = True  # true
    got = calibration.distance_to_bone(truth, prediction, inside, (2.0, 1.0))
    assert got["edges_mm"] == [0, 2, 4, 8, 16, 32, 64]
    assert got["predicted_px"] == [1, 2, 0, 1, 0, 0]
    assert sum(got["intracranial_px"]) == inside.sum() - 1
    nothing = calibration.distance_to_bone(truth, prediction, np.zeros_like(inside), (2.0, 1.0))
    assert nothing["predicted_px"] == nothing["intracranial_px"] == [0] * 6


def test_distance_to_bone_agrees_with_opencv():
    """Slice by slice with OpenCV's exact distance transform, on 200 random masks."""
    rng = np.random.default_rng(5)
    for _ in range(100):
        inside = cv2.GaussianBlur(rng.random((25, 30)), (0, 0), 3) > 0.485
        inside = np.stack([inside, np.roll(inside, 7, axis=1)])
        inside[:, [0, -1]], inside[:, :, [0, -1]] = False, False
        truth, prediction = rng.random((2, *inside.shape)) < 0.3
        got = calibration.distance_to_bone(truth, prediction, inside, (1.7, 1.7))
        precise = (cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        distance = np.stack([cv2.distanceTransform(mask.astype(np.uint8), *precise) for mask in inside])
        for key, chosen in (("predicted_px", prediction & ~truth & inside), ("intracranial_px", inside & ~truth)):
            expected, _ = np.histogram(distance[chosen] * 1.7, [0, 2, 4, 8, 16, 32, np.inf])
            assert got[key] == expected.tolist()


@pytest.mark.parametrize("pixel_mm", [(0.42, 0.42), (3.1, 0.7), (0.6, 2.0), (40.0, 0.1)])
def test_distance_to_bone_agrees_with_scipy(pixel_mm):
    """Anisotropic pixels and regions that touch the border, are empty or fill the slice: 75 slices of each spacing."""
    rng = np.random.default_rng(6)
    for _ in range(25):
        shape = (3, *(int(n) for n in rng.integers(1, (30, 90))))
        inside = scipy.ndimage.gaussian_filter(rng.normal(size=shape), (0, 4, 4)) > rng.choice([-0.06, 0.0, 0.05])
        inside[rng.integers(3)] = rng.choice([False, True])
        truth, prediction = rng.random((2, *shape)) < 0.3
        got = calibration.distance_to_bone(truth, prediction, inside, pixel_mm)
        around = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
        distance_mm = np.stack([scipy.ndimage.distance_transform_edt(m, sampling=pixel_mm) for m in around])
        distance_mm = distance_mm[:, 1:-1, 1:-1]
        for key, chosen in (("predicted_px", prediction & ~truth & inside), ("intracranial_px", inside & ~truth)):
            expected, _ = np.histogram(distance_mm[chosen], [0, 2, 4, 8, 16, 32, np.inf])
            assert got[key] == expected.tolist()
