"""Masks of the sub-types of hemorrhage: the class of each pixel, from named mask labels or from labels of slices."""

from collections.abc import Mapping

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.data.subject import Scan

MAX_LABEL = 255  # of a multi-label mask
UNKNOWN_SUBTYPE = 255  # class of a hemorrhage whose sub-type is not known


def class_mask(scan: Scan) -> np.ndarray:
    """The class of each pixel of a scan.

    The names of its mask's labels decide (`Subject.label_classes`). Without names, the hemorrhage of a slice that is
    labelled with exactly one sub-type has that class; on other slices it is unknown.

    Returns:
      uint8 [D, H, W]: 0 outside the mask, 1 + the sub-type's index in `SUBTYPES`, or `UNKNOWN_SUBTYPE`.
    """
    if scan.subject.label_classes:
        return classes_of_labels(scan.mask if scan.labels is None else scan.labels, scan.subject.label_classes)
    only = scan.slice_labels.sum(axis=1) == 1
    by_slice = np.where(only, 1 + scan.slice_labels.argmax(axis=1), UNKNOWN_SUBTYPE).astype(np.uint8)
    return np.where(scan.mask > 0, by_slice[:, None, None], np.uint8(0))


def classes_of_labels(labels: np.ndarray, label_classes: Mapping[int, int]) -> np.ndarray:
    """The class of each pixel of a multi-label mask: uint8 of any shape, from uint8 labels; 0 is the background.

    Labels that `label_classes` lacks are hemorrhage of unknown sub-type.
    """
    table = np.full(MAX_LABEL + 1, UNKNOWN_SUBTYPE, np.uint8)
    table[0] = 0
    for label, number in label_classes.items():
        table[label] = number
    return table[labels]


def subtypes_by_slice(classes: np.ndarray) -> np.ndarray:
    """The sub-types on each slice: bool [D, 5], in the order of `SUBTYPES`, from classes [D, H, W]."""
    return np.stack([np.any(classes == k, axis=(1, 2)) for k in range(1, len(SUBTYPES) + 1)], axis=1)
