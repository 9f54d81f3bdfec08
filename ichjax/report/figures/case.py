"""Loads a scan with its truth and prediction for display, and prepares its slices as images."""

import base64
import dataclasses
import io
import pathlib

import numpy as np
from PIL import Image

from ichjax.data import dataset as datasets
from ichjax.data.subject import Dataset, Subject
from ichjax.errors import InputError
from ichjax.report.workdir import Run
from ichjax.scan import nifti
from ichjax.scan import volume as volumes
from ichjax.scan.volume import BRAIN_WINDOW_HU, Volume

BODY_HU = -300  # everything above is not air
MARGIN_PX = 8
MAX_PNG_SIDE = 256  # larger images are stored as JPEG


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A subject's scan for display."""

    subject: Subject
    volume: Volume
    truth: np.ndarray  # bool [D, H, W], as the volume
    prediction: np.ndarray  # bool [D, H, W]

    @property
    def number(self) -> int:
        """The subject's number."""
        return self.subject.number


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice with a hemorrhage, with what is needed to choose among slices."""

    subject: int
    index: int  # 0 is the lowest
    dice: float  # of the prediction
    truth_px: int  # pixels of hemorrhage
    subtypes: tuple[str, ...]  # its labels


def open_dataset(run: Run) -> Dataset:
    """The data set on which a run was scored.

    Raises:
      InputError: config.json names no data set, or it cannot be read.
    """
    root = run.config.get("data", {}).get("root")
    if not root:
        raise InputError("config.json names no data set (data.root); expected the folder that was scored")
    return datasets.read_dataset(pathlib.Path(root))


def load_case(run: Run, dataset: Dataset, number: int) -> Case:
    """Reads a subject's scan and truth, and its prediction from predictions/.

    Raises:
      InputError: the subject is not in the data set, a file is missing or damaged, or the prediction is not on the
        scan's grid.
    """
    subject = next((s for s in dataset.subjects if s.number == number), None)
    if subject is None:
        raise InputError(f"subject {number}: no longer in the data set; expected the data set that was scored")
    scan = datasets.load_scan(subject)
    prediction = load_on_grid(run, "predictions", subject, scan.volume)
    return Case(subject, scan.volume, scan.mask > 0, prediction > 0)


def load_on_grid(run: Run, folder: str, subject: Subject, volume: Volume) -> np.ndarray:
    """int16 [D, H, W]: a subject's array in a folder of a run, in the orientation of its scan.

    Raises:
      InputError: the file is missing or damaged, or its shape is not the scan's.
    """
    name, numbered = (f"{folder}/{stem}.nii.gz" for stem in (subject.name, f"{subject.number:03d}"))
    if not (run.path / name).is_file() and (run.path / numbered).is_file():  # of an earlier version
        name = numbered
    array, affine = nifti.load_array(run.path / name, name=name)
    stored = volumes.from_file_grid(array, affine, name=name)
    if stored.shape != volume.shape:
        raise InputError(f"{name}: has shape {stored.file_shape}; expected the shape of its scan, {volume.file_shape}")
    return stored.hu


def brain_window(hu: np.ndarray) -> np.ndarray:
    """uint8 [...]: HU through the brain window, -20 HU is 0 and 100 HU is 255."""
    low, high = BRAIN_WINDOW_HU
    gray = (np.clip(hu, low, high).astype(np.float32) - low) * (255.0 / (high - low))
    return np.rint(gray).astype(np.uint8)


def body_box(hu: np.ndarray, *masks: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that contain the body and the masks of all slices, with a margin.

    Args:
      hu: int16 [D, H, W].
      masks: bool [D, H, W].
    """
    shown = np.any(hu > BODY_HU, axis=0)
    for mask in masks:
        shown |= mask.any(axis=0)
    if not shown.any():
        return slice(0, shown.shape[0]), slice(0, shown.shape[1])
    return _span(shown.any(axis=1)), _span(shown.any(axis=0))


def _span(shown: np.ndarray) -> slice:
    """From the first to the last true value of bool [N], with a margin."""
    first, last = np.flatnonzero(shown)[[0, -1]].tolist()
    return slice(max(0, first - MARGIN_PX), min(len(shown), last + 1 + MARGIN_PX))


def encode(image: np.ndarray, *, quality: int) -> str:
    """A gray image as a data URI: PNG up to `MAX_PNG_SIDE` pixels a side, else JPEG.

    Args:
      image: uint8 [H, W].
      quality: of the JPEG, at most 95.
    """
    buffer = io.BytesIO()
    kind = "png" if max(image.shape) <= MAX_PNG_SIDE else "jpeg"
    options = {} if kind == "png" else {"quality": quality}
    Image.fromarray(image).save(buffer, kind, optimize=True, **options)
    return data_uri(buffer.getvalue(), kind)


def data_uri(content: bytes, kind: str) -> str:
    """An encoded image ('png' or 'jpeg') as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
