"""One scan with its truth and a prediction, ready to be looked at."""

import base64
import dataclasses
import io
import pathlib

import numpy as np
from PIL import Image

from ichjax.data import dataset as datasets
from ichjax.data.subject import Dataset
from ichjax.errors import InputError
from ichjax.report.workdir import Run
from ichjax.scan import nifti
from ichjax.scan import volume as volumes
from ichjax.scan.volume import BRAIN_WINDOW_HU

BODY_HU = -300  # above this is no air
MARGIN_PX = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A scan to look at.

    Attributes:
      number: the subject's.
      volume: the scan.
      truth, prediction: bool [D, H, W] on the scan's voxels.
    """

    number: int
    volume: volumes.Volume
    truth: np.ndarray
    prediction: np.ndarray


def open_dataset(run: Run) -> Dataset:
    """The data set that a run was scored on.

    Raises:
      InputError: config.json names none, or it is not there any more.
    """
    root = run.config.get("data", {}).get("root")
    if not root:
        raise InputError("config.json names no data set (data.root); expected the folder that was scored")
    return datasets.read_dataset(pathlib.Path(root))


def load_case(run: Run, dataset: Dataset, number: int) -> Case:
    """Reads a subject's scan, truth and the prediction in predictions/.

    Raises:
      InputError: the subject is not in the data set, a file is missing or damaged, or the prediction does not lie
        on the scan's grid.
    """
    subject = next((s for s in dataset.subjects if s.number == number), None)
    if subject is None:
        raise InputError(f"subject {number}: not in the data set any more; expected the one that was scored")
    scan = datasets.load_scan(subject)
    name = f"predictions/{number:03d}.nii.gz"
    array, affine = nifti.load_array(run.path / name, name=name)
    prediction = volumes.from_file_grid(array, affine, name=name)
    if prediction.shape != scan.volume.shape:
        raise InputError(
            f"{name}: has the shape {prediction.file_shape}; expected its scan's, {scan.volume.file_shape}"
        )
    return Case(number, scan.volume, scan.mask > 0, prediction.hu > 0)


def brain_window(hu: np.ndarray) -> np.ndarray:
    """uint8 [...]: HU through the brain window, -20 HU is 0 and 100 HU is 255."""
    low, high = BRAIN_WINDOW_HU
    gray = (np.clip(hu, low, high).astype(np.float32) - low) * (255.0 / (high - low))
    return np.rint(gray).astype(np.uint8)


def body_box(hu: np.ndarray, *masks: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold the body and the masks in any slice, with a margin.

    Args:
      hu: int16 [D, H, W].
      masks: bool [D, H, W].
    """
    shown = (hu > BODY_HU).any(axis=0)
    for mask in masks:
        shown |= mask.any(axis=0)
    if not shown.any():
        return slice(0, shown.shape[0]), slice(0, shown.shape[1])
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    return tuple(
        slice(max(0, int(edge[0]) - MARGIN_PX), min(size, int(edge[-1]) + 1 + MARGIN_PX))
        for edge, size in zip((rows, columns), shown.shape, strict=True)
    )


def encode(image: np.ndarray, *, quality: int) -> str:
    """A gray image as a data URI: PNG up to 256 pixels a side, else JPEG.

    Args:
      image: uint8 [H, W].
      quality: of the JPEG, to 95.
    """
    buffer = io.BytesIO()
    kind = "png" if max(image.shape) <= 256 else "jpeg"
    if kind == "png":
        Image.fromarray(image).save(buffer, "PNG", optimize=True)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
