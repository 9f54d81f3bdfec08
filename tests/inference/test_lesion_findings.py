"""Measurements of a predicted mask, against values by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.inference import lesion_findings
from ichjax.metrics import calibration
from ichjax.scan.volume import from_file_grid

PIXEL_MM, GAP_MM = (0.5, 0.8), 5.0


def head(depth=9, rows=200, columns=160, *, origins=None):
    """A ring of bone around brain in air, in slices of 5 mm; columns grow to the patient's left, rows to the back."""
    y, x = np.mgrid[:rows, :columns]
    radius = np.hypot((y - (rows - 1) / 2) * PIXEL_MM[0], (x - (columns - 1) / 2) * PIXEL_MM[1])
    plane = np.select([radius < 40, radius < 46], [30, 1000], -1000).astype(np.int16)
    hu = np.repeat(plane[None], depth, axis=0)
    affine = np.diag([-PIXEL_MM[1], -PIXEL_MM[0], GAP_MM, 1.0])
    return from_file_grid(hu.transpose(2, 1, 0), affine, name="head", slice_origins_mm=origins)


def describe(volume, *masks, probability=0.9):
    mask = np.any(masks, axis=0) if masks else np.zeros(volume.shape, bool)
    inside = calibration.intracranial(volume)
    probability = np.where(mask, probability, 0.1).astype(np.float32)
    return lesion_findings.describe(volume, mask, probability, inside=inside, rule_mm2=4.0)


def box(volume, slices, rows, columns):
    mask = np.zeros(volume.shape, bool)
    mask[slices, rows, columns] = True
    return mask


def test_a_box_by_hand():
    volume = head()
    assert volume.pixel_mm == PIXEL_MM
    mask = box(volume, slice(2, 5), slice(90, 110), slice(100, 110))  # 10 x 8 x 15 mm, to the left of the middle
    findings = describe(volume, mask)
    (lesion,) = findings["lesions"]
    assert findings["volume_ml"] == lesion["volume_ml"] == pytest.approx(10 * 8 * 15 / 1000)
    diagonal = np.hypot(10, 8)
    across = 2 * 10 * 8 / diagonal  # the other two corners' distance to the diagonal, twice
    assert lesion["diameter_mm"] == pytest.approx(diagonal)
    assert lesion["abc2_ml"] == findings["abc2_ml"] == pytest.approx(diagonal * across * 15 / 2 / 1000)
    assert lesion["centroid_voxel"] == [3, 99.5, 104.5]
    assert lesion["centroid_mm"] == pytest.approx([-104.5 * 0.8, -99.5 * 0.5, 15], abs=0.06)
    assert (lesion["side"], lesion["slices"]) == ("left", [3, 5])
    assert findings["positive_slices"] == [3, 4, 5]
    assert (
        lesion["highest_probability"] == findings["highest_probability"] == findings["suspicion"] == pytest.approx(0.9)
    )
    # The corner (90, 109): (9.5 px x 0.5 mm, 29.5 px x 0.8 mm) from the center, 40 mm to the bone's inner edge.
    assert lesion["to_skull_mm"] == pytest.approx(40 - np.hypot(9.5 * 0.5, 29.5 * 0.8), abs=1.0)


def test_sides_order_and_small_components():
    volume = head()
    right = box(volume, slice(0, 3), slice(60, 70), slice(40, 60))
    middle = box(volume, slice(6, 7), slice(100, 110), slice(75, 85))
    speck = box(volume, slice(8, 9), slice(100, 101), slice(100, 101))  # 0.002 mL
    findings = describe(volume, middle, speck, right)
    assert [lesion["side"] for lesion in findings["lesions"]] == ["right", "midline"]  # the largest first
    assert findings["small_components"] == 1
    assert findings["volume_ml"] == pytest.approx((3 * 200 + 100 + 1) * 0.4 * 5 / 1000)
    assert findings["positive_slices"] == [1, 2, 3, 7]  # the speck's slice is below the rule


def test_an_empty_mask():
    findings = describe(head())
    assert findings["lesions"] == findings["positive_slices"] == []
    assert (findings["volume_ml"], findings["abc2_ml"], findings["small_components"]) == (0, 0, 0)
    assert findings["suspicion"] == pytest.approx(0.1)


def test_uneven_slices_count_with_their_true_heights():
    origins = np.array([[0, 0, z] for z in (0.0, 4, 8, 15, 22, 29, 36, 43, 50)])
    volume = head(origins=origins)
    findings = describe(volume, box(volume, slice(2, 4), slice(90, 110), slice(100, 110)))
    heights = (4 + 7) / 2 + 7  # half the gap to each neighbour
    assert findings["lesions"][0]["volume_ml"] == pytest.approx(80 * heights / 1000)
    assert findings["lesions"][0]["centroid_mm"][2] == pytest.approx((8 * 5.5 + 15 * 7) / 12.5, abs=0.3)


def test_a_lesion_at_the_bone_touches_it():
    volume = head()
    mask = box(volume, slice(2, 4), slice(95, 105), slice(30, 50))  # the ring's inner edge is at column 29.5
    assert describe(volume, mask)["lesions"][0]["to_skull_mm"] <= 2.0


def test_without_bone_the_side_is_unknown():
    volume = head()
    volume.hu[:] = 30
    findings = describe(volume, box(volume, slice(2, 4), slice(95, 105), slice(40, 50)))
    assert (findings["lesions"][0]["side"], findings["lesions"][0]["to_skull_mm"]) == ("unknown", None)


@pytest.mark.parametrize(("radii_mm", "gap"), [((15.0, 15.0, 15.0), 0.5), ((20.0, 12.0, 18.0), 0.5)])
def test_abc2_of_an_ellipsoid(radii_mm, gap):
    """ABC/2 approximates pi by 3, and the weighted slices make C smaller than the ellipsoid's height."""
    z, y, x = np.ogrid[-25:25.01:gap, -25:25.01:0.5, -25:25.01:0.5]
    voxels = (z / radii_mm[2]) ** 2 + (y / radii_mm[0]) ** 2 + (x / radii_mm[1]) ** 2 <= 1
    estimated_ml = lesion_findings.abc2_ml(voxels, (0.5, 0.5), np.full(len(voxels), gap))
    true_ml = 4 / 3 * np.pi * np.prod(radii_mm) / 1000
    # 75 % of the area is reached at half the radius, 25 % at sqrt(3) / 2 of it: C = 2 r (0.5 + (0.866 - 0.5) / 2).
    expected = 2 * radii_mm[0] * 2 * radii_mm[1] * 2 * radii_mm[2] * 0.683 / 2 / 1000
    assert estimated_ml == pytest.approx(expected, rel=0.06)  # pixels are rectangles
    assert estimated_ml / true_ml == pytest.approx(0.683 * 3 / np.pi, rel=0.06)


@given(turned=st.integers(0, 3), flipped=st.booleans(), seed=st.integers(0, 5))
def test_a_diameter_does_not_depend_on_the_orientation_of_a_section(turned, flipped, seed):
    section = np.random.default_rng(seed).random((9, 6)) < 0.4
    section[4, 3] = True
    longest, across = lesion_findings.axes_mm(section, (0.7, 0.7))
    other = np.rot90(section[::-1] if flipped else section, turned)
    other_longest, _ = lesion_findings.axes_mm(other, (0.7, 0.7))  # several lines may be the longest: widths can differ
    assert other_longest == pytest.approx(longest)
    assert 0 < across <= longest + 1e-9
