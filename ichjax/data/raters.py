"""Masks of several raters in folders of scans and masks: masks/ID_RATER.nii.gz, and the majority vote over them."""

import pathlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ichjax.errors import InputError


def split_raters(
    masks: Mapping[str, pathlib.Path], ids: Collection[str]
) -> tuple[dict[str, pathlib.Path], dict[str, dict[str, pathlib.Path]]]:
    """Separates the raters' masks from the others.

    A name that is an ID is that subject's mask. Any other name belongs to the longest ID that it begins with, followed
    by an underscore and the rater: of the IDs 'a' and 'a_b', 'a_b_c' is the mask of 'a_b' by the rater 'c'.

    Args:
      masks: mask files by name, without their ending.
      ids: IDs of the scans.

    Returns:
      ({name: file} of all others, {ID: {rater: file}} in the order of raters).
    """
    others: dict[str, pathlib.Path] = {}
    by_id: dict[str, dict[str, pathlib.Path]] = {}
    for name, path in sorted(masks.items()):
        ends = [k for k, character in enumerate(name[:-1]) if character == "_" and name[:k] in ids]
        if name in ids or not ends:
            others[name] = path
        else:
            by_id.setdefault(name[: ends[-1]], {})[name[ends[-1] + 1 :]] = path
    return others, by_id


def majority_vote(masks: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 [D, H, W]: the labels that at least half of the raters' masks agree on, 0 elsewhere.

    A voxel is a hemorrhage if at least half of the raters mark it, so a tie counts as one: of two raters, one is
    enough. Its label is the most frequent among those that mark it, of equally frequent ones the lowest.

    Args:
      masks: uint8 [D, H, W] labels, one per rater; at least one.

    Raises:
      InputError: the masks differ in shape.
    """
    if len({mask.shape for mask in masks}) > 1:
        raise InputError(f"the raters' masks have the shapes {[mask.shape for mask in masks]}; expected one shape")
    votes = np.sum([mask > 0 for mask in masks], axis=0, dtype=np.uint16)
    label, most = np.zeros(masks[0].shape, np.uint8), np.zeros_like(votes)
    for value in np.unique(np.concatenate([np.unique(mask) for mask in masks])):
        if value:
            count = np.sum([mask == value for mask in masks], axis=0, dtype=np.uint16)
            label[count > most] = value
            most = np.maximum(most, count)
    return np.where(2 * votes >= len(masks), label, 0).astype(np.uint8)
