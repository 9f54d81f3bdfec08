"""Who a phantom subject is: age, sex, which hemorrhages, how many slices; from (seed, number) alone.

A small set must hold every kind of case, so nothing here is drawn independently: each trait runs through its
distribution evenly as the numbers go up, and chance only shuffles neighbours.
"""

import dataclasses
import functools

import numpy as np

from ichjax.data.label_tables import FIRST_NUMBER

CHRONIC_INDEX = 21  # subject 70 of the real set is a two-week-old case
BLOCK = 5  # numbers that are shuffled among themselves

# How many of 36 subjects with a hemorrhage carry which sub-types; the sums are the paper's Table 4:
# IVH 5, IPH 16, SAH 7, EDH 21, SDH 4. The chronic case (SDH) is the 36th.
REAL_MIX = (
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
# A small set holds each sub-type at least once among its first six. Bleeds inside the brain are commoner than in the
# real set: there learning is ahead of a threshold after minutes.
DEMO_MIX = (
    (("IPH",), 2),
    (("IPH", "IVH"), 2),
    (("EDH",), 1),
    (("SDH",), 1),
    (("IPH", "SAH"), 1),
    (("EDH", "IPH"), 1),
)

# Quantiles (of age in years; of the number of slices): pairs of a share of subjects and a value.
AGES = ((0, 0.0027), (0.04, 0.05), (0.1, 1.5), (0.2, 8.0), (0.33, 18.0), (0.55, 27.0), (0.8, 44.0), (1, 72.0))
FRACTURES_WITH_EDH, FRACTURES_ALONE = 14 / 21, 8 / 46  # shares; 22 of 82 in all
MALE_SHARE = 46 / 82


# Badly approximable numbers, one for each trait, so that traits fill their ranges evenly and independently.
SLOPES = (0.6180339887, 0.7548776662, 0.5698402910, 0.8191725134, 0.6710436067, 0.5497004779)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Traits of one subject.

    Attributes:
      number: from 49 on.
      age_years, sex ('M' or 'F').
      subtypes: names, empty without a hemorrhage.
      fracture: whether the skull is broken.
      chronic: an old bleed, dark.
      length, size: in (0, 1), where the number of slices and the size of the bleeds lie in their ranges.
    """

    number: int
    age_years: float
    sex: str
    subtypes: tuple[str, ...]
    fracture: bool
    chronic: bool
    length: float
    size: float


def make_plan(number: int, *, seed: int, share: float, mix) -> Plan:
    """The plan of subject `number`.

    Args:
      share: of subjects with a hemorrhage.
      mix: (sub-types, how many) pairs, cycled through by the subjects with a hemorrhage.
    """
    index = number - FIRST_NUMBER
    chronic = index == CHRONIC_INDEX and has_hemorrhage(index, seed=seed, share=share)
    subtypes = ("SDH",) if chronic else _subtypes(index, seed=seed, share=share, mix=mix)
    age = float(np.interp(_even(index, seed, 1), *zip(*AGES, strict=True)))
    # Fractures come with epidural bleeds or alone: an even share of each kind, in the order of their numbers.
    kind, chance = ("EDH", FRACTURES_WITH_EDH) if "EDH" in subtypes else ("", 0.0 if subtypes else FRACTURES_ALONE)
    before = [_subtypes(i, seed=seed, share=share, mix=mix) for i in range(index)]
    rank = sum("EDH" in other if kind else not other for other in before)
    return Plan(
        number=number,
        age_years=round(age, 4) if age < 1 else float(int(age)),
        sex="M" if _even(index, seed, 4) < MALE_SHARE else "F",
        subtypes=subtypes,
        fracture=_even(rank, seed, 2 if kind else 3) < chance,
        chronic=chronic,
        length=_even(index, seed, 5),
        size=_even(sum(map(bool, before)), seed, 6),
    )


def _subtypes(index: int, *, seed: int, share: float, mix) -> tuple[str, ...]:
    """The sub-types at `index`: those with a hemorrhage take the kinds of the mix in turn."""
    if not has_hemorrhage(index, seed=seed, share=share):
        return ()
    rank = sum(has_hemorrhage(i, seed=seed, share=share) for i in range(index) if i != CHRONIC_INDEX)
    order = interleave(mix)
    return order[rank % len(order)]


@functools.lru_cache(maxsize=4096)
def has_hemorrhage(index: int, *, seed: int, share: float) -> bool:
    """Whether the subject at `index` bleeds: every block of five holds its due share, shuffled within."""
    block = index // BLOCK
    first = block * BLOCK
    due = int(np.floor(share * (first + BLOCK) + 0.5)) - int(np.floor(share * first + 0.5))
    flags = np.arange(BLOCK) < due
    flags = np.random.default_rng([seed, block, 101]).permutation(flags)
    chronic = CHRONIC_INDEX - first
    if 0 <= chronic < BLOCK and due and not flags[chronic]:
        flags[[chronic, int(np.flatnonzero(flags)[0])]] = True, False
    return bool(flags[index - first])


def interleave(mix) -> list[tuple[str, ...]]:
    """Spreads the kinds of a mix evenly over one cycle, the commonest first."""
    places = []
    for rank, (kind, count) in enumerate(sorted(mix, key=lambda item: -item[1])):
        places += [((k + 0.5) / count, rank, kind) for k in range(count)]
    return [kind for _, _, kind in sorted(places)]


def _even(index: int, seed: int, stream: int) -> float:
    """A number in (0, 1) that fills it evenly as the index goes up: a Weyl sequence with a random start."""
    start = np.random.default_rng([seed, stream, 102]).uniform()
    return float((start + (index + 0.5) * SLOPES[stream - 1]) % 1.0)
