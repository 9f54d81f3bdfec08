"""Regions of maps at a fixed size, and masks back in the image, against loops in NumPy."""

import functools

import jax
import numpy as np

from ichjax.ops import roi_align


def sample(image, row, column):
    """Bilinear, of the pixels around a point; positions are kept between the outermost pixels."""
    row, column = (min(max(at, 0.0), size - 1.0) for at, size in zip((row, column), image.shape, strict=False))
    top, left = int(row), int(column)
    bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
    y, x = row - top, column - left
    upper = (1 - x) * image[top, left] + x * image[top, right]
    return (1 - y) * upper + y * ((1 - x) * image[bottom, left] + x * image[bottom, right])


def aligned(image, box, size, samples):
    top, left, bottom, right = map(float, box)
    result = np.zeros((size, size, image.shape[-1]))
    height, width = (bottom - top) / size, (right - left) / size
    for i, j in np.ndindex(size, size):
        for m, n in np.ndindex(samples, samples):
            row, column = top + (i + (m + 0.5) / samples) * height, left + (j + (n + 0.5) / samples) * width
            result[i, j] += sample(image, row - 0.5, column - 0.5) / samples**2
    return result


def test_regions_are_means_of_bilinear_samples():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 9, 12, 3)).astype(np.float32)
    boxes = np.float32([[[1.3, 2.2, 7.9, 10.4], [0, 0, 9, 12]], [[4, 5, 4.5, 5.2], [-2, -3, 3, 14]]])
    for size, samples in ((4, 2), (3, 1)):
        result = jax.jit(functools.partial(roi_align.align, size=size, samples=samples))(maps, boxes)
        expected = [[aligned(image, box, size, samples) for box in of] for image, of in zip(maps, boxes, strict=True)]
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_a_mask_is_pasted_into_its_box():
    rng = np.random.default_rng(1)
    masks = rng.random((2, 5, 5)).astype(np.float32)
    boxes = np.float32([[2, 3, 7, 8], [1.2, 0.7, 8.8, 11.1]])
    result = np.asarray(jax.jit(functools.partial(roi_align.paste, height=10, width=12))(masks, boxes))
    np.testing.assert_allclose(result[0, 2:7, 3:8], masks[0], atol=1e-5)  # a pixel for each pixel
    expected = np.zeros((10, 12))
    for row, column in np.ndindex(10, 12):
        y = (row + 0.5 - boxes[1, 0]) / (boxes[1, 2] - boxes[1, 0])
        x = (column + 0.5 - boxes[1, 1]) / (boxes[1, 3] - boxes[1, 1])
        if 0 <= y <= 1 and 0 <= x <= 1:
            expected[row, column] = sample(masks[1], y * 5 - 0.5, x * 5 - 0.5)
    np.testing.assert_allclose(result[1], expected, atol=1e-5)
    assert not result[0, :2].any()
    assert not result[0, :, 8:].any()


def test_what_is_aligned_and_pasted_again_is_the_same():
    """A smooth image: the box of one region holds it but for what a linear interpolation loses."""
    y, x = np.mgrid[:32, :32] / 32
    image = (np.sin(3 * y) * np.cos(2 * x)).astype(np.float32)
    box = np.float32([4, 6, 28, 30])

    @jax.jit
    def there_and_back(image):
        region = roi_align.align(image[None, ..., None], box[None, None], size=24)[0, :, ..., 0]
        return roi_align.paste(region, box[None], height=32, width=32)[0]

    back = there_and_back(image)
    np.testing.assert_allclose(back[4:28, 6:30], image[4:28, 6:30], atol=0.01)
