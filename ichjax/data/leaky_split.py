"""An INVALID split, only for demonstration: folds of slices, so every subject is in train, validation and test at once.

Neighboring slices of a head are nearly the same image. Scores of such a split measure how well a network remembers a
head, not how well it generalizes to new ones; some published results on this data set come from one.
"""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError

INVALID = (
    "INVALID split 'slice_split', only for demonstration: slices of each subject are in train, validation and test "
    "at once, so its scores leak and do not hold for unseen patients"
)


def invalid_reason(splits: str) -> str | None:
    """Why results with this `config.data.splits` are invalid; None if they are not."""
    return INVALID if splits == "slice_split" else None


@dataclasses.dataclass(frozen=True, eq=False)
class SliceFold:
    """One leaking fold.

    Attributes:
      index: from 0.
      train, validation, test: {subject number: int64 [n], its slices in this part, ascending}; a subject with few
        slices may have none in a part.
    """

    index: int
    train: dict[int, np.ndarray]
    validation: dict[int, np.ndarray]
    test: dict[int, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class LeakingSplits:
    """All leaking folds; every slice of every subject is tested in exactly one.

    Attributes:
      seed: of the order of slices.
      folds: sorted by index.
      notes: one sentence, that the split is invalid.
    """

    seed: int
    folds: tuple[SliceFold, ...]
    notes: tuple[str, ...]


def split_slices(depths: Mapping[int, int], *, folds: int, seed: int) -> LeakingSplits:
    """Assigns the slices of each subject to folds at random; INVALID for evaluation, see above.

    A fold tests on one share of each subject's slices, validates on the next fold's share and trains on the rest. A
    subject's shares depend on the seed, its number and its number of slices, not on other subjects.

    Args:
      depths: {subject number: number of slices}.
      folds: at least 3.
      seed: 0 or more.

    Raises:
      InputError: fewer than 3 folds, no subject, or a subject without a slice.
    """
    if folds < 3:
        raise InputError(f"{folds} folds requested; expected at least 3, for test, validation and training")
    if not depths:
        raise InputError("no subject to split; expected at least one")
    empty = [number for number, depth in depths.items() if depth < 1]
    if empty:
        raise InputError(f"subject {empty[0]} has {depths[empty[0]]} slices; expected at least one")
    fold_of = {number: _assign_folds(depth, folds, [seed, number]) for number, depth in sorted(depths.items())}
    tested = [{number: np.flatnonzero(of == k) for number, of in fold_of.items()} for k in range(folds)]
    slice_folds = []
    for k in range(folds):
        following = (k + 1) % folds
        train = {number: np.flatnonzero((of != k) & (of != following)) for number, of in fold_of.items()}
        slice_folds.append(SliceFold(k, train=train, validation=tested[following], test=tested[k]))
    return LeakingSplits(seed, tuple(slice_folds), (INVALID,))


def _assign_folds(depth: int, folds: int, seed: list[int]) -> np.ndarray:
    """int64 [depth]: the fold that tests each slice; folds differ by at most one slice, the remainder is random."""
    rng = np.random.default_rng(seed)
    return (rng.permutation(depth) + rng.integers(folds)) % folds


def select_slices(scan: CachedScan, slices: np.ndarray) -> CachedScan:
    """A scan reduced to some of its slices, for training or validation.

    Its volumes in mL are meaningless, since slices are missing.

    Args:
      scan: D slices.
      slices: int [n], at least one, indices from 0 to D - 1, ascending.
    """
    slices = np.asarray(slices, np.int64)
    volume = dataclasses.replace(
        scan.volume, hu=scan.volume.hu[slices], slice_origins_mm=scan.volume.slice_origins_mm[slices]
    )
    return dataclasses.replace(
        scan,
        volume=volume,
        mask=scan.mask[slices],
        classes=scan.classes[slices],
        slice_labels=scan.slice_labels[slices],
        truth_px=scan.truth_px[slices],
        digest=hashlib.blake2b(scan.digest.encode() + slices.tobytes(), digest_size=16).hexdigest(),
    )
