"""Folds by subject for sets with labels of slices or scans and no masks."""

import pathlib

import numpy as np

from ichjax.data.label_tables import SUBTYPES
from ichjax.data.splits import Splits, stratified_splits
from ichjax.data.subject import Subject


def split_subjects(labels: np.ndarray, *, folds: int, seed: int) -> Splits:
    """Stratified folds, the rarest sub-type spread first; see `stratified_splits`.

    Args:
      labels: bool [n, 6], columns as `DETECTION_LABELS`, of subject k in row k.

    Raises:
      InputError: fewer than 3 folds, fewer subjects than folds, or a part of a fold without a hemorrhage.
    """
    subjects = [
        Subject(
            number=number,
            scan_path=pathlib.Path(),
            mask_path=None,
            age_years=None,
            sex=None,
            slice_labels=row[None, : len(SUBTYPES)],
            slice_fracture=np.zeros(1, bool),
            fracture=None,
            hemorrhage=bool(row[-1]),
        )
        for number, row in enumerate(np.asarray(labels, bool))
    ]
    return stratified_splits(subjects, folds=folds, seed=seed)
