"""Connected components by runs and hole filling, by hand and against SciPy."""

import numpy as np
import pytest
import scipy.ndimage

from ichjax.metrics import components

IN_PLANE = scipy.ndimage.generate_binary_structure(2, 1)[None] & np.array([False, True, False])[:, None, None]


def test_by_hand():
    """A ring with a hole and a pixel that shares only a corner with it; the next slice is another component."""
    mask = np.zeros((2, 4, 5), bool)
    mask[0, :3, :3], mask[0, 1, 1], mask[0, 3, 3], mask[1, 0, 4] = True, False, True, True
    runs = components.label_runs(mask)
    assert runs.n == 3
    assert runs.start.tolist() == [0, 5, 7, 10, 18, 24]
    assert runs.stop.tolist() == [3, 6, 8, 13, 19, 25]
    assert runs.label.tolist() == [0, 0, 0, 0, 1, 2]
    assert runs.pixel_labels().tolist() == [0] * 8 + [1, 2]
    expected = mask.copy()
    expected[0, 1, 1] = True
    np.testing.assert_array_equal(components.fill_holes(mask), expected)


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full(value):
    mask = np.full((2, 3, 4), value)
    runs = components.label_runs(mask)
    assert (runs.n, len(runs.start)) == ((2, 6) if value else (0, 0))
    np.testing.assert_array_equal(components.fill_holes(mask), mask)
    np.testing.assert_array_equal(components.paint_runs(mask.shape, runs.start, runs.stop), mask)


def test_agrees_with_scipy_on_random_masks():
    """Components, their order and filled holes, on 300 masks from one pixel to 4 x 12 x 12."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape = tuple(int(n) for n in rng.integers(1, (5, 13, 13)))
        mask = rng.random(shape) < rng.choice([0.0, 0.3, 0.6, 0.8, 1.0])
        runs = components.label_runs(mask)
        labels, n = scipy.ndimage.label(mask, IN_PLANE)
        assert runs.n == n
        np.testing.assert_array_equal(runs.pixel_labels() + 1, labels[mask])
        np.testing.assert_array_equal(components.paint_runs(shape, runs.start, runs.stop), mask)
        expected = [scipy.ndimage.binary_fill_holes(pixels) for pixels in mask]
        np.testing.assert_array_equal(components.fill_holes(mask), expected)
