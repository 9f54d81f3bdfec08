"""Assigns each phantom subject its traits (age, sex, sub-types, number of slices) from (seed, number) alone.

Even a small set should contain every kind of case, so traits are not drawn independently: each one runs evenly through
its distribution as the numbers increase, and randomness only shuffles neighbors.
"""

import dataclasses
import functools

import numpy as np

from ichjax.data.label_tables import FIRST_NUMBER, SUBTYPES

CHRONIC_INDEX = 21  # subject 70 of the real set has a two-week-old bleed
BLOCK = 5  # neighbors that are shuffled

Mix = tuple[tuple[tuple[str, ...], int], ...]  # (sub-types, number of subjects with them) pairs

# The real set's 36 subjects with a hemorrhage, except the chronic case (SDH). With it, the totals are those of the
# paper's Table 4: IVH 5, IPH 16, SAH 7, EDH 21, SDH 4.
REAL_MIX: Mix = (
    (("EDH",), 12),
    (("IPH",), 5),
    (("SDH",), 2),
    (("IVH",), 1),
    (("EDH", "IPH"), 4),
    (("EDH", "SAH"), 3),
    (("EDH", "IPH", "SAH"), 1),
    (("EDH", "SDH"), 1),
    (("IPH", "IVH"), 3),
    (("IPH", "SAH"), 2),
    (("IPH", "IVH", "SAH"), 1),
)
# Bleeds inside the brain are more common than in the real set, because a network learns those within minutes.
DEMO_MIX: Mix = (
    (("IPH",), 2),
    (("IPH", "IVH"), 2),
    (("EDH",), 1),
    (("SDH",), 1),
    (("IPH", "SAH"), 1),
    (("EDH", "IPH"), 1),
)

AGES = ((0, 0.0027), (0.04, 0.05), (0.1, 1.5), (0.2, 8.0), (0.33, 18.0), (0.55, 27.0), (0.8, 44.0), (1, 72.0))  # years
FRACTURES_WITH_EDH, FRACTURES_ALONE = 14 / 21, 8 / 46  # shares; 22 of 82 subjects in all
MALE_SHARE = 46 / 82

# One badly approximable number per trait, so that traits fill their ranges evenly and independently.
SLOPES = (0.6180339887, 0.7548776662, 0.5698402910, 0.8191725134, 0.6710436067, 0.5497004779, 0.7244919590)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Traits of one subject.

    Attributes:
      number: 49 or more.
      age_years, sex ('M' or 'F').
      subtypes: names of the sub-types, empty without a hemorrhage.
      fracture: whether the skull is fractured.
      chronic: whether the bleed is old and therefore dark.
      length: position of the number of slices in its range, in (0, 1).
      sizes, brightness: position of each bleed's volume and HU in their ranges, in (0, 1), in the order of `subtypes`.
    """

    number: int
    age_years: float
    sex: str
    subtypes: tuple[str, ...]
    fracture: bool
    chronic: bool
    length: float
    sizes: tuple[float, ...]
    brightness: tuple[float, ...]


def make_plan(number: int, *, seed: int, share: float, mix: Mix) -> Plan:
    """The plan of subject `number`.

    Args:
      share: share of subjects with a hemorrhage.
      mix: sub-types that subjects with a hemorrhage take in turn.
    """
    index = number - FIRST_NUMBER
    chronic = index == CHRONIC_INDEX and has_hemorrhage(index, seed=seed, share=share)
    subtypes = ("SDH",) if chronic else _subtypes(index, seed=seed, share=share, mix=mix)
    age = float(np.interp(_even(index, seed, 1), *np.transpose(AGES)))
    # Fractures come with an epidural bleed or without any hemorrhage, and are spread evenly over each of these groups.
    with_edh = "EDH" in subtypes
    fracture_share = FRACTURES_WITH_EDH if with_edh else 0.0 if subtypes else FRACTURES_ALONE
    before = [_subtypes(i, seed=seed, share=share, mix=mix) for i in range(index)]
    rank = sum("EDH" in other if with_edh else not other for other in before)
    # Each sub-type runs through its own volumes and HU; an offset keeps those of different sub-types apart.
    ranks = [sum(name in other for other in before) + 17 * SUBTYPES.index(name) for name in subtypes]
    return Plan(
        number=number,
        age_years=round(age, 4) if age < 1 else float(int(age)),
        sex="M" if _even(index, seed, 4) < MALE_SHARE else "F",
        subtypes=subtypes,
        fracture=_even(rank, seed, 2 if with_edh else 3) < fracture_share,
        chronic=chronic,
        length=_even(index, seed, 5),
        sizes=tuple(_even(rank, seed, 6) for rank in ranks),
        brightness=tuple(_even(rank, seed, 7) for rank in ranks),
    )


def _subtypes(index: int, *, seed: int, share: float, mix: Mix) -> tuple[str, ...]:
    """The sub-types of the subject at `index`; the chronic case takes none from the mix."""
    if not has_hemorrhage(index, seed=seed, share=share):
        return ()
    rank = sum(has_hemorrhage(i, seed=seed, share=share) for i in range(index) if i != CHRONIC_INDEX)
    order = interleave(mix)
    return order[rank % len(order)]


@functools.lru_cache(maxsize=4096)
def has_hemorrhage(index: int, *, seed: int, share: float) -> bool:
    """Whether the subject at `index` has a hemorrhage: each block of five has its exact share, in random order."""
    block = index // BLOCK
    first = block * BLOCK
    count = int(np.floor(share * (first + BLOCK) + 0.5)) - int(np.floor(share * first + 0.5))
    flags = np.random.default_rng([seed, block, 101]).permutation(np.arange(BLOCK) < count)
    chronic = CHRONIC_INDEX - first
    if 0 <= chronic < BLOCK and count and not flags[chronic]:
        flags[[chronic, int(np.flatnonzero(flags)[0])]] = True, False
    return bool(flags[index - first])


def interleave(mix: Mix) -> list[tuple[str, ...]]:
    """One cycle of a mix, each kind spread evenly over it, the most common first."""
    positions = []
    for rank, (kind, count) in enumerate(sorted(mix, key=lambda item: -item[1])):
        positions += [((k + 0.5) / count, rank, kind) for k in range(count)]
    return [kind for _, _, kind in sorted(positions)]


def _even(index: int, seed: int, stream: int) -> float:
    """A number that fills (0, 1) evenly as `index` increases: a Weyl sequence with a random start."""
    start = np.random.default_rng([seed, stream, 102]).uniform()
    return float((start + (index + 0.5) * SLOPES[stream - 1]) % 1.0)
