"""A calibrated set of phantoms against the figures of a real scan and of the real data set.

The targets were measured on a real non-contrast head CT of 0.488 mm pixels; docs/phantom.md has the table. They are
held to 25 %; lesions, of which a set of twelve has few, to a factor of two.
"""

import fcntl
import itertools
import os
import pathlib
import shutil
import tempfile
import time

import numpy as np
import pytest
from scipy import ndimage

from ichjax.data import ct_ich_nifti
from ichjax.phantom import dataset as phantoms
from ichjax.phantom import physics, store

pytestmark = pytest.mark.xdist_group("phantom_targets")  # one worker makes and measures the set

SUBJECTS, SEED = 12, 0
INNER_TABLE_HU = 200  # the inner table is where HU fall below this
RINGS_MM = (0, 1, 2, 4, 8, 16, 32)
MIDDLE = (112, 60, 46, 39, 33, 28)  # median HU by distance from the inner table, levels of the ventricles
VERTEX = (148, 87, 64, 53, 46, 39)  # the same where the cavity has shrunk to 72 cm2
REAL_PIXEL_MM = 0.488  # pixels of the scan on which areas were counted


@pytest.fixture(scope="session")
def root():
    """Twelve calibrated subjects on disk, made once for all test processes and for all runs with these sources."""
    stem = f"ichjax-phantom-targets-{os.getuid()}"
    place = pathlib.Path(tempfile.gettempdir()) / f"{stem}-{store.source_digest()}"
    with open(pathlib.Path(tempfile.gettempdir()) / f"{stem}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            for old in place.parent.glob(f"{stem}-*"):
                shutil.rmtree(old, ignore_errors=True)
            aside = place.with_name(f"{stem}-unfinished")
            phantoms.write_dataset(aside, subjects=SUBJECTS, seed=SEED, preset="calibrated", workers=2)
            aside.rename(place)
    return place


@pytest.fixture(scope="module")
def scans(root):
    """The set as the project reads it."""
    return [ct_ich_nifti.load_scan(subject) for subject in ct_ich_nifti.read_dataset(root).subjects]


def interior(hu):
    """The inside of the skull on one slice, bool [H, W]: what the largest bone encloses, in one piece."""
    bone, count = ndimage.label(hu > INNER_TABLE_HU)
    if not count:
        return np.zeros(hu.shape, bool)
    shell = bone == np.argmax(np.bincount(bone.ravel())[1:]) + 1
    inside, count = ndimage.label(ndimage.binary_fill_holes(shell) & ~shell)
    return inside == np.argmax(np.bincount(inside.ravel())[1:]) + 1 if count else np.zeros(hu.shape, bool)


@pytest.fixture(scope="module")
def skulls(scans):
    """bool [D, H, W] of every scan."""
    return [np.stack([interior(hu) for hu in scan.volume.hu]) for scan in scans]


def area_cm2(scan, skull):
    row_mm, column_mm = scan.volume.pixel_mm
    return skull.sum(axis=(1, 2)) * row_mm * column_mm / 100


def adults(scans, skulls):
    return [(s, k) for s, k in zip(scans, skulls, strict=True) if s.subject.age_years >= 12]


def rings(hu, skull, pixel_mm):
    """Median HU by distance from the inner table, at `RINGS_MM`."""
    depth = ndimage.distance_transform_edt(skull) * pixel_mm
    return [np.median(hu[(depth > a) & (depth <= b)]) for a, b in itertools.pairwise(RINGS_MM)]


def middle_levels(scan, skull):
    """Bleed-free slices a little above the widest one, where the ventricles are."""
    area = area_cm2(scan, skull)
    widest = int(np.argmax(area))
    clean = scan.mask.sum(axis=(1, 2)) == 0
    return [d for d in range(widest, min(widest + 5, len(area))) if clean[d]]


def test_hu_by_distance_from_the_inner_table(scans, skulls):
    found = [
        rings(scan.volume.hu[d], skull[d], scan.volume.pixel_mm[0])
        for scan, skull in adults(scans, skulls)
        for d in middle_levels(scan, skull)
    ]
    assert len(found) >= 15
    np.testing.assert_allclose(np.median(found, axis=0), MIDDLE, rtol=0.25)


def test_hu_by_distance_from_the_inner_table_near_the_vertex(scans, skulls):
    found = []
    for scan, skull in adults(scans, skulls):
        area = area_cm2(scan, skull)
        area[: int(np.argmax(area))] = 0  # the way down from the widest slice is the skull base
        d = int(np.argmin(np.abs(area - 72)))
        if abs(area[d] - 72) < 20 and not scan.mask[d].any():
            found.append(rings(scan.volume.hu[d], skull[d], scan.volume.pixel_mm[0]))
    assert len(found) >= 5
    np.testing.assert_allclose(np.median(found, axis=0), VERTEX, rtol=0.25)


def test_pixels_in_the_threshold_baselines_band(scans, skulls):
    band, kept, inner = [], [], []
    for scan, skull in adults(scans, skulls):
        per = (scan.volume.pixel_mm[0] / REAL_PIXEL_MM) ** 2  # areas in pixels of the real scan
        area = area_cm2(scan, skull)
        for d in np.flatnonzero((area > 120) & ~scan.mask.any(axis=(1, 2))):
            hit = (scan.volume.hu[d] >= 46) & (scan.volume.hu[d] <= 88)
            opened = ndimage.binary_opening(hit, np.ones((5, 5)))
            band.append(hit.sum() * per)
            kept.append(opened.sum() * per)
            inner.append((opened & skull[d]).sum() * per)
    assert len(band) >= 60
    low, high = np.percentile(band, [10, 90])
    assert low >= 5500 * 0.75
    assert high <= 11300 * 1.25
    low, high = np.percentile(kept, [10, 90])
    assert low >= 2400 * 0.75
    assert high <= 8200 * 1.25
    low, high = np.percentile(inner, [10, 90])
    assert low >= 500 * 0.75
    assert high <= 8000 * 1.25


def local_sd(hu, skull):
    """Median SD of HU within 4 mm, well inside the skull."""
    deep = ndimage.binary_erosion(skull, iterations=24)
    hu = hu.astype(np.float64)
    mean = ndimage.uniform_filter(hu, 9)
    variance = ndimage.uniform_filter(hu * hu, 9) - mean * mean
    return np.median(np.sqrt(np.maximum(variance[deep], 0)))


def test_noise(scans, skulls):
    convexity, fossa = [], []
    for scan, skull in adults(scans, skulls):
        area = area_cm2(scan, skull)
        widest = int(np.argmax(area))
        high = [d for d in range(widest, len(area)) if 110 < area[d] < 150]
        low = [d for d in range(widest) if 40 < area[d] < 75]
        convexity += [local_sd(scan.volume.hu[d], skull[d]) for d in high]
        fossa += [local_sd(scan.volume.hu[d], skull[d]) for d in low]
    assert 3.5 * 0.75 <= np.median(convexity) <= 5 * 1.25
    assert 6 * 0.75 <= np.median(fossa) <= 8 * 1.25
    assert np.median(fossa) > 1.3 * np.median(convexity)


def test_noise_power_falls_as_a_scanners_does():
    side, pixel_mm = 256, 0.42
    grain = physics.grain(np.random.default_rng(0), 20, side, pixel_mm)
    assert grain.std() == pytest.approx(1, abs=0.02)
    power = (np.abs(np.fft.fft2(grain)) ** 2).mean(axis=0)
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side, pixel_mm / 10)] * 2))
    bands = [(0.5, 1), (1.5, 2.5), (3, 4), (5, 6), (7, 8)]
    found = np.array([power[(f > a) & (f < b)].mean() for a, b in bands])
    expected = np.array([(f * np.exp(-((f / 4.5) ** 2)))[(f > a) & (f < b)].mean() for a, b in bands])
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=0.08)


def test_lesions_have_the_real_sets_sizes(scans):
    areas = np.concatenate([scan.mask.sum(axis=(1, 2)) for scan in scans])
    found = np.percentile(areas[areas > 0], [5, 25, 50, 75, 95])
    real = np.array([171, 517, 1103, 2229, 8223])
    np.testing.assert_array_less(found, 2 * real)
    np.testing.assert_array_less(real / 2, found)
    assert areas.max() < 2 * 11093  # the largest of 318; a set of twelve subjects has some 50 slices to draw from
    share = sum(int(scan.mask.sum()) for scan in scans) / sum(scan.mask.size for scan in scans)
    assert 0.00084 / 2 < share < 0.00084 * 2
    positive = [int(scan.mask.any(axis=(1, 2)).sum()) for scan in scans if scan.mask.any()]
    assert 4.5 <= np.median(positive) <= 18
    assert max(positive) <= 25
    assert 31 <= min(len(s.mask) for s in scans) <= max(len(s.mask) for s in scans) <= 58
    assert 0.4 * len(scans) <= len(positive) <= 0.6 * len(scans)


def test_masks_and_labels_agree_but_for_the_slices_a_reader_misses(scans):
    masked = np.concatenate([scan.mask.any(axis=(1, 2)) for scan in scans])
    labelled = np.concatenate([scan.slice_labels.any(axis=1) for scan in scans])
    assert not (masked & ~labelled).any()
    assert (labelled & ~masked).sum() <= 0.1 * labelled.sum()


def gray(hu):
    """Gray level through the brain window, int [0, 255]."""
    return np.clip(np.floor((hu.astype(np.float64) + 20) / 120 * 255), 0, 255).astype(int)


def threshold_dice(scans, where):
    """The paper's experiment 1 on a set: the pair of gray levels of the highest mean Jaccard, and its Dice.

    Args:
      where: for each scan what to look at, bool [D, H, W].
    """
    jaccard = np.zeros((111, 46))
    dice_of_slices, owner = [], []
    for number, (scan, look) in enumerate(zip(scans, where, strict=True)):
        for d in np.flatnonzero(scan.mask.any(axis=(1, 2))):
            truth = scan.mask[d] > 0
            level = gray(scan.volume.hu[d])
            every = np.bincount(level[look[d]], minlength=256)
            hit = np.bincount(level[look[d] & truth], minlength=256)
            every, hit = (np.concatenate([[0], np.cumsum(h)]) for h in (every, hit))
            predicted = every[np.newaxis, 211:257] - every[100:211, np.newaxis]  # low <= level <= high
            overlap = hit[np.newaxis, 211:257] - hit[100:211, np.newaxis]
            jaccard += overlap / (predicted + truth.sum() - overlap)
            dice_of_slices.append(2 * overlap / (predicted + truth.sum()))
            owner.append(number)
    low, high = np.unravel_index(np.argmax(jaccard), jaccard.shape)
    scores, owner = np.array([dice[low, high] for dice in dice_of_slices]), np.array(owner)
    return float(np.mean([scores[owner == number].mean() for number in np.unique(owner)]))


def test_a_threshold_is_neither_hopeless_nor_enough(scans, skulls):
    everywhere = [np.ones(scan.mask.shape, bool) for scan in scans]
    assert 0.05 <= threshold_dice(scans, everywhere) <= 0.30
    assert threshold_dice(scans, skulls) <= 0.45


def test_a_subject_takes_few_seconds_and_is_the_same_in_any_process(scans):
    phantoms.make_subject(49, seed=SEED, preset="demo")  # builds the projector, once a process
    began = time.process_time()
    subject = phantoms.make_subject(49, seed=SEED, preset="calibrated")
    seconds = time.process_time() - began
    np.testing.assert_array_equal(subject.hu, scans[0].volume.hu)
    # 34 slices in 6 s on a quiet core; beside other work the same instructions take up to half as long again.
    assert seconds / len(subject.hu) * 34 < 9.0
