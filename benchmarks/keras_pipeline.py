"""The authors' Keras pipeline without the network: NumPy, SciPy, OpenCV and scikit-learn on the host.

Training patches are 8-bit images on disk, read and warped one by one as Keras' ImageDataGenerator does. Prediction
extracts patches, stitches them in NumPy and cleans masks with OpenCV. The code follows what the authors' code does and
shares nothing with ichjax, which it is compared with.
"""

import atexit
import pathlib
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import nibabel as nib
import numpy as np
import scipy.ndimage

WINDOW_HU = (-20.0, 100.0)  # onto 0 to 1, or 0 to 255: level 40, width 120
ROTATION_DEGREES, SHIFT, SHEAR_DEGREES, ZOOM = 20.0, 0.1, 0.1, 0.2
LEARNING_RATE, EPOCHS = 1e-5, 150
CLOSING_PX, OPENING_PX = 10, 5
RULE_PX = 400  # a slice is predicted positive above this many pixels


class Scan(NamedTuple):
    """hu: int16 [D, H, W], axes to the head, the back and the left.  voxel_ml: the volume of one voxel."""

    hu: np.ndarray
    voxel_ml: float


def read_scan(path: str | pathlib.Path) -> Scan:
    """Reads a NIfTI scan of HU; raises FileNotFoundError."""
    image = nib.as_closest_canonical(nib.load(path))
    hu = np.rint(image.get_fdata(dtype=np.float32)).astype(np.int16)
    voxel_mm = image.header.get_zooms()[:3]
    return Scan(np.ascontiguousarray(hu.transpose(2, 1, 0)[:, ::-1, ::-1]), float(np.prod(voxel_mm)) / 1000.0)


def windowed(hu: np.ndarray) -> np.ndarray:
    """Maps HU of any shape through the brain window to float32 in [0, 1]."""
    low, high = np.float32(WINDOW_HU)
    return np.clip((hu.astype(np.float32) - low) / (high - low), 0.0, 1.0)


def example_batch(batch: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The batch of every contestant: images float32 [B, P, P, 1] in [0, 1], masks float32 [B, P, P, 1] of 0 and 1."""
    images = np.random.default_rng(0).random((batch, side, side, 1), np.float32)
    return images, (images > 0.98).astype(np.float32)


def read_weights(path: str | pathlib.Path) -> dict[str, dict[str, np.ndarray]]:
    """Reads {layer: {'kernel' float32 [h, w, in, out], 'bias' float32 [out]}} written by `our_work.save_weights`."""
    params: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            layer, kind = name.split("/")
            params.setdefault(layer, {})[kind] = arrays[name]
    return params


# Training patches: written once, read in every epoch


def write_positive_patches(root: str, *, side: int, stride: int) -> list[tuple[str, str]]:
    """Writes each patch with a mask pixel, and its mask, as 8-bit PNG files, as the authors do before training.

    The temporary folder is removed when the process ends.

    Args:
      root: a data set in the nifti layout: ct_scans/NNN.nii and masks/NNN.nii.
      side, stride: of the patches, in pixels.

    Returns:
      [(image file, mask file)], in order of scan, slice and position.
    """
    import cv2  # lazily, here and below: work on `example_batch` needs neither OpenCV nor scikit-learn

    folder, files = tempfile.mkdtemp(), []
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for mask_path in sorted(pathlib.Path(root, "masks").glob("*.nii*")):
        hu = read_scan(pathlib.Path(root, "ct_scans", mask_path.name)).hu
        mask = _read_mask(mask_path)
        for d in np.flatnonzero(mask.any(axis=(1, 2))):
            images = cut(np.rint(windowed(hu[d]) * 255.0).astype(np.uint8), side=side, stride=stride)
            masks = cut(mask[d].astype(np.uint8) * 255, side=side, stride=stride)
            for number in np.flatnonzero(masks.any(axis=(1, 2))):
                names = [f"{folder}/{mask_path.name[:3]}_{d}_{number}{end}.png" for end in ("", "_mask")]
                cv2.imwrite(names[0], images[number])
                cv2.imwrite(names[1], masks[number])
                files.append((names[0], names[1]))
    return files


def _read_mask(path: pathlib.Path) -> np.ndarray:
    """Reads a mask of 0 and 255, or of 0 and 1, as bool [D, H, W] in `read_scan`'s axes."""
    values = nib.as_closest_canonical(nib.load(path)).get_fdata(dtype=np.float32)
    return (values > values.max() / 2).transpose(2, 1, 0)[:, ::-1, ::-1] & bool(values.max() > 0)


def draw_affine(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draws a transform float64 [3, 3] from output to input pixels about the center, composed as in Keras: rotation,
    shift, shear and zoom, each uniform in its range, with a zoom per axis."""
    angle, shear = np.deg2rad(rng.uniform(-1, 1, 2) * (ROTATION_DEGREES, SHEAR_DEGREES))
    shift, zoom = rng.uniform(-SHIFT, SHIFT, 2) * side, rng.uniform(1 - ZOOM, 1 + ZOOM, 2)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    skew = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    return rotation @ moved @ skew @ np.diag([*zoom, 1.0])


def warp(image: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Warps float32 [P, P] by a transform of `draw_affine`: bilinear, nearest edge pixel outside."""
    linear, center = transform[:2, :2], (np.array(image.shape) - 1) / 2
    offset = center + transform[:2, 2] - linear @ center
    return scipy.ndimage.affine_transform(image, linear, offset, order=1, mode="nearest")


def read_patch(files: tuple[str, str], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Reads and augments one patch: image float32 [P, P, 1] in [0, 1], mask float32 [P, P, 1] of 0 and 1."""
    import cv2

    image, mask = (cv2.imread(name, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255.0 for name in files)
    transform = draw_affine(rng, image.shape[0])
    mask = (warp(mask, transform) >= 0.5).astype(np.float32)
    return warp(image, transform)[..., None], mask[..., None]


def read_batch(
    files: Sequence[tuple[str, str]], rows: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Reads and augments the patches `rows` of `files`: images and masks, float32 [B, P, P, 1] each."""
    images, masks = zip(*(read_patch(files[row], rng) for row in rows), strict=True)
    return np.stack(images), np.stack(masks)


# Prediction: from slices to patches and back, then to a mask


def _corners(height: int, width: int, side: int, stride: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(0, height - side + 1, stride) for j in range(0, width - side + 1, stride)]


def cut(plane: np.ndarray, *, side: int, stride: int) -> np.ndarray:
    """Cuts a slice [H, W] into its patches [N, P, P], row by row."""
    return np.stack([plane[i : i + side, j : j + side] for i, j in _corners(*plane.shape, side, stride)])


def stitch(
    patches: np.ndarray, height: int, width: int, *, side: int, stride: int, eight_bit: bool = False
) -> np.ndarray:
    """Stitches the patches of a slice, averaging where they overlap.

    Args:
      patches: float32 [N, P, P] in [0, 1], in the order of `cut`.
      height, width: of the slice.
      side, stride: of the patches, in pixels.
      eight_bit: follows the authors, who save trunc(255 p) and truncate the mean again. The result is in levels of
        1/256, so that above t means above 256 t of their levels.

    Returns:
      float32 [H, W].
    """
    total, count = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for (i, j), patch in zip(_corners(height, width, side, stride), patches, strict=True):
        total[i : i + side, j : j + side] += np.trunc(patch * np.float32(255.0)) if eight_bit else patch
        count[i : i + side, j : j + side] += 1.0
    return np.trunc(total / count) / np.float32(256.0) if eight_bit else total / count


def clean(positive: np.ndarray, *, closing: int = CLOSING_PX, opening: int = OPENING_PX) -> np.ndarray:
    """Closes, then opens bool [H, W] by OpenCV; kernels are squares with these sides in pixels."""
    import cv2

    mask = cv2.morphologyEx(positive.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((closing, closing), np.uint8))
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((opening, opening), np.uint8)) > 0


def probabilities(
    predict: Callable[[np.ndarray], np.ndarray], hu: np.ndarray, *, side: int, stride: int, one_at_a_time: bool
) -> np.ndarray:
    """Predicts a scan's probability patch by patch.

    Args:
      predict: maps images float32 [N, P, P, 1] to probability float32 [N, P, P, 1].
      hu: int16 [D, H, W].
      side, stride: of the patches, in pixels.
      one_at_a_time: calls `predict` with one patch at a time, as the authors do, instead of all patches of the scan.

    Returns:
      float32 [D, H, W].
    """
    patches = np.stack([cut(plane, side=side, stride=stride) for plane in windowed(hu)])
    images = patches.reshape(-1, side, side, 1)
    if one_at_a_time:
        predicted = np.concatenate([predict(image[None]) for image in images])
    else:
        predicted = predict(images)
    height, width = hu.shape[1:]
    return np.stack([stitch(p, height, width, side=side, stride=stride) for p in predicted.reshape(patches.shape)])


def mask_of(probability: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """Thresholds float32 [D, H, W], then closes and opens: bool [D, H, W]."""
    return np.stack([clean(plane > threshold) for plane in probability])


def scan_work(
    scan: str, probability_of: Callable[[np.ndarray], np.ndarray], *, threshold: float, from_disk: bool
) -> Callable[[], dict]:
    """A peer's prediction of a scan, from file or HU to volume.

    Args:
      scan: a NIfTI file.
      probability_of: maps HU int16 [D, H, W] to probability float32 [D, H, W].
      threshold: of the probability.
      from_disk: reads the file in each round instead of once in advance.

    Returns:
      A function that predicts once and returns {'volume_ml', 'pixels', 'peak_mb'}: the mask's volume and size, and the
      process's peak memory.
    """
    read = read_scan(scan)

    def work() -> dict:
        hu, voxel_ml = read_scan(scan) if from_disk else read
        pixels = int(mask_of(probability_of(hu), threshold=threshold).sum())
        return {"volume_ml": pixels * voxel_ml, "pixels": pixels, "peak_mb": peak_memory_mb()}

    return work


def scores(mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores a scan with scikit-learn.

    Args:
      mask, truth: bool [D, H, W].

    Returns:
      'dice' and 'jaccard', means over the slices with a hemorrhage (NaN without any), and the 'accuracy' of slices
      predicted positive by their area.
    """
    from sklearn.metrics import accuracy_score, f1_score, jaccard_score

    pairs = [(t.ravel(), m.ravel()) for t, m in zip(truth, mask, strict=True) if t.any()]
    predicted_positive = mask.sum(axis=(1, 2)) > RULE_PX
    return {
        "dice": float(np.mean([f1_score(*pair, zero_division=0) for pair in pairs])) if pairs else float("nan"),
        "jaccard": float(np.mean([jaccard_score(*pair, zero_division=0) for pair in pairs])) if pairs else float("nan"),
        "accuracy": float(accuracy_score(truth.any(axis=(1, 2)), predicted_positive)),
    }


def peak_memory_mb() -> float:
    """Peak memory of this process in MB (10 ** 6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
