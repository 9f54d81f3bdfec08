"""An INVALID split, for demonstration alone: over slices, so that every subject is trained, validated and tested on.

Neighbouring slices of one head are nearly the same image. A score of such a split says how well a network remembers a
head it has seen, not how well it reads one it has not; some published figures of this data set follow from one.
"""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from ichjax.data.scan_cache import CachedScan
from ichjax.errors import InputError

INVALID = (
    "INVALID split 'slice_split', for demonstration alone: slices of each subject are in train, validation and test "
    "at once, so its scores leak and stand for no unseen patient"
)


def invalid_mark(splits: str) -> dict[str, str]:
    """{'invalid': one sentence} for the results of a configuration whose `data.splits` leak, else {}."""
    return {"invalid": INVALID} if splits == "slice_split" else {}


@dataclasses.dataclass(frozen=True, eq=False)
class SliceFold:
    """One leaking fold.

    Attributes:
      index: from 0.
      train, validation, test: {subject number: int64 [n], its slices in this part, ascending}; a subject of few
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
      folds: in order of their index.
      notes: that the split is invalid, in one sentence.
    """

    seed: int
    folds: tuple[SliceFold, ...]
    notes: tuple[str, ...]


def leaking_slices(depths: Mapping[int, int], *, folds: int, seed: int) -> LeakingSplits:
    """Deals the slices of each subject out to the folds at random; INVALID as a measure of anything, see above.

    A fold tests one share of each subject's slices, validates on the next fold's and trains on the rest. A subject's
    shares depend on the seed, its number and its slices, not on the other subjects.

    Args:
      depths: {subject number: slices of its scan}.
      folds: at least 3.
      seed: 0 or more.

    Raises:
      InputError: fewer than 3 folds, no subject, or a subject without a slice.
    """
    if folds < 3:
        raise InputError(f"{folds} folds asked for; expected at least 3, to test, to validate and to train")
    if not depths:
        raise InputError("no subject to split; expected at least one")
    empty = [number for number, depth in depths.items() if depth < 1]
    if empty:
        raise InputError(f"subject {empty[0]} has {depths[empty[0]]} slices; expected at least one")
    share = {number: _shares(depth, folds, [seed, number]) for number, depth in sorted(depths.items())}
    made = []
    for index in range(folds):
        following = (index + 1) % folds
        test = {number: np.flatnonzero(of == index) for number, of in share.items()}
        validation = {number: np.flatnonzero(of == following) for number, of in share.items()}
        train = {number: np.flatnonzero((of != index) & (of != following)) for number, of in share.items()}
        made.append(SliceFold(index, train=train, validation=validation, test=test))
    return LeakingSplits(seed, tuple(made), (INVALID,))


def _shares(depth: int, folds: int, seed: list[int]) -> np.ndarray:
    """int64 [depth]: which fold tests each slice; shares differ by at most one slice, the odd ones by chance."""
    rng = np.random.default_rng(seed)
    return (rng.permutation(depth) + rng.integers(folds)) % folds


def take_slices(scan: CachedScan, slices: np.ndarray) -> CachedScan:
    """A scan of some of its slices, to train or to validate on.

    Nothing in mL may be taken of it: its slices stand further apart than they are thick.

    Args:
      scan: of D slices.
      slices: int [n], at least one, each of 0 to D - 1, ascending.
    """
    slices = np.asarray(slices, np.int64)
    volume = dataclasses.replace(
        scan.volume, hu=scan.volume.hu[slices], slice_origins_mm=scan.volume.slice_origins_mm[slices]
    )
    return dataclasses.replace(
        scan,
        volume=volume,
        mask=scan.mask[slices],
        slice_labels=scan.slice_labels[slices],
        truth_px=scan.truth_px[slices],
        digest=hashlib.blake2b(scan.digest.encode() + slices.tobytes(), digest_size=16).hexdigest(),
    )
